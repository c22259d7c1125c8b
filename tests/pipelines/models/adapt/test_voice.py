"""A voice model that is adapted to a recorded log: what it becomes, and what is refused."""

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from model_serving.card import read_card
from model_serving.gaps import GapException, GapLimit
from model_serving.loader import load_recogniser
from pipelines.cli.main import app
from pipelines.config import WEIGHTS, Config, load_config
from pipelines.models.adapt import gather
from pipelines.models.adapt.centre import BETWEEN_PLACES, BETWEEN_SPEAKERS, find_centre
from pipelines.models.adapt.clips import hear_clips
from pipelines.models.adapt.voice import adapt_voice
from pipelines.sessionlogs.sample_data import clips
from schemas.errors import AffectstreamError
from tests.support.live_runs import QUIET
from tests.support.records import at, record, write_log

BASE = WEIGHTS / "voice-compact"
GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["voice"]}
PEOPLE = ("ann", "ben", "cai", "dee", "eli", "fay")


def rows(
    people: tuple[str, ...] = PEOPLE, each: int = 9, consented: int = 99, only: str = ""
) -> list[dict]:
    """Say so many clips of the built-in sample as each person, of whom the first consented."""
    found = [record("consent", 0, GRANT, subject=who, time=at(-60)) for who in people[:consented]]
    sample = [clip.media for clip in clips() if only in clip.name]
    for n in range(each * len(people)):
        who = people[n % len(people)]
        heard = sample[n % len(sample)]
        found.append(record("voice", 3 * n, heard, subject=who, sessionid=f"of-{who}"))
    return found


def settings(tmp_path: Path, keys: Path, *log: dict, **changes: object) -> Config:
    name = f"log-{len(list(tmp_path.iterdir()))}"
    folder = write_log(tmp_path / name, *log)
    return load_config(None, log=folder, tables=tmp_path / "tables", keys=keys, **changes)


def test_it_moves_the_centre_alone_and_the_folder_is_swapped_into_a_running_job(
    tmp_path: Path, keys: Path
) -> None:
    out = tmp_path / "model"
    shutil.copytree(BASE, out)
    before = load_recogniser("voice", str(out), None, "cpu")
    config = settings(tmp_path, keys, *rows())
    card = adapt_voice(config, out, QUIET)
    after = load_recogniser("voice", str(out), None, "cpu")
    assert before.model_id != after.model_id == card.model_id
    assert card.version.startswith(read_card(BASE / "card.json").version + "+")
    old, new = load_file(BASE / "model.safetensors"), load_file(out / "model.safetensors")
    assert {n for n in old if not np.array_equal(old[n], new[n])} == {"perceptron.centre"}
    heard = hear_clips(config, str(BASE))
    centre, share = find_centre(heard.statistics, heard.speakers, old["perceptron.centre"])
    assert np.array_equal(new["perceptron.centre"], centre.astype(np.float16))
    found = read_card(out / "card.json").adapted
    assert (found.clips, found.speakers) == (54, 6)
    assert found.share == pytest.approx(share, abs=1e-3)
    assert 0 < found.moved < 1
    assert all(f.split.startswith("before adaptation, not measured") for f in card.figures)
    assert "Adapted without labels from voice-compact@" in (out / "CARD.md").read_text()


def test_order_and_repetition_of_records_change_nothing(tmp_path: Path, keys: Path) -> None:
    log = rows()
    one = adapt_voice(settings(tmp_path, keys, *log), tmp_path / "one", QUIET)
    other = [*log[::-1], *log[10:20]]
    two = adapt_voice(settings(tmp_path, keys, *other), tmp_path / "two", QUIET)
    # Padding moves a statistic by 1e-6 of itself, and half precision may round that to 1e-3.
    centres = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    before, after = (each["perceptron.centre"].astype(float) for each in centres)
    assert np.allclose(before, after, rtol=1e-3, atol=1e-6)
    assert two.adapted.clips == one.adapted.clips == 54
    assert two.adapted.share == one.adapted.share


def test_it_runs_by_an_exception_of_its_own_alone(tmp_path: Path, keys: Path) -> None:
    out = tmp_path / "model"
    adapt_voice(settings(tmp_path, keys, *rows()), out, QUIET)
    with pytest.raises(
        AffectstreamError, match=r"\+\w+ is not loaded: .*models\.exceptions\.voice"
    ):
        load_recogniser("voice", str(out), None, "cpu", GapLimit())
    until = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    why = GapException(reason="adapted to the headsets of a test", by="tests", until=until)
    allowed = GapLimit(exceptions={"voice": why})
    assert load_recogniser("voice", str(out), None, "cpu", allowed).model_id.startswith("voice-")


