"""Every setting with its type, default, allowed values and meaning, taken from the models."""

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from pipelines.config import ROOT, Config
from schemas.strict import fields_of

_TYPES = {
    bool: "true or false",
    float: "number",
    int: "whole number",
    str: "text",
    Path: "path",
    tuple: "list of texts",
    Mapping: "names and values",
}
_CHOICE = "one of"
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


class Explained(NamedTuple):
    """One setting as a person reads it."""

    name: str
    type: str
    default: str
    allowed: str
    meaning: str


class Group(NamedTuple):
    """A section of the configuration; that of the settings above all sections has no name."""

    name: str
    meaning: str
    settings: list[Explained]


def setting_groups() -> list[Group]:
    """Return all settings by section, those without a section first."""
    found: dict[str, list[Explained]] = {"": []}
    for name, field, default in fields_of(Config):
        section = name.partition(".")[0] if "." in name else ""
        found.setdefault(section, []).append(_explained(name, field, default))
    return [Group(section, _meaning(section), rows) for section, rows in found.items()]


def markdown() -> str:
    """Return the reference of all settings as Markdown: a heading and a table for each section."""
    return "\n\n".join(_sections())


def _sections() -> Iterator[str]:
    for group in setting_groups():
        rows = [
            [f"`{row.name}`", row.type, _code(row.default), row.allowed, row.meaning]
            for row in group.settings
        ]
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        heading = f"## `{group.name}`" if group.name else "## The run"
        yield f"{heading}\n\n{group.meaning}"
        yield tabulate(cells, ["Setting", "Type", "Default", "Allowed", "Meaning"], "github")


def print_settings(console: Console) -> None:
    """Print the reference of all settings, a table for each section."""
    for group in setting_groups():
        table = Table(title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.title = Text(f"{group.name or 'the run'}: {group.meaning}")
        for heading in ("setting", "value", "default", "meaning"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "setting")
        for row in group.settings:
            comma = " " if row.type == _CHOICE else ", "
            value = comma.join(filter(None, (row.type, row.allowed)))
            cells = (row.name, value, row.default, row.meaning)
            table.add_row(*map(Text, cells))
        console.print(table)
        console.print()


def _meaning(section: str) -> str:
    kind = Config.model_fields[section].annotation if section else Config
    return (kind.__doc__ or "").partition("\n")[0]


def _explained(name: str, field: FieldInfo, default: Any) -> Explained:
    kind, allowed = _type(field.annotation), []
    for bound, attribute, sign in _BOUNDS:
        allowed += [f"{sign} {getattr(m, attribute)}" for m in field.metadata if type(m) is bound]
    if typing.get_origin(field.annotation) is typing.Literal:
        allowed = [str(value) for value in typing.get_args(field.annotation)]
    return Explained(name, kind, _default(default), ", ".join(allowed), field.description or "")


def _type(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return _CHOICE
    if typing.get_origin(annotation) is types.UnionType:
        return " or ".join(_type(a) for a in typing.get_args(annotation) if a is not type(None))
    return _TYPES[typing.get_origin(annotation) or annotation]


def _default(value: Any) -> str:
    """Return a default as it is written in YAML; paths of what ships are relative to it."""
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {given}" for name, given in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).removeprefix(f"{ROOT}/")


def _code(default: str) -> str:
    return default if default in {"required", "none"} else f"`{default}`"
