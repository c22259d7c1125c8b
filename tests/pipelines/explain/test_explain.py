"""Why a decision was made: whole runs with the shipped models, and what may not be told of them."""

import json
import unicodedata
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from pipelines.access.audit import hash_of, read_entries
from pipelines.access.settings import ROLES
from pipelines.cli import main
from pipelines.cli.main import app
from pipelines.config import Config, load_config
from pipelines.explain.explanation import Explanation, explain, to_json
from pipelines.explain.report import WIDTH, print_explanation
from pipelines.govern.erasure.erase import Request, erase
from pipelines.review.label import store_review
from pipelines.run.replay import replay
from pipelines.sessionlogs.faces import Camera, photograph
from pipelines.sessionlogs.sample_data import clips
from schemas.errors import AffectstreamError
from schemas.keys import read_keys, write_keys
from schemas.vocabularies import EXPRESSIONS
from tests.support.live_runs import QUIET, table
from tests.support.records import period, record, write_key_file, write_log
from tests.support.served import decision, feature, land
from transforms.landing.prepare import prepare_tables

JOY = EXPRESSIONS.index("joy")
SMILE = {
    "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5,
    "cheekSquintRight": 0.5, "jawOpen": 0.1,
}  # fmt: skip
TEXT = "I am so happy about this table"
PURPOSES = ["avatar_mirroring", "research"]


def payloads() -> dict[str, Any]:
    clip = next(clip for clip in clips() if (clip.lang, clip.expression) == ("en", "joy"))
    return {
        "text": {"text": TEXT, "lang": "en"},
        "voice": clip.media,
        "face": photograph(2, JOY, 1, Camera(64, colour=True, container="png")),
        "motion": {"weights": SMILE, "head": {}},
    }


def events(who: str, *kinds: str, begin: int = 1) -> list[dict[str, Any]]:
    """One event of each kind, a tenth of a second apart."""
    given = payloads()
    said = {"subject": who, "sessionid": f"{who}-1", "scenario": "support"}
    return [record(kind, begin, given[kind], id=f"{who}-{kind}-{begin}", **said) for kind in kinds]


def consent(*people: str) -> list[dict[str, Any]]:
    granted = {"granted": True, "purposes": PURPOSES, "modalities": ["*"]}
    return [record("consent", 0, granted, id=who, subject=who) for who in people]


ALL = ("text", "voice", "face", "motion")


def run(folder: Path, keys: Path, *rows: dict[str, Any], name: str = "log") -> Config:
    settings = {"tables": folder / "tables", "keys": keys}
    config = load_config(None, log=write_log(folder / name, *rows), **settings)
    replay(config, QUIET)
    return config


