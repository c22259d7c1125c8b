"""What a client wrote in place of a purpose, scenario or region stands in no refusal."""

import numpy as np
import pyarrow as pa

from pipelines.config import POLICIES
from schemas.stages import DEAD, LEDGER, REFUSED
from tests.support.records import pseudonymous, record
from transforms.gate import Gate
from transforms.gating.consent import GRANTED, Consents
from transforms.gating.policy import read_policy


class Granted(Consents):
    def ask(
        self, events: pa.RecordBatch, modality: str, needs: np.ndarray | None = None
    ) -> np.ndarray:
        return np.full(events.num_rows, GRANTED)


def rows_of(tag: str, row: dict) -> list[dict]:
    gate = Gate(read_policy(POLICIES / "gate.yaml"), Granted())
    return [r for t, batch in gate.batch(pseudonymous(row)) if t == tag for r in batch.to_pylist()]


def test_a_name_that_no_list_has_lands_as_unlisted() -> None:
    for name, column in (("purpose", "purpose"), ("scenario", "scenario"), ("region", "region")):
        (row,) = rows_of(REFUSED, record("text", 1, {"text": "x"}, **{name: "alice.smith"}))
        assert row[column] == "unlisted"
        assert "alice.smith" not in str(row)
        assert row["code"] == f"{column}_unknown"


def test_names_of_the_lists_and_what_is_missing_stay() -> None:
    (row,) = rows_of(REFUSED, record("text", 1, {"text": "x"}, noticeid=None, region="EU"))
    assert (row["purpose"], row["scenario"], row["region"]) == ("avatar_mirroring", "social", "EU")
    (row,) = rows_of(REFUSED, record("text", 1, {"text": "x"}, purpose=None))
    assert row["purpose"] is None


def test_the_ledger_keeps_no_region_that_nobody_knows() -> None:
    grant = {"granted": True, "purposes": ["research"], "modalities": ["text"]}
    (row,) = rows_of(LEDGER, record("consent", 1, grant, region="alice.smith"))
    assert row["region"] == "unlisted"
    (row,) = rows_of(LEDGER, record("erasure", 1, {}, region="EU"))
    assert (row["region"], row["purpose"]) == ("EU", "*")
    assert rows_of(DEAD, record("consent", 1, grant)) == []
