"""Erasure: nothing of the person is left in any byte, all others stay, and nobody comes back."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from rich.console import Console

from infra.processes import ROOT
from pipelines.config import Config, load_config
from pipelines.govern.erasure import files
from pipelines.govern.erasure.certificate import write_certificate
from pipelines.govern.erasure.erase import How, Request, erase
from pipelines.govern.erasure.requests import open_requests
from pipelines.run.replay import replay
from pipelines.serve.feed import start_feeds
from pipelines.serve.online import latest
from pipelines.serve.stores import open_online
from pipelines.sessionlogs.sample import write_sample
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.tables import TABLES
from tests.support.files import that_hold
from tests.support.live_runs import CONSTANT
from tests.support.served import BEGIN, decision, feature, land
from transforms.landing.delta import TableWriter
from transforms.pseudonymise import Pseudonyms

QUIET = Console(quiet=True)
HER, HIM = "caller-ines-6401", "caller-jianyu-6402"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "session").folder


@pytest.fixture
def ran(log: Path, keys: Path, tmp_path: Path) -> Config:
    """The sample's tables, from recognisers that compute nothing."""
    config = settings(tmp_path, keys, log=log)
    replay(config, QUIET)
    return config


def settings(folder: Path, keys: Path, **more: object) -> Config:
    return load_config(
        None,
        tables=folder / "tables",
        keys=keys,
        models=CONSTANT,
        online={"store": str(folder / "online.sqlite"), "ttl_s": 3e7},
        live={"state": folder / "state"},
        **more,
    )


def references(config: Config, subject: str) -> set[str]:
    """All references of a subject, in every region that the sample has."""
    return set(Pseudonyms(read_keys(config.keys)).references(subject, ["EU", "US", "CN", "OTHER"]))


def rows(config: Config, name: str) -> pa.Table:
    return DeltaTable(f"{config.tables}/{name}").to_pyarrow_table()


def of(config: Config, name: str, refs: set[str]) -> pa.Table:
    found = rows(config, name)
    return found.filter(pc.is_in(found["subject_ref"], pa.array(sorted(refs))))


def others(config: Config, refs: set[str]) -> dict[str, list[str]]:
    """The row ids of everybody else, by table."""
    found = {}
    for name, table in TABLES.items():
        if table.subject:
            there = rows(config, name)
            mine = pc.is_in(there["subject_ref"], pa.array(sorted(refs)))
            found[name] = sorted(there.filter(pc.invert(mine))[table.row_id].to_pylist())
    return found


def ids(config: Config, refs: set[str]) -> set[str]:
    """Her references and the ids of all rows that are hers."""
    found = set(refs)
    for name, table in TABLES.items():
        if table.subject:
            found.update(of(config, name, refs)[table.row_id].to_pylist())
    return found


def test_no_byte_is_left_and_others_stay(ran: Config, tmp_path: Path) -> None:
    refs = references(ran, HER)
    hers, theirs = ids(ran, refs), others(ran, refs)
    assert len(hers) > len(refs) + 20
    assert that_hold(tmp_path / "tables", hers), "the search of this test finds nothing at all"
    (proof,) = erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    assert that_hold(tmp_path, hers) == set()
    assert that_hold(tmp_path, {HER}) == set()
    assert others(ran, refs) == theirs
    assert proof.rows_deleted == len(hers) - len(refs)
    assert proof.completed_at is not None
    (row,) = rows(ran, "erasures").to_pylist()
    assert row["rows_deleted"] == proof.rows_deleted
    assert json.loads(row["tables"])["observations"] > 0


def test_a_replay_brings_nobody_back(ran: Config, tmp_path: Path) -> None:
    refs = references(ran, HER)
    hers, theirs = ids(ran, refs), others(ran, refs)
    erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    replay(ran, QUIET)
    assert that_hold(tmp_path, hers) == set()
    assert {name: set(ids) for name, ids in theirs.items()} == {
        name: set(ids) for name, ids in others(ran, refs).items() if name != "refusals"
    } | {"refusals": set(theirs["refusals"])}
    refused = rows(ran, "refusals").filter(pc.field("code") == "erased")
    assert refused.num_rows > 20
    assert refused["subject_ref"].null_count == refused.num_rows


