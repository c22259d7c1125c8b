"""Both languages say everything, and everything that the views ask for is there to be said."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from pipelines.serve.dashboard import codes, texts
from schemas.errors import DeadLetterCode, QualityCode, RefusalCode
from schemas.media.formats import FormatCode
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS, REVIEWER_DECISIONS

FOLDER = Path(texts.__file__).parent
SOURCES = [path for path in FOLDER.glob("*.py") if path.name not in {"texts.py", "codes.py"}]
STRINGS = {
    node.value
    for path in SOURCES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}
CHINESE = re.compile(r"[一-鿿]")
MADE = re.compile(r"span_\d+|reason_\w+|queue_(open|decided)|\w+_alt")
"""Names that the views put together of two parts."""


@pytest.mark.parametrize("key", texts.TEXTS)
def test_a_text_is_complete_in_both_languages(key: str) -> None:
    row = texts.TEXTS[key]
    assert row.en.strip() == row.en != ""
    assert CHINESE.search(row.zh)
    named = [{name for _, name, _, _ in Formatter().parse(said) if name} for said in row]
    assert named[0] == named[1], "the same values in both"


def asked_for() -> set[str]:
    """Return the keys that the views ask for by name: say("…") and the figures' rows."""
    called = {
        node.args[0].value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and node.args
        and isinstance(node.args[0], ast.Constant)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "say"
    }  # fmt: skip
    return {key for key in called if isinstance(key, str)}


def test_everything_that_is_asked_for_is_there_and_nothing_is_there_for_nobody() -> None:
    assert len(asked_for()) > 30
    assert asked_for() <= set(texts.TEXTS)
    names = {*EXPRESSIONS, *MODALITIES, *REVIEWER_DECISIONS}
    unused = {key for key in set(texts.TEXTS) - STRINGS - names if not MADE.fullmatch(key)}
    assert unused == set()


CODED = (DeadLetterCode, FormatCode, RefusalCode, QualityCode)


def test_every_code_has_a_meaning_in_both_languages_and_no_other_has() -> None:
    known = [str(code) for kind in CODED for code in kind]
    assert sorted(codes.CHINESE) == sorted(known)
    assert all(CHINESE.search(codes.meaning(code, "zh")) for code in known)
    assert codes.meaning("bad_json", "en") == DeadLetterCode.BAD_JSON.meaning
    assert codes.meaning("made_up", "zh") == codes.meaning(None, "en") == ""


@pytest.mark.parametrize(
    ("locale", "language"),
    [("zh-CN", "zh"), ("ZH", "zh"), ("en-GB", "en"), ("de-DE", "en"), (None, "en")],
)
def test_the_first_language_is_the_browsers(locale: str | None, language: str) -> None:
    assert texts.first_language(locale) == language


def test_values_stand_in_texts_and_names_of_others_stay_as_they_are() -> None:
    say = texts.Speaker("en")
    assert say("version", table="t", version=3) == "t, version 3"
    assert say.name("joy") == "joy"
    assert say.name("made-up {x}") == "made-up {x}"
    with pytest.raises(KeyError):
        say("no such text")