@pytest.fixture(scope="module")
def ran(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Ann with all modalities and an event without a notice; Bob with a text."""
    unnoticed = record(
        "motion", 2, {"weights": SMILE}, id="x", subject="ann", sessionid="ann-1",
        scenario="support", noticeid=None,
    )  # fmt: skip
    noise = record("text", 3, b"{", id="broken", subject="ann")
    rows = [*consent("ann", "bob"), noise, *events("ann", *ALL), unnoticed, *events("bob", "text")]
    return run(tmp_path_factory.mktemp("explain"), keys, *rows)


def decided(config: Config, modalities: int = 4) -> str:
    """The id of the decision on the window with so many modalities."""
    (window,) = [
        row["window_id"] for row in table(config.tables, "emotion_features").to_pylist()
        if sum(row[f"n_{name}"] > 0 for name in ALL) == modalities
    ]  # fmt: skip
    (found,) = [
        row["decision_id"] for row in table(config.tables, "expression_decisions").to_pylist()
        if row["window_id"] == window
    ]  # fmt: skip
    return str(found)


@pytest.fixture(scope="module")
def found(ran: Config) -> Explanation:
    return explain(ran, decided(ran), log=ran.log)


def test_the_chain_holds_what_landed(ran: Config, found: Explanation) -> None:
    chain = found.chain
    assert chain.decision["window_id"] == chain.window["window_id"]
    assert sorted(row["modality"] for row in chain.observations) == sorted(ALL)
    landed = {row["event_id"]: row for row in table(ran.tables, "observations").to_pylist()}
    for row in chain.observations:
        own = landed[row["event_id"]]
        assert {name: own[name] for name in row} == row
    assert found.notes == []


def test_the_gate_says_what_it_refused_and_on_which_consent(found: Explanation) -> None:
    by_modality = {row["modality"]: row for row in found.chain.gate}
    assert {name: row["allowed"] for name, row in by_modality.items()} == dict.fromkeys(ALL, 1)
    (refused,) = by_modality["motion"]["refused"]
    assert (refused["code"], refused["events"]) == ("notice_missing", 1)
    assert [row["modality"] for row in found.chain.consents] == list(ALL)
    assert {row["action"] for row in found.chain.consents} == {"granted"}


def test_without_a_modality_the_estimate_is_that_of_a_run_without_it(
    ran: Config, found: Explanation, keys: Path, tmp_path: Path
) -> None:
    """Against tables of which the records of one modality were left out before the run."""
    assert found.ablation.difference < 1e-3
    scores = np.array(found.chain.window["scores"])
    top = int(scores.argmax())
    assert found.ablation.expression == EXPRESSIONS[top]
    assert [row.modality for row in found.ablation.without] == list(ALL)
    for row in found.ablation.without[:2]:
        left = [kind for kind in ALL if kind != row.modality]
        (tmp_path / row.modality).mkdir()
        other = run(tmp_path / row.modality, keys, *consent("ann"), *events("ann", *left))
        (window,) = table(other.tables, "emotion_features").to_pylist()
        alone = np.array(window["scores"])
        assert row.effect == pytest.approx(scores[top] - alone[top], abs=1e-3)
        assert row.moved == pytest.approx(np.abs(scores - alone).sum() / 2, abs=1e-3)
        assert row.expression == window["expression"]
        assert row.attention > 0


def test_sources_are_the_records_of_the_log(ran: Config, found: Explanation) -> None:
    """The log was written by this test, so that each kind's offset is known."""
    offsets = {source.modality: source.offset for source in found.sources}
    assert offsets == dict(zip(ALL, range(3, 7), strict=True))
    assert {s.topic for s in found.sources} == {f"session.{name}" for name in ALL}
    assert {source.note for source in found.sources} == {None}


def test_the_words_and_shapes_that_make_a_smile_moved_it(found: Explanation) -> None:
    assert found.ablation.expression == "joy"
    by_modality = {source.modality: source.attribution for source in found.sources}
    top = {
        name: max(each.parts, key=lambda part: part.effect).name
        for name, each in by_modality.items()
    }
    assert top["text"] == "happy"
    assert top["motion"].startswith(("mouthSmile", "cheekSquint"))
    happy = next(part for part in by_modality["text"].parts if part.name == "happy")
    assert TEXT[int(happy.start) : int(happy.end)] == "happy"
    assert len(by_modality["face"].parts) == 15
    assert by_modality["voice"].parts[0].start == 0


def test_nothing_is_written_for_an_explanation(ran: Config) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in Path(ran.tables).parent.rglob("*") if p.is_file()}

    before = files()
    explain(ran, decided(ran), log=ran.log)
    assert files() == before


def printed(found: Explanation) -> str:
    out = StringIO()
    print_explanation(found, Console(file=out, width=WIDTH, highlight=False))
    return out.getvalue()


def test_it_fits_80_columns_and_names_every_step(found: Explanation) -> None:
    text = printed(found)
    assert max(map(cell_len, text.splitlines())) <= WIDTH
    for heading in ("Decision", "Gate", "Observations", "Weights", "Sources", "Rule"):
        assert f"\n{heading}" in f"\n{text}"
    for word in ("happy", "notice_missing", "granted", "session.voice/0/4", "mouth, middle"):
        assert word in text


def test_json_holds_all_of_it(found: Explanation) -> None:
    whole = json.loads(to_json(found))
    assert whole["decision"]["decision_id"] == found.chain.decision["decision_id"]
    assert whole["decision"]["window_end"].endswith("Z")
    assert [row["modality"] for row in whole["ablation"]["without"]] == list(ALL)
    assert whole["attribution_method"] == "occlusion"
    assert {row["topic"] for row in whole["sources"]} == {f"session.{name}" for name in ALL}


