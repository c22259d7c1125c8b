"""The reference names every setting once, with what the models themselves say of it."""

import io
import re

import pytest
from rich.console import Console

from pipelines.config import ROOT, Config
from pipelines.config_reference import markdown, print_settings, setting_groups
from schemas.strict import fields_of

NAMES = [name for name, _, _ in fields_of(Config)]


def test_every_setting_stands_in_it_once() -> None:
    rows = [row for group in setting_groups() for row in group.settings]
    assert sorted(row.name for row in rows) == sorted(NAMES)
    assert len(NAMES) == len(set(NAMES)) > 40
    assert all(row.meaning and row.type and row.default for row in rows)
    assert not setting_groups()[0].name
    assert all(group.meaning.endswith(".") for group in setting_groups())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tables", ("text", "required", "")),
        ("log", ("path", "none", "")),
        ("licence", ("one of", "research", "open, research")),
        ("windows.length_s", ("number", "5", "≥ 0.001, ≤ 86400")),
        ("windows.shards", ("whole number", "8", "≥ 1, ≤ 1024")),
        ("decisions.follow", ("number", "0.6", "> 0, ≤ 1")),
        ("media.places", ("list of texts", "none", "")),
        ("models.voice.model", ("text", "model_serving/weights/voice-compact", "")),
        ("live.bootstrap", ("true or false", "false", "")),
        ("live.state", ("path", "build/live", "")),
    ],
)
def test_a_setting_is_told_as_it_is(name: str, expected: tuple[str, str, str]) -> None:
    (row,) = [row for group in setting_groups() for row in group.settings if row.name == name]
    assert (row.type, row.default, row.allowed) == expected


def test_the_page_has_a_table_for_each_section_and_names_no_place_of_this_machine() -> None:
    page = markdown()
    assert str(ROOT) not in page
    assert re.findall(r"^## (.+)$", page, re.M) == [
        "The run", "`windows`", "`models`", "`media`", "`decisions`", "`kafka`", "`live`",
        "`feed`", "`online`", "`observe`", "`api`", "`archive`", "`aggregates`", "`signatures`",
        "`users`", "`access`", "`retention`", "`landing`", "`limits`", "`clocks`", "`motion`",
        "`baselines`", "`replies`",
    ]  # fmt: skip
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == [
        row.name for group in setting_groups() for row in group.settings
    ]
    for line in page.splitlines():
        assert not line.startswith("|") or len(re.findall(r"(?<!\\)\|", line)) == 6, line


def test_a_terminal_of_80_columns_shows_all_names_whole() -> None:
    out = io.StringIO()
    print_settings(Console(file=out, width=80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert [name for name in NAMES if not re.search(rf"^{re.escape(name)} ", text, re.M)] == []
    assert "one of open, research" in text