def test_an_erasure_of_everybody_leaves_tables_that_take_rows(ran: Config) -> None:
    named = [HER, HIM]
    writer = TableWriter(ran.tables, "emotion_features", remember_s=60)
    before = rows(ran, "emotion_features").num_rows
    proofs = erase(ran, read_keys(ran.keys), [Request(each) for each in named], QUIET)
    assert len(proofs) == 2
    new = pa.RecordBatch.from_pylist(
        [{n: feature("x", 0).get(n) for n in TABLES["emotion_features"].schema.names}],
        schema=TABLES["emotion_features"].schema,
    )
    assert writer.commit([new]) == 1, "a writer that stood open goes on"
    gone = sum(proof.tables.get("emotion_features", 0) for proof in proofs)
    assert gone > 0
    assert rows(ran, "emotion_features").num_rows == before - gone + 1


def test_an_unknown_person_leaves_a_tombstone_alone(ran: Config) -> None:
    versions = {n: rows(ran, n).num_rows for n in TABLES if n != "erasures"}
    (proof,) = erase(ran, read_keys(ran.keys), [Request("nobody-of-this-name")], QUIET)
    assert proof.rows_deleted == 0
    assert versions == {n: rows(ran, n).num_rows for n in TABLES if n != "erasures"}


def test_spellings_of_one_id_are_one_person(ran: Config) -> None:
    proofs = erase(
        ran, read_keys(ran.keys), [Request(HER), Request(f" {HER.upper()}\u200b")], QUIET
    )
    assert len(proofs) == 1


def test_the_change_feed_tells_followers_before_it_goes(ran: Config, tmp_path: Path) -> None:
    """A feed that is behind is waited for, and what it lacks is said; then it learns of it."""
    refs = references(ran, HER)
    land(Path(ran.tables), "expression_decisions", _decision(min(refs)))
    land(Path(ran.tables), "emotion_features", _feature(min(refs)))
    fed = ran.model_copy(update={"feed": ran.feed.model_copy(update={"sinks": ("online",)})})
    _feed_once(fed)
    store = open_online(fed.online)
    assert latest(store, "emotion_features", min(refs), now=lambda: BEGIN) is not None
    store.close()
    with pytest.raises(AffectstreamError, match=r"online has .* start `affectstream feed`"):
        erase(fed, read_keys(fed.keys), [Request(HER)], QUIET, How(patience_s=0))
    _feed_once(fed)
    erase(fed, read_keys(fed.keys), [Request(HER)], QUIET, How(patience_s=0))
    store = open_online(fed.online)
    assert latest(store, "emotion_features", min(refs), now=lambda: BEGIN) is None
    store.close()
    assert that_hold(tmp_path, refs) == set()


def test_a_sink_that_is_given_up_is_not_waited_for(ran: Config, tmp_path: Path) -> None:
    refs = references(ran, HER)
    land(Path(ran.tables), "emotion_features", _feature(min(refs)))
    fed = ran.model_copy(update={"feed": ran.feed.model_copy(update={"sinks": ("online",)})})
    _feed_once(fed)
    how = How(given_up=("online",), patience_s=0)
    erase(fed, read_keys(fed.keys), [Request(HER)], QUIET, how)
    assert that_hold(tmp_path, refs) == set()


def test_what_still_names_the_person_is_said(ran: Config) -> None:
    ran.live.state.mkdir()
    (ran.live.state / "chk-7").write_bytes(b"\x00" + min(references(ran, HER)).encode() * 2)
    with pytest.raises(AffectstreamError, match=r"chk-7 still name"):
        erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    assert rows(ran, "erasures")["completed_at"].null_count == 1
    (ran.live.state / "chk-7").unlink()
    (proof,) = erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    assert proof.rows_deleted > 20, "what the first attempt deleted is counted"
    assert rows(ran, "erasures").num_rows == 1