def test_what_reviewers_said_is_told(ran: Config) -> None:
    asked = decided(ran, 1)
    rows = [
        row for row in table(ran.tables, "review_queue").to_pylist() if row["decision_id"] == asked
    ]
    before = explain(ran, asked).chain.reviews
    assert [row["review_id"] for row in before] == [row["review_id"] for row in rows]
    for row in rows:
        store_review(ran.tables, row["review_id"], row["event_date"], "unclear", "dana")
    assert {row["reviewed_by"] for row in explain(ran, asked).chain.reviews} <= {"dana"}


@pytest.mark.parametrize(
    "hostile",
    ["", "x' OR '1'='1", "x'--", "\x1b]0;pwn\x07\x1b[2J", "0" * 32, "a" * 5_000, "ß\u202e"],
)
def test_an_unknown_decision_is_one_sentence_that_does_nothing(
    ran: Config, hostile: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "affectstream",
        "explain",
        "--tables",
        ran.tables,
        "--keys",
        str(ran.keys),
        "--",
        hostile,
    ]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "error: there is no decision" in told
    acting = {c for c in told if unicodedata.category(c) in {"Cc", "Cf"}} - {"\n"}
    assert acting == set()


def test_a_log_that_is_none_or_somebody_elses_is_one_sentence(
    ran: Config, tmp_path: Path, keys: Path
) -> None:
    asked = decided(ran)
    with pytest.raises(AffectstreamError, match="is not a recorded log"):
        explain(ran, asked, log=tmp_path / "nowhere")
    other = write_log(tmp_path / "other", *consent("eve"), *events("eve", *ALL))
    with pytest.raises(AffectstreamError, match="holds no record of this decision's 4 observ"):
        explain(ran, asked, log=other)
    write_keys(tmp_path / "keys.yaml")
    strangers = ran.model_copy(update={"keys": tmp_path / "keys.yaml"})
    with pytest.raises(AffectstreamError, match="and the keys that it was made under"):
        explain(strangers, asked, log=ran.log)


def test_a_log_that_lacks_some_records_says_so(ran: Config, tmp_path: Path) -> None:
    part = write_log(tmp_path / "part", *events("ann", "text", "motion"))
    found = explain(ran, decided(ran), log=part)
    # Of one time, so their order is that of keyed ids.
    assert {source.modality for source in found.sources} == {"text", "motion"}
    assert found.notes == [f"{part} lacks the records of 2 observations"]


def test_a_decision_of_another_key_period_is_explained_as_any(tmp_path: Path) -> None:
    keys = write_key_file(
        tmp_path / "keys.yaml",
        period("2020-01-01T00:00:00Z", "old"), period("2026-09-01T10:00:05Z", "new"),
    )  # fmt: skip
    rows = [*consent("ann"), *events("ann", "text"), *events("ann", "text", "motion", begin=6)]
    config = run(tmp_path, keys, *rows)
    for modalities, offsets in ((1, [1]), (2, [2, 3])):
        found = explain(config, decided(config, modalities), log=config.log)
        assert [source.offset for source in found.sources] == offsets
        assert found.notes == []
        assert {row["action"] for row in found.chain.consents} == {"granted"}


def test_who_was_erased_has_no_decision_any_more(tmp_path: Path, keys: Path) -> None:
    config = run(tmp_path, keys, *consent("ann"), *events("ann", "text"))
    asked = decided(config, 1)
    assert explain(config, asked).chain.observations
    erase(config, read_keys(config.keys), [Request("ann")], QUIET)
    with pytest.raises(AffectstreamError, match=r"no decision .* who were erased are gone"):
        explain(config, asked, log=config.log)


