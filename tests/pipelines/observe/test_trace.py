"""The trace of one record says what a run of the whole log made of it, and nothing that it said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.config import Config, load_config
from pipelines.observe.trace import Step, parse_place, trace
from pipelines.run.replay import replay
from schemas.errors import AffectstreamError
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import raw, record

GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
SECRET = "my number is 0171 2345678"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Config:
    """A replayed log: a consent, a text, one that is not JSON, and motion without a consent."""
    folder = tmp_path_factory.mktemp("trace")
    (folder / "log").mkdir()
    rows = [
        record("consent", 0, GRANTED),
        record("text", 1, {"text": SECRET, "lang": "en"}),
        record("text", 2, b"{"),
        record("motion", 3, {"weights": {"jawOpen": 0.5}}),
    ]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "log" / "part-0.parquet")
    made = load_config(
        None, log=folder / "log", tables=folder / "tables", keys=keys, models=CONSTANT
    )
    replay(made, QUIET)
    return made


def steps(config: Config, offset: int) -> dict[str, Step]:
    """The trace of the record with this offset, by stage or table."""
    log = pq.read_table(config.recorded)
    row = log.filter(pc.equal(log["offset"], offset)).to_pylist()[0]
    place = row["topic"], row["partition"], row["offset"]
    return {step.stage: step for step in trace(config, place)}


def test_an_event_that_passes_is_followed_to_its_window(config: Config) -> None:
    found = steps(config, 1)
    observed = table(config.tables, "observations").to_pylist()[0]
    window = table(config.tables, "emotion_features").to_pylist()[0]
    assert list(found) == [
        "DecodeEvents", "ValidateEvents", "SieveLate", "Pseudonymise", "GateByPolicy",
        "LimitEvents", "FetchMedia", "ScrubText", "RecogniseText", "WindowSessions",
        "FuseModalities",
        "emotion_features", "expression_decisions", "observations",
    ]  # fmt: skip
    assert observed["event_id"] in found["DecodeEvents"].verdict
    assert observed["subject_ref"] in found["Pseudonymise"].verdict
    assert (
        found["ScrubText"].verdict == f"{len('my number is <phone>')} characters, replaced in part"
    )
    assert window["window_id"] in found["WindowSessions"].verdict
    assert found["emotion_features"].verdict.startswith("landed: revision 1")
    assert found["SieveLate"].milliseconds is None
    assert found["RecogniseText"].milliseconds > 0
    assert not any("0171" in step.verdict or "number" in step.verdict for step in found.values())


@pytest.mark.parametrize(
    ("offset", "stage", "verdict", "landed"),
    [
        (0, "GateByPolicy", "consent_ledger: action granted", ("consent_ledger", "action granted")),
        (2, "DecodeEvents", "dead_letters: code bad_json", ("dead_letters", "code bad_json")),
        (3, "GateByPolicy", "refusals: code consent_unknown", ("refusals", "code consent_unknown")),
    ],
)
def test_a_record_ends_where_it_ended_in_the_run(
    config: Config, offset: int, stage: str, verdict: str, landed: tuple[str, str]
) -> None:
    found = steps(config, offset)
    assert found[stage].verdict.startswith(verdict)
    assert list(found)[-2:] == [stage, landed[0]]
    assert landed[1] in found[landed[0]].verdict


@pytest.mark.parametrize("text", ["session.text/0", "session.smell/0/1", "session.text/0/-1", ""])
def test_what_names_no_record_is_one_sentence(text: str) -> None:
    with pytest.raises(AffectstreamError, match="write TOPIC/PARTITION/OFFSET"):
        parse_place(text)


def test_a_record_that_is_not_there_is_one_sentence(config: Config) -> None:
    with pytest.raises(AffectstreamError, match=r"log has no record session\.text/0/999$"):
        list(trace(config, ("session.text", 0, 999)))
