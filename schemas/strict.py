"""Files that hold exactly what they may: frozen models, and a YAML file read as one of them."""

import difflib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.errors import AffectstreamError


class Frozen(BaseModel):
    """Settings that stay as they are; a name that is none of them is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _refuse_number(given: Any) -> Any:
    if not isinstance(given, date) and not re.fullmatch(r"\d{4}-\d\d-\d\d", str(given)):
        message = f"{given!r} is no day: write it as 2026-07-15"
        raise ValueError(message)
    return given


Day = Annotated[date, BeforeValidator(_refuse_number)]
"""A day of the calendar; pydantic would read a number as seconds since 1970."""

Kind = TypeVar("Kind", bound=Frozen)


def read_yaml(path: Path, kind: type[Kind], what: str) -> Kind:
    """Read the file as a ``kind``; AffectstreamError says why it is not ``what``, and the line."""
    try:
        return kind.model_validate(parse_yaml(read_text(path)))
    except ValidationError as error:
        reason = explain_invalid(error, path)
    except yaml.MarkedYAMLError as error:
        reason = _explain_unreadable(error)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    message = f"{path} is not {what}: {reason}"
    raise AffectstreamError(message)


def explain_invalid(error: ValidationError, path: Path) -> str:
    """Return the first problem of a file's values, with the line that it stands in."""
    return next(explain_all_invalid(error, path))


def explain_all_invalid(error: ValidationError, path: Path) -> Iterator[str]:
    """Yield every problem of a file's values, each with the line that it stands in."""
    text = read_text(path)
    for item in error.errors():
        yield f"line {line_of(text, _place(item))}: {_explain(item)}"


def line_of(text: str, place: Sequence[str | int]) -> int:
    """Return the line of a YAML text in which the value stands to which these names lead.

    Where the text has not all of them, it is the line of the last that it has.
    """
    node, line = yaml.compose(text, _StrictLoader), 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line


def _explain_unreadable(error: yaml.MarkedYAMLError) -> str:
    said = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    mark = error.problem_mark or error.context_mark
    return said if mark is None else f"line {mark.line + 1}: {said}"


def read_text(path: Path) -> str:
    """Return the text of a regular file in UTF-8.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    check_regular(path)
    return path.read_text(encoding="utf-8")


def read_secret(path: Path, setting: str) -> str:
    """Return what a text file holds that a setting names, without white space around it.

    Raises:
        AffectstreamError: it cannot be read, or holds nothing.
    """
    try:
        secret = read_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the secret in {path}: `{setting}` is a text file"
        raise AffectstreamError(message) from error
    if not secret:
        message = f"{path} is empty: `{setting}` holds the secret alone"
        raise AffectstreamError(message)
    return secret


def write_private(path: Path, data: bytes) -> None:
    """Write a file that its owner alone may read, whatever the umask, also where others could."""
    with replace_file(path) as file:
        file.write(data)


@contextmanager
def replace_file(path: Path, *, private: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` as a whole when the block ends.

    If it raises, what stood there stays. No link is followed: the new file has a name that nobody
    can lay one at beforehand, and takes the place of a link itself. Its owner alone may read it,
    or if it is not ``private`` whom the umask lets.

    Raises:
        OSError: no file can be made beside ``path``, or what stands there is no regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    fresh = path.with_name(f".{secrets.token_hex(8)}.part")
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(fresh, how, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if private:
                os.fchmod(file.fileno(), 0o600)
            yield file
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def open_private(path: Path) -> BinaryIO:
    """Open a file to write at its end, that its owner alone may read from now on.

    Raises:
        OSError: it cannot be opened, or is a link, through which another file would be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def is_locked(path: Path, against: int) -> bool:
    """Tell whether another holds a lock on a file that hinders this one: LOCK_SH, or LOCK_EX."""
    try:
        lock = path.open("rb")
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, against | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def make_private_folder(path: Path) -> None:
    """Make a folder that its owner alone may enter; one that stands is closed to others, too."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def check_regular(path: Path) -> None:
    """Raise OSError for what is no regular file; whoever opened a FIFO would wait without end."""
    if path.exists() and not path.is_file():
        message = f"{path} is no regular file"
        raise OSError(message)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a name that stands twice in a mapping, and reads numbers in base ten alone.

    PyYAML would take the last of two names, and read ``1:30`` as 90 and ``010`` as 8: here they are
    texts, and ``1e3`` is a number.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen and key.value != "<<":
                message = f"`{key.value}` stands twice: remove one of them"
                raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in {_INT, _FLOAT}]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_StrictLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?(([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: it is no YAML, or a mapping has a name twice.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except RecursionError as error:
        message = "it is nested too deeply"
        raise yaml.YAMLError(message) from error
    except ValueError as error:  # a date that no calendar has, or an integer of over 4,300 digits
        raise yaml.YAMLError(str(error)) from error


class PlacedError(ValueError):
    """Values that do not fit each other; ``place`` are the names that lead to the wrong one."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


def _place(item: ErrorDetails) -> tuple[str | int, ...]:
    cause = item.get("ctx", {}).get("error")
    return (*item["loc"], *(cause.place if isinstance(cause, PlacedError) else ()))


def first_problem(error: ValidationError) -> str:
    """Return where the first problem is and what it is, such as ``rules.0.verdict: …``."""
    return _explain(error.errors()[0])


def _explain(item: ErrorDetails) -> str:
    where = ".".join(map(str, _place(item)))
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


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