def test_what_is_no_longer_there_is_named(ran: Config, tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    land(tmp_path, "expression_decisions", decision("ann", 0), decision("bob", 0))
    land(tmp_path, "emotion_features", feature("bob", 0))
    config = ran.model_copy(update={"tables": str(tmp_path)})
    alone = explain(config, "d-ann-0-recommendation")
    assert (alone.chain.window, alone.ablation) == (None, None)
    assert alone.notes == ["the window's features are older than they are kept, or hidden"]
    known = explain(config, "d-bob-0-recommendation")
    assert known.notes[0].startswith("0 of the window's 1 observations can be read")
    with pytest.raises(AffectstreamError, match=r"no observation of decision .* leave out --log"):
        explain(config, "d-bob-0-recommendation", log=ran.log)


def test_a_role_is_told_what_it_sees_and_the_reading_is_logged(ran: Config, tmp_path: Path) -> None:
    own = ran.model_copy(
        update={"access": ran.access.model_copy(update={"audit": tmp_path / "audit"})}
    )
    asked = decided(ran)
    found = explain(own, asked, role="analyst")
    assert found.ablation.difference < 1e-3
    assert "role analyst may not read review_queue" in found.notes
    assert found.chain.consents == []
    with pytest.raises(AffectstreamError, match="operator may not read expression_decisions"):
        explain(own, asked, role="operator")
    read, refused = read_entries(tmp_path / "audit")
    assert (read["via"], read["what"], read["outcome"]) == ("explain", f"decision {asked}", "ok")
    assert read["subjects"] == [hash_of(found.chain.decision["subject_ref"])]
    assert (refused["role"], refused["outcome"]) == ("operator", "refused")


def test_columns_that_a_role_does_not_see_are_named_and_nothing_fails(
    ran: Config, tmp_path: Path
) -> None:
    roles = yaml.safe_load(ROLES.read_text())
    tables = roles["roles"]["analyst"]["tables"]
    tables["observations"] = {"without": ["embedding", "content", "scores", "model_id", "quality"]}
    tables["emotion_features"] = {"without": ["attention", "model_id", "activity"]}
    del roles["roles"]["analyst"]["page"]
    (tmp_path / "roles.yaml").write_text(yaml.safe_dump(roles))
    access = {"audit": tmp_path / "audit", "roles": tmp_path / "roles.yaml"}
    own = ran.model_copy(update={"access": ran.access.model_copy(update=access)})
    found = explain(own, decided(ran), role="analyst", log=ran.log)
    assert found.ablation is None
    assert "the role hides attention, scores, so that nothing is weighed" in found.notes
    assert all("a hidden model was asked then" in str(source.note) for source in found.sources)
    assert "happy" in printed(found)
    tables["expression_decisions"] = {"without": ["window_id"]}
    (tmp_path / "roles.yaml").write_text(yaml.safe_dump(roles))
    with pytest.raises(AffectstreamError, match="may not read window_id of expression_decisions"):
        explain(own, decided(ran), role="analyst")


def test_texts_of_events_do_nothing_on_a_terminal(ran: Config, tmp_path: Path) -> None:
    hostile = "\x1b]0;pwn\x07\x1b[2J\u202e"
    prepare_tables(tmp_path)
    told = {"scene_id": hostile, "reason": hostile, "action": "[bold]x[/]"}
    land(tmp_path, "expression_decisions", decision("ann", 0, **told))
    land(tmp_path, "emotion_features", feature("ann", 0, scene_id=hostile, activity=hostile))
    config = ran.model_copy(update={"tables": str(tmp_path)})
    found = explain(config, "d-ann-0-recommendation")
    for text in (printed(found), to_json(found)):
        acting = {c for c in text if unicodedata.category(c) in {"Cc", "Cf"}} - {"\n"}
        assert acting == set()
    assert "[bold]x[/]" in printed(found)


def test_the_command_prints_text_and_json(ran: Config) -> None:
    given = ["explain", decided(ran, 1), "--tables", ran.tables, "--keys", str(ran.keys)]
    text = CliRunner().invoke(app, given)
    assert text.exit_code == 0, text.exception
    assert text.stdout.startswith("Decision ")
    told = CliRunner().invoke(app, [*given, "--log", str(ran.log), "--format", "json"])
    assert told.exit_code == 0, told.exception
    (source,) = json.loads(told.stdout)["sources"]
    assert {part["name"] for part in source["attribution"]["parts"]} == set(TEXT.split())
