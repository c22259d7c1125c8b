"""Features of the past, as Feast joins them: of live rows alone, one for each row asked for."""

import json
import struct
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake
from feast import Entity, FeatureView, FileSource, ValueType
from feast.data_format import DeltaFormat

from infra.bench.serve import features as bench
from infra.feast import features
from pipelines.serve.feast.source import TableSource
from schemas.errors import AffectstreamError
from schemas.settings import Online
from schemas.tables import TABLES
from tests.support.feast_stores import VIEWS, feast_store, history
from tests.support.served import BEGIN, LENGTH, decision, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

ANNA, BEN = subject("anna"), subject("ben")
TTL = timedelta(seconds=Online().ttl_s)
SECOND = timedelta(seconds=1)
NAMES = ("emotion_features", "expression_decisions")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def end(window: int) -> datetime:
    return BEGIN + (window + 1) * LENGTH


def shown(who: str, window: int, expression: str | None, **more: object) -> dict[str, object]:
    return feature(who, window, **({"expression": expression} | more))


def expressions(root: Path, keys: list[str], times: list[datetime], view: str = "") -> list:
    found = history(feast_store(root), keys, times, "expression", view=view)
    return [None if pd.isna(name) else name for name in found["expression"]]


def test_each_time_gets_the_newest_window_that_had_ended(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"), shown("anna", 3, "fear"))
    times = [end(0) - SECOND, end(0), end(3) - SECOND, end(3), end(3) + SECOND]
    assert expressions(root, [ANNA] * 5, times) == [None, "joy", "joy", "fear", "fear"]


def test_a_window_that_lands_late_stands_at_its_own_time(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 3, "fear"))
    land(root, NAMES[0], shown("anna", 1, "joy"))
    assert expressions(root, [ANNA] * 2, [end(2), end(3)]) == ["joy", "fear"]