def test_only_clips_that_policy_lets_pass_are_heard(tmp_path: Path, keys: Path) -> None:
    heard = hear_clips(settings(tmp_path, keys, *rows(each=2, consented=4)), str(BASE))
    assert len(heard.speakers) == 8
    assert len(set(heard.speakers)) == 4
    assert not set(heard.speakers) & set(PEOPLE), "pseudonyms"
    assert heard.refused == 4


def test_of_too_many_clips_the_same_are_kept_in_any_order(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MOST_EVENTS", 5)
    log = rows(each=3)
    one, two = (hear_clips(settings(tmp_path, keys, *each), str(BASE)) for each in (log, log[::-1]))
    assert len(one.speakers) == 5
    assert one.speakers.tolist() == two.speakers.tolist()
    assert np.allclose(one.statistics, two.statistics, atol=1e-4)


def test_a_log_that_tells_too_little_is_refused_with_what_is_needed(
    tmp_path: Path, keys: Path
) -> None:
    few = r"12 voice clips of 6 speakers .* needs 50 of 5 at least"
    with pytest.raises(AffectstreamError, match=few):
        adapt_voice(settings(tmp_path, keys, *rows(each=2)), tmp_path / "out", QUIET)
    one = r"60 voice clips of 1 speaker .* needs 50 of 5 at least"
    with pytest.raises(AffectstreamError, match=one):
        adapt_voice(settings(tmp_path, keys, *rows(("ann",), 60)), tmp_path / "out", QUIET)
    nobody = r"0 voice clips of 0 speakers .*refused by policy: 12;"
    unknown = settings(tmp_path, keys, *rows(each=2, consented=0))
    with pytest.raises(AffectstreamError, match=nobody):
        adapt_voice(unknown, tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


def test_a_log_of_one_expression_is_refused_with_what_is_needed(tmp_path: Path, keys: Path) -> None:
    log = rows(only="en-anger-1")
    with pytest.raises(AffectstreamError, match=r"100% of the .* seem to show .* at most 75% may"):
        adapt_voice(settings(tmp_path, keys, *log), tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


def test_what_was_adapted_and_the_models_own_folder_are_refused(tmp_path: Path, keys: Path) -> None:
    out = tmp_path / "out"
    adapt_voice(settings(tmp_path, keys, *rows()), out, QUIET)
    again = settings(tmp_path, keys, *rows(), models={"voice": {"model": str(out)}})
    with pytest.raises(AffectstreamError, match="made from, voice-compact@"):
        adapt_voice(again, tmp_path / "twice", QUIET)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "page.md").write_text("mine")
    with pytest.raises(AffectstreamError, match="holds something else than a model"):
        adapt_voice(settings(tmp_path, keys, *rows()), tmp_path / "pages", QUIET)
    with pytest.raises(AffectstreamError, match="holds the model itself"):
        adapt_voice(settings(tmp_path, keys, *rows()), BASE, QUIET)
    other = settings(tmp_path, keys, *rows(), models={"voice": {"model": "constant"}})
    with pytest.raises(AffectstreamError, match="which alone has a centre"):
        adapt_voice(other, tmp_path / "none", QUIET)


def test_the_command_writes_a_folder(tmp_path: Path, keys: Path) -> None:
    log = write_log(tmp_path / "log", *rows())
    where = ["--log", str(log), "--out", str(tmp_path / "out"), "--keys", str(keys)]
    done = CliRunner().invoke(app, ["adapt", "voice", *where])
    assert done.exit_code == 0, done.output
    assert "54 clips of 6 speakers" in " ".join(done.output.split())
    assert read_card(tmp_path / "out" / "card.json").adapted.clips == 54


def test_the_centre_trusts_many_clips_of_many_speakers_more() -> None:
    rng = np.random.default_rng(3)
    shipped = np.zeros(4)

    def share(speakers: int, each: int) -> float:
        given = rng.standard_normal((speakers * each, 4)) + 5
        return find_centre(given, np.repeat(np.arange(speakers), each), shipped)[1]

    assert share(1, 10) < share(5, 10) < share(50, 10) < 1
    assert share(5, 2) < share(5, 10)
    one = 1 / (BETWEEN_SPEAKERS + 1 / 10)
    assert share(5, 10) == pytest.approx(BETWEEN_PLACES / (BETWEEN_PLACES + 1 / (5 * one)))


def test_a_talkative_speaker_counts_little_more_than_another() -> None:
    given = np.r_[np.zeros((1_000, 1)), np.ones((10, 1))]
    speakers = np.r_[np.zeros(1_000), np.ones(10)]
    centre, share = find_centre(given, speakers, np.zeros(1))
    assert centre[0] / share == pytest.approx(0.44, abs=0.01)
