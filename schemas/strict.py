"""Files that hold exactly what they may: frozen models, and a YAML file read as one of them."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from schemas.errors import AffectstreamError


class Frozen(BaseModel):
    """Settings that stay as they are; a name that is none of them is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Frozen)


def read_yaml(path: Path, kind: type[Kind], what: str) -> Kind:
    """Read the file as a ``kind``; AffectstreamError says why it is not ``what``."""
    try:
        return kind.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        reason = first_problem(error)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    message = f"{path} is not {what}: {reason}"
    raise AffectstreamError(message)


class _UniqueNames(yaml.SafeLoader):
    """Refuses a mapping in which a name stands twice: PyYAML would take the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None and twice != "<<":
            message = f"`{twice}` stands twice: remove one of them"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: it is no YAML, or a mapping has a name twice.
    """
    return yaml.load(text, _UniqueNames)


def first_problem(error: ValidationError) -> str:
    """Return where the first problem is and what it is, such as ``rules.0.verdict: …``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def suggest(unknown: str, known: Iterable[str]) -> str:
    """Return the question whether the nearest known name was meant, or the list of all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(unknown, names, n=1)
    return f"did you mean `{near[0]}`?" if near else f"name one of {', '.join(names)}"


def fields_of(
    kind: type[Frozen], prefix: str = "", given: Frozen | None = None
) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Yield dotted name, field and default of everything that can be set, in models below too.

    A field that has to be given has the default PydanticUndefined.
    """
    for name, field in kind.model_fields.items():
        default = field.default if given is None else getattr(given, name)
        below = field.annotation
        if isinstance(below, type) and issubclass(below, Frozen):
            below_given = default if isinstance(default, Frozen) else None
            yield from fields_of(below, f"{prefix}{name}.", below_given)
        else:
            yield prefix + name, field, default