def test_a_revised_window_is_seen_once_as_it_was_last(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy", revision=1))
    land(root, NAMES[0], shown("anna", 0, "fear", revision=2))
    found = history(feast_store(root), [ANNA], [end(0)], "expression", "revision")
    assert found[["expression", "revision"]].to_numpy().tolist() == [["fear", 2]]


def test_an_erased_subject_is_gone_at_once_and_no_row_is_lost(root: Path) -> None:
    for name, row in zip(NAMES, (feature, decision), strict=True):
        land(root, name, row("anna", 0), row("ben", 0))
        erase(root, name, "anna")
    assert expressions(root, [ANNA, BEN], [end(0)] * 2) == [None, "joy"]
    assert expressions(root, [ANNA, BEN], [end(0)] * 2, view="decision") == [None, "joy"]


def test_a_row_serves_as_long_as_its_view_says(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"))
    late = end(0) + TTL
    assert expressions(root, [ANNA] * 2, [late, late + SECOND]) == ["joy", None]


def test_what_people_consented_to_for_something_else_is_not_seen(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"))
    land(root, NAMES[0], shown("anna", 1, "fear", purpose="avatar_mirroring"))
    assert expressions(root, [ANNA], [end(2)]) == ["joy"]


def test_every_row_asked_for_comes_back_once(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"))
    keys = [ANNA, ANNA, "nobody", ANNA, BEN]
    times = [end(0), end(0), end(0), end(0) - LENGTH, end(0)]
    assert expressions(root, keys, times) == ["joy", "joy", None, None, None]


def test_a_session_has_its_own_view(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"))
    land(root, NAMES[0], shown("anna", 1, "fear", session_ref="other"))
    own = subject("annas")
    found = expressions(root, [own, "other"], [end(2)] * 2, view="session_expression")
    assert found == ["joy", "fear"]


def test_an_abstention_is_no_older_expression(root: Path) -> None:
    land(root, NAMES[0], shown("anna", 0, "joy"))
    land(root, NAMES[0], shown("anna", 1, None, abstained=True))
    found = history(feast_store(root), [ANNA], [end(1)], "expression", "abstained")
    assert found["expression"].isna().all()
    assert found["abstained"].tolist() == [True]


def test_an_empty_table_and_one_without_newer_columns_can_be_read(root: Path) -> None:
    land(root, NAMES[0], feature("anna", 0))
    erase(root, NAMES[0], "anna")
    assert expressions(root, [ANNA], [end(0)]) == [None]
    older = pd.DataFrame([feature("anna", 0)]).drop(columns=["n_text"])
    write_deltalake(root / NAMES[0], older, mode="overwrite", schema_mode="overwrite")
    found = history(feast_store(root), [ANNA], [end(0)], "expression", "n_text", "lesson_state")
    assert found["expression"].tolist() == ["joy"]
    assert found[["n_text", "lesson_state"]].isna().all(axis=None)


def test_ten_thousand_rows_of_a_million_are_those_of_an_independent_join(tmp_path: Path) -> None:
    bench.write_table(tmp_path, 1_000_000)
    asked = bench.questions(tmp_path, 10_000)
    store = feast_store(tmp_path, views=VIEWS[:1])
    found = history(store, asked["subject_ref"], asked["event_timestamp"], "confidence")
    rows = DeltaTable(tmp_path / NAMES[0]).to_pandas(
        columns=["subject_ref", "window_end", "confidence"]
    )
    true = pd.merge_asof(
        asked.reset_index().sort_values("event_timestamp"),
        rows.astype({"window_end": "datetime64[ns, UTC]"}).sort_values("window_end"),
        left_on="event_timestamp",
        right_on="window_end",
        by="subject_ref",
        tolerance=TTL,
    ).sort_values("index")
    assert len(found) == 10_000
    known = ~true["confidence"].isna().to_numpy()
    assert 1_000 < known.sum() < 10_000  # some are too early, some expired
    np.testing.assert_array_equal(found["confidence"].to_numpy(), true["confidence"].to_numpy())


@pytest.mark.parametrize("kind", ["dask", "file", "duckdb"])
def test_stores_that_read_the_folder_are_refused_with_the_reason(root: Path, kind: str) -> None:
    land(root, NAMES[0], feature("anna", 0))
    feast_store(root)
    store = feast_store(root, offline={"type": kind}, apply=False)
    with pytest.raises(AffectstreamError, match="an erased person comes back"):
        features.expression.batch_source.validate(store.config)  # as `feast apply` does
    with pytest.raises(AffectstreamError, match="an erased person comes back"):
        history(store, [ANNA], [end(0)], "expression")
    with pytest.raises(AffectstreamError, match="an erased person comes back"):
        store.materialize(BEGIN, end(9))


def test_a_source_that_is_no_table_of_ours_is_refused(root: Path) -> None:
    land(root, NAMES[0], feature("anna", 0))
    plain = FileSource(
        name="plain",
        path=str(root / NAMES[0]),
        file_format=DeltaFormat(),
        timestamp_field="window_end",
    )
    entity = Entity(name="who", join_keys=["subject_ref"], value_type=ValueType.STRING)
    view = FeatureView(
        name="plain", entities=[entity], source=plain, schema=features.expression.schema[:3]
    )
    store = feast_store(root, apply=False)
    view.online = False
    store.apply([entity, view])
    with pytest.raises(AffectstreamError, match="plain is no TableSource"):
        history(store, [ANNA], [end(0)], view.features[0].name, view="plain")
    with pytest.raises(AffectstreamError, match="'dead_letters' has no features"):
        TableSource(table="dead_letters", purpose="recommendation")


def test_a_table_that_is_away_or_in_an_object_store_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="emotion_features cannot be read"):
        expressions(tmp_path, [ANNA], [end(0)])
    offline = {"type": feast_store(tmp_path).config.offline_store.type, "tables": "s3://b/t"}
    with pytest.raises(AffectstreamError, match="is an object store"):
        history(feast_store(tmp_path, offline=offline), [ANNA], [end(0)], "expression")


def test_what_the_store_cannot_tell_is_refused(root: Path) -> None:
    store, asked = feast_store(root), ["expression:expression"]
    with pytest.raises(AffectstreamError, match="have to be a pandas data frame"):
        store.get_historical_features("SELECT 1", asked)


def test_without_feast_the_extra_is_named() -> None:
    code = "import sys; sys.modules['feast'] = None; import pipelines.serve.feast.source"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert said == "ImportError: Feast is not installed: pip install affectstream[feast]"


def test_deletion_vectors_are_refused(root: Path) -> None:
    land(root, NAMES[0], feature("anna", 0), feature("ben", 0))
    delete_first_row_by_vector(root / NAMES[0])
    with pytest.raises(AffectstreamError, match=r"has deletion vectors .* APPLY \(PURGE\)"):
        expressions(root, [ANNA], [end(0)])


def delete_first_row_by_vector(place: Path) -> None:
    """Commit what Spark does to delete the first row of a table's only file without rewriting it.

    The vector is a 64-bit roaring bitmap of {0}, in Z85, which stands in the log itself.
    """
    bitmap = struct.pack("<iihhih", 12346, 1, 0, 0, 16, 0)
    raw = struct.pack("<iqi", 1681511377, 1, 0) + bitmap
    table = DeltaTable(place)
    log = place / "_delta_log"
    added = next(
        json.loads(line)["add"]
        for path in sorted(log.glob("*.json"))
        for line in path.read_text().splitlines()
        if "add" in json.loads(line)
    )
    vector = {
        "storageType": "i",
        "pathOrInlineDv": z85(raw + b"\0" * (-len(raw) % 4)),
        "sizeInBytes": len(raw),
        "cardinality": 1,
    }
    known = table.protocol()
    features_ = sorted({*(known.writer_features or []), "deletionVectors", "appendOnly"})
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": features_,
    }
    removed = {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}
    actions = [
        {"protocol": protocol},
        {"remove": removed},
        {"add": added | {"deletionVector": vector}},
    ]
    path = log / f"{table.version() + 1:020}.json"
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def z85(raw: bytes) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    words = struct.unpack(f">{len(raw) // 4}I", raw)
    return "".join(digits[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))


def test_views_say_whose_they_are_and_what_their_columns_mean() -> None:
    for view in VIEWS:
        table = TABLES[view.tags["table"]]
        assert view.owner == table.owner
        assert view.ttl > timedelta(0)
        assert view.tags["purpose"] == "recommendation"
        for field in view.features:
            assert field.description == table.schema.field(field.name).metadata[b"doc"].decode()
