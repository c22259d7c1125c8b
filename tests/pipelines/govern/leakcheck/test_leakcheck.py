"""The leak check finds what leaks, in any encoding, and nothing leaks."""

import base64
import gzip
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.govern.leakcheck.canaries import Canary, places
from pipelines.govern.leakcheck.check import LeakCheck, check_leaks, print_leaks
from pipelines.govern.leakcheck.encodings import ENCODINGS, find_tokens, make_token
from pipelines.govern.leakcheck.scan import scan
from schemas.attributes import ATTRIBUTES
from schemas.errors import AffectstreamError
from schemas.events import CONTEXT_FIELDS, KINDS, PAYLOADS
from tests.support.live_runs import CONSTANT

TOKEN = make_token(7, b"k" * 16)


TRANSPORTS = ("plain", "base64", "hex", "percent", "JSON escapes", "UTF-16", "gzip")
"""In what a value may be wrapped that is written already, by a library and not by a person."""


@pytest.mark.parametrize("outer", TRANSPORTS)
@pytest.mark.parametrize("inner", ENCODINGS)
def test_a_token_is_found_in_any_two_encodings(inner: str, outer: str) -> None:
    once = ENCODINGS[inner](TOKEN)
    text = once if isinstance(once, str) else base64.b64encode(once).decode()
    twice = ENCODINGS[outer](text)
    data = twice.encode() if isinstance(twice, str) else twice
    assert find_tokens(b"\x00ab " + data + b"\n7x") == {TOKEN}


@pytest.mark.parametrize("before", range(5))
def test_a_token_is_found_in_the_middle_of_a_text_in_base64(before: int) -> None:
    assert find_tokens(base64.b64encode(b"x" * before + TOKEN.encode() + b"yz")) == {TOKEN}


def test_tokens_differ_and_are_no_words() -> None:
    tokens = {make_token(n, b"k" * 16) for n in range(2000)}
    assert len(tokens) == 2000
    assert find_tokens(b"kzqxv is short, kzqx" + b"a" * 20) == set()


def test_the_search_sees_into_files_of_every_kind(tmp_path: Path) -> None:
    names = ["a.parquet", "b.sqlite", "c.txt", "d.gz", f"{TOKEN}.log"]
    column = pa.array([{"deep": [TOKEN]}] * 50)
    pq.write_table(pa.table({"x": column}), tmp_path / names[0], compression="zstd")
    with sqlite3.connect(tmp_path / names[1]) as store:
        store.execute("CREATE TABLE t (x TEXT)")
        store.execute("INSERT INTO t VALUES (?)", [TOKEN])
    (tmp_path / names[2]).write_bytes(b"-" * (16 << 20) + TOKEN.encode())
    (tmp_path / names[3]).write_bytes(gzip.compress(TOKEN.encode()))
    (tmp_path / names[4]).touch()
    assert scan(tmp_path) == {TOKEN: set(names)}


def test_every_attribute_and_field_of_every_kind_has_a_canary() -> None:
    for kind in KINDS:
        assert set(places(kind)) >= {*ATTRIBUTES, "key", "topic name", "header name"}
        for name, column in PAYLOADS[kind]:
            if pa.types.is_string(column) and not name.startswith("media"):
                assert name in set(places(kind)), f"{kind} has no canary in {name}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> LeakCheck:
    out = tmp_path_factory.mktemp("leak") / "check"
    return check_leaks(
        out, encodings=("plain", "base64", "JSON escapes", "UTF-16"), models=CONSTANT
    )


def test_no_token_lands_that_no_schema_allows(found: LeakCheck) -> None:
    assert len(found.canaries) > 400
    leaks = [(each, found.files[each.token]) for each in found.leaked]
    assert leaks == []


def test_codes_that_may_land_did_so_that_the_search_is_known_to_see(found: LeakCheck) -> None:
    assert {each.place for each in found.landed} == {*CONTEXT_FIELDS, "noticeid"}
    files = {name for each in found.landed for name in found.files[each.token]}
    assert any(name.startswith("tables/emotion_features/") for name in files)
    assert "query emotion_features.out" in files


def test_the_table_names_what_leaked(capsys: pytest.CaptureFixture[str]) -> None:
    leak = Canary(TOKEN, "session.text", "sceneid", "base64")
    fine = Canary(make_token(8, b"k" * 16), "session.text", "lang", "plain")
    print_leaks(LeakCheck((fine, leak), {TOKEN: {"tables/x.parquet"}}), Console(width=120))
    out = capsys.readouterr().out.splitlines()
    assert "sceneid" in out[3]
    assert "tables/x.parquet: base64" in out[3]
    assert "2 tokens, 1 found where none may be" in out[-1]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(AffectstreamError, match="is not empty"):
        check_leaks(tmp_path)


def test_a_scene_that_is_listed_as_public_is_found(tmp_path: Path) -> None:
    """The check can fail: here a pattern lets every scene land by its name."""
    loose = {"landing": {"public_scenes": ["kzqxv*"]}}
    found = check_leaks(
        tmp_path / "out", encodings=("plain",), kinds=("text",), models=CONSTANT, **loose
    )
    assert {each.place for each in found.leaked} == {"sceneid"}
