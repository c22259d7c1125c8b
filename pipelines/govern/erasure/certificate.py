"""The certificate of an erasure: what a person is given, or an officer prints."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.govern.erasure.proof import Proof

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_certificate(path: Path, proofs: Sequence[Proof]) -> None:
    """Write one HTML page with a sheet for each erasure, to be printed.

    It names no person: the tombstone can only be made from the id and the key of tombstones.
    """
    page = _TEMPLATES.get_template("certificate.jinja").render(proofs=proofs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(page, encoding="utf-8")
