"""Files that hold exactly what they may: frozen models, and a YAML file read as one of them."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import AffectstreamError


class Frozen(BaseModel):
    """Settings that stay as they are; a name that is none of them is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Frozen)


def read_yaml(path: Path, kind: type[Kind], what: str) -> Kind:
    """Read the file as a ``kind``; AffectstreamError says why it is not ``what``."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        reason = first_problem(error)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    message = f"{path} is not {what}: {reason}"
    raise AffectstreamError(message)


def first_problem(error: ValidationError) -> str:
    """Return where the first problem is and what it is, such as ``rules.0.verdict: …``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