def test_files_of_commits_under_way_are_left(ran: Config) -> None:
    """What no commit names goes only where it holds her, and is too old to be named yet."""
    place = Path(ran.tables) / "observations"
    day = next(path for path in place.iterdir() if path.name.startswith("event_date"))
    her = "ab" * 16
    made = {name: day / f"part-00000-{name}.parquet" for name in ("young", "dead", "others")}
    for name, path in made.items():
        row = {"subject_ref": her if name != "others" else "cd" * 16}
        pq.write_table(pa.Table.from_pylist([row]), path, compression="zstd")
    old = datetime.now(UTC).timestamp() - 3600
    for name in ("dead", "others"):
        os.utime(made[name], (old, old))
    files.drop_old_files(str(place), {her}, under_way_s=120)
    assert {name for name, path in made.items() if path.exists()} == {"young", "others"}


def test_requests_of_a_log_are_carried_out_once(ran: Config) -> None:
    keys = read_keys(ran.keys)
    asked = open_requests(ran, keys)
    assert asked, "the sample has an erasure request"
    erase(ran, keys, asked, QUIET)
    assert open_requests(ran, keys) == []


def test_who_consents_anew_is_erased_up_to_the_request(ran: Config) -> None:
    refs = references(ran, HER)
    there = of(ran, "observations", refs)
    middle = sorted(there["event_time"].to_pylist())[len(there) // 2]
    erase(ran, read_keys(ran.keys), [Request(HER, middle)], QUIET)
    left = of(ran, "observations", refs)["event_time"].to_pylist()
    assert left
    assert min(left) > middle


def test_the_certificate_names_nobody(ran: Config, tmp_path: Path) -> None:
    proofs = erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    write_certificate(tmp_path / "certificate.html", proofs)
    page = (tmp_path / "certificate.html").read_text()
    assert proofs[0].tombstone in page
    assert f"observations: {proofs[0].tables['observations']}" in page
    assert HER not in page
    assert not any(ref in page for ref in references(ran, HER))
    assert (tmp_path / "certificate.html").stat().st_mode & 0o077 == 0


_KILLED = """
import os, signal, sys
import pipelines.govern.erasure.erase as erase, pipelines.govern.erasure.rows as rows
import pipelines.govern.erasure.files as files
where, after, number = sys.argv[1], sys.argv[2] == "after", int(sys.argv[3])
module, name = where.split(".")
module = {"erase": erase, "rows": rows, "files": files}[module]
real, calls = getattr(module, name), [0]
def dying(*given, **more):
    calls[0] += 1
    if calls[0] == number and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    found = real(*given, **more)
    if calls[0] == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(module, name, dying)
from pipelines.cli.main import main
sys.argv = ["affectstream", "erase", "--yes", *sys.argv[4:]]
main()
"""


@pytest.mark.parametrize(
    ("where", "when", "number"),
    [
        ("erase.begin", "after", 1),
        ("erase.note", "after", 1),
        ("rows._delete", "after", 1),
        ("rows._delete", "before", 4),
        ("erase.erase_online", "before", 1),
        ("files._named", "before", 2),
        ("erase.drop_old_files", "after", 3),
        ("erase.files_that_name", "before", 1),
        ("erase.note", "before", 2),
    ],
)
def test_a_killed_erasure_is_gone_on_with(
    ran: Config, tmp_path: Path, where: str, when: str, number: int
) -> None:
    refs = references(ran, HER)
    hers, theirs = ids(ran, refs), others(ran, refs)
    file = tmp_path / "config.yaml"
    file.write_text(ran.model_dump_json(), encoding="utf-8")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, where, when, str(number), HER, "--config", str(file)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    (proof,) = erase(ran, read_keys(ran.keys), [Request(HER)], QUIET)
    assert that_hold(tmp_path / "tables", hers) == set()
    assert others(ran, refs) == theirs
    assert proof.rows_deleted == len(hers) - len(refs)
    assert rows(ran, "erasures").num_rows == 1


def _feed_once(config: Config) -> None:
    (feed,) = start_feeds(config)
    feed.finish()
    assert feed.join(60)
    assert feed.progress.failed is None


def _decision(ref: str) -> dict[str, object]:
    return decision("x", 0) | {"subject_ref": ref, "decision_id": "d" * 32}


def _feature(ref: str) -> dict[str, object]:
    return feature("x", 0) | {"subject_ref": ref, "window_id": "f" * 32}
