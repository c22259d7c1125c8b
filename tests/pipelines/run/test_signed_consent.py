"""A replay believes signed consents only, where the configuration names the signing keys."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from examples import sign_consent
from pipelines.config import load_config
from pipelines.govern.erasure.requests import open_requests
from pipelines.run.config_check import find_problems
from pipelines.run.replay import replay
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from tests.support.live_runs import CONSTANT, table
from tests.support.records import attributes, raw, record

GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
QUIET = Console(quiet=True)
Run = Callable[..., Path]


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Signs records by the example's key, whose public half is in ``signers.json``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signers.json").write_text(json.dumps(sign_consent.make_key()))
    key = sign_consent.load_pem_private_key(sign_consent.KEY.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)

    def make(kind: str, number: int, payload: Any, subject: str) -> dict[str, Any]:
        told = {"subject": subject, "source": sign_consent.SOURCE}
        named = attributes(kind, number, **told)
        named.pop("specversion")
        signature = sign_consent.sign(named, json.dumps(payload).encode(), key)
        return record(kind, number, payload, signature=signature, **told)

    return make


def write_log(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")


@pytest.fixture
def run(tmp_path: Path, keys: Path) -> Run:
    """Replays records, with the signing keys or without, and returns where the tables are."""

    def replayed(rows: list[dict[str, Any]], name: str, **settings: Any) -> Path:
        write_log(tmp_path / name, rows)
        tables = tmp_path / f"tables-{name}"
        models = {"models": CONSTANT}
        replay(
            load_config(None, log=tmp_path / name, tables=tables, keys=keys, **models | settings),
            QUIET,
        )
        return tables

    return replayed


def said(tables: Path, name: str, column: str) -> list[str]:
    return sorted(table(tables, name)[column].to_pylist())


def test_a_replay_takes_signed_consents_alone(
    signed: Callable[..., dict[str, Any]], run: Run
) -> None:
    rows = [
        signed("consent", 1, GRANT, "ann"),
        record("consent", 2, GRANT, subject="bea"),
        signed("consent", 3, GRANT, "cem"),
        record("erasure", 4, {}, subject="cem"),
        signed("consent", 5, GRANT, "dan"),
        signed("erasure", 6, {}, "dan"),
        *(
            record("text", 10 + number, {"text": "hello"}, subject=name)
            for number, name in enumerate(("ann", "bea", "cem", "dan"))
        ),
    ]
    checked = run(rows, "checked", signatures={"keys": "signers.json"})
    assert said(checked, "dead_letters", "code") == ["prohibition_unsigned", "signature_missing"]
    assert said(checked, "consent_ledger", "action") == [
        "erasure_requested", "granted", "granted", "granted", "suspended", "suspended",
    ]  # fmt: skip
    assert said(checked, "refusals", "code") == [
        "consent_unknown", "consent_withdrawn", "consent_withdrawn",
    ]  # fmt: skip
    assert len(table(checked, "observations")) == 1
    believed = run(rows, "believed")
    assert said(believed, "consent_ledger", "action") == [
        "erasure_requested", "erasure_requested", *["granted"] * 4,
    ]  # fmt: skip
    assert len(table(believed, "observations")) == 2


def test_only_a_signed_request_is_carried_out(
    signed: Callable[..., dict[str, Any]], tmp_path: Path, keys: Path
) -> None:
    rows = [
        record("erasure", 1, {}, subject="ann"),
        signed("erasure", 2, {}, "bea"),
        signed("erasure", 3, {}, "cem") | {"key": b"dan"},
        signed("consent", 4, GRANT, "eve") | {"topic": "governance.erasure"},
    ]
    write_log(tmp_path / "log", rows)
    asked = {"log": tmp_path / "log", "tables": tmp_path / "tables", "keys": keys}
    checked = load_config(None, **asked, signatures={"keys": "signers.json"})
    subjects = [request.subject for request in open_requests(checked, read_keys(keys))]
    assert subjects == ["bea"]
    believed = open_requests(load_config(None, **asked), read_keys(keys))
    assert {request.subject for request in believed} == {"ann", "bea", "cem", "dan", "eve"}


def test_keys_that_are_none_are_one_sentence_before_anything_is_read(
    signed: Callable[..., dict[str, Any]], run: Run, tmp_path: Path, keys: Path
) -> None:
    (tmp_path / "signers.json").write_text('{"sources": {"a": {"keys": []}}}')
    rows = [record("text", 1, {"text": "hello"})]
    with pytest.raises(AffectstreamError, match=r"signers\.json is not a file of signing keys"):
        run(rows, "log", signatures={"keys": "signers.json"})
    settings = {"log": "log", "tables": "t", "keys": str(keys), "signatures": {"keys": "none"}}
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    (problem,) = find_problems(tmp_path / "config.yaml")
    assert "none is not a file of signing keys" in problem
