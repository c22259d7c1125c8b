"""What had passed before a withdrawal was known, through the whole graph."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import Config, load_config
from pipelines.govern.erasure.erase import erase_withdrawn
from pipelines.govern.withdrawn import withdrawn_rows
from pipelines.run.replay import replay
from schemas.tables import TABLES as TABLES_OF
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import at, raw, record
from tests.support.secret_scan import that_hold

FRAME = {"weights": {"jawOpen": 0.5}, "head": {}}
PURPOSES = ["research", "avatar_mirroring"]
GRANT = {"granted": True, "purposes": PURPOSES, "modalities": ["text", "motion"]}
TABLES = ("observations", "emotion_features", "expression_decisions", "review_queue")


def replayed(folder: Path, name: str, keys: Path, *rows: dict[str, Any], **settings: Any) -> Config:
    log = folder / name
    log.mkdir()
    numbered = [row | {"offset": number} for number, row in enumerate(rows)]
    pq.write_table(pa.Table.from_batches([raw(*numbered)]), log / "part-0.parquet")
    given = {"log": log, "tables": folder / "tables", "keys": keys, "models": CONSTANT}
    config = load_config(None, **given | settings)
    replay(config, QUIET)
    return config


def events(who: str, **changes: Any) -> list[dict[str, Any]]:
    """A text and a motion every two seconds: of windows of five seconds, four."""
    told = {"subject": who, "sessionid": f"{who}-1", "scenario": "support"} | changes
    kinds = (("text", {"text": "well", "lang": "en"}), ("motion", FRAME))
    return [
        record(kind, second, payload, id=f"{who}-{kind}-{second}-{told.get('purpose')}", **told)
        for second in range(1, 20, 2) for kind, payload in kinds
    ]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    """Tables of three people of whom nobody had withdrawn yet."""
    rows = [
        *(record("consent", 0, GRANT, subject=who) for who in ("ann", "bob", "cem")),
        *events("ann"), *events("ann", purpose="research"), *events("bob"), *events("cem"),
    ]  # fmt: skip
    return replayed(tmp_path, "before", keys, *rows)


def listed(config: Config) -> dict[str, list[str]]:
    found = dict(withdrawn_rows(config))
    assert all(len(set(ids)) == len(ids) for ids in found.values())
    return found


def times_of(config: Config, name: str, ids: list[str], column: str) -> list[tuple[Any, ...]]:
    rows = table(config.tables, name).to_pylist()
    key = next(iter(rows[0]))
    return sorted((row["purpose"], row[column].second) for row in rows if row[key] in set(ids))


def test_nobody_withdrew_and_nothing_is_listed(config: Config, tmp_path: Path) -> None:
    assert listed(config) == {}
    nowhere = config.model_copy(update={"tables": str(tmp_path / "nowhere")})
    assert listed(nowhere) == {}


def test_rows_from_the_withdrawal_on_are_listed_in_every_table(
    config: Config, tmp_path: Path, keys: Path
) -> None:
    """By the time from which it holds, said in another spelling and region."""
    said = {"granted": False, "purposes": ["avatar_mirroring"], "modalities": ["*"]}
    replayed(tmp_path, "after", keys, record("consent", 8, said, subject="ANN ", region="EU"))
    found = listed(config)
    assert set(found) == set(TABLES)
    mirroring = [("avatar_mirroring", second) for second in range(9, 20, 2)]
    observed = times_of(config, "observations", found["observations"], "event_time")
    assert observed == sorted(mirroring * 2)
    windows = times_of(config, "emotion_features", found["emotion_features"], "window_start")
    assert windows == [("avatar_mirroring", start) for start in (5, 10, 15)]
    features, decided, reviews = (table(config.tables, name).to_pylist() for name in TABLES[1:])
    assert {row["window_id"] for row in decided if row["decision_id"] in
            set(found["expression_decisions"])} == set(found["emotion_features"])  # fmt: skip
    whole = {row["window_id"]: row["subject_ref"] for row in features}
    assert len({whole[window] for window in found["emotion_features"]}) == 1
    assert {row["review_id"] for row in reviews if row["window_id"] in
            set(found["emotion_features"])} == set(found["review_queue"])  # fmt: skip
    assert found["review_queue"], "support is a scenario of high stakes"


@pytest.mark.parametrize("kind", ["consent", "erasure"])
def test_what_nobody_signed_lists_nothing_whenever_it_says_it_was(
    config: Config, tmp_path: Path, keys: Path, kind: str
) -> None:
    """A forged withdrawal, dated back to before the rows, would otherwise delete all of them."""
    settings = {"signatures": {"keys": tmp_path / "signers.json"}}
    (tmp_path / "signers.json").write_text('{"sources": {}}')
    forged = record(kind, 8, {}, subject="ann", time="2001-01-01T00:00:00Z")
    replayed(tmp_path, "forged", keys, forged, **settings)
    assert "suspended" in table(config.tables, "consent_ledger")["action"].to_pylist()
    assert listed(config) == {}
    replayed(tmp_path, "believed", keys, forged)
    assert len(listed(config)["observations"]) == 40


def test_of_one_modality_and_until_a_new_grant(config: Config, tmp_path: Path, keys: Path) -> None:
    said = {"granted": False, "purposes": ["*"], "modalities": ["motion"]}
    replayed(
        tmp_path, "after", keys,
        record("consent", 6, said, subject="bob"), record("consent", 12, GRANT, subject="bob"),
    )  # fmt: skip
    found = listed(config)
    observed = times_of(config, "observations", found["observations"], "event_time")
    assert observed == [("avatar_mirroring", second) for second in (7, 9, 11)]
    windows = times_of(config, "emotion_features", found["emotion_features"], "window_start")
    assert windows == [("avatar_mirroring", start) for start in (5, 10)]


def test_an_erasure_request_lists_all_that_comes_after_it(
    config: Config, tmp_path: Path, keys: Path
) -> None:
    asked = record("erasure", 30, {"reason": "left"}, subject="cem", time=at(-60))
    replayed(tmp_path, "after", keys, asked)
    found = listed(config)
    assert len(found["observations"]) == 20
    assert len(found["emotion_features"]) == 4


def test_erasing_them_leaves_no_byte_of_them_and_all_others(
    config: Config, tmp_path: Path, keys: Path
) -> None:
    said = {"granted": False, "purposes": ["avatar_mirroring"], "modalities": ["*"]}
    replayed(tmp_path, "after", keys, record("consent", 8, said, subject="ann"))
    found = listed(config)
    gone = {row_id for ids in found.values() for row_id in ids}
    names = {name: TABLES_OF[name].row_id for name in TABLES}
    kept = {
        name: set(table(config.tables, name)[row_id].to_pylist()) - gone
        for name, row_id in names.items()
    }
    assert that_hold(tmp_path / "tables", gone)
    counts = erase_withdrawn(config, QUIET)
    assert counts == {name: len(ids) for name, ids in found.items() if ids}
    assert that_hold(tmp_path / "tables", gone) == set()
    for name, row_id in names.items():
        assert set(table(config.tables, name)[row_id].to_pylist()) == kept[name]
    assert not any(listed(config).values())
    assert erase_withdrawn(config, QUIET).total() == 0
