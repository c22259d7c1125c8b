"""Text and face models that are adapted to the shares of a log: what moves, and what is refused."""

import io
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from model_serving.calibration import answer_of, apply_calibration
from model_serving.card import PriorShift, read_card, write_card
from model_serving.loader import load_recogniser
from pipelines.cli.main import app
from pipelines.config import WEIGHTS, Config, load_config
from pipelines.models.adapt.shares import adapt_shares, load_countable_model, logits_of
from pipelines.sessionlogs.sample_data import head, utterances
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support.live_runs import QUIET
from tests.support.records import at, record, write_log

SUBJECTS = 60
EACH = 12


@cache
def samples(modality: str) -> tuple[object, ...]:
    """Payloads of the built-in sample, as a log has them."""
    if modality == "text":
        return tuple({"text": each.text, "lang": each.lang} for each in utterances())
    found = []
    for picture in (*head(0).reshape(-1, 80, 80, 3), *head(1).reshape(-1, 80, 80, 3)):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        found.append(file.getvalue())
    return tuple(found)


@cache
def answers(modality: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which samples can be judged, their likeliest label and their answer."""
    model = load_countable_model(modality, str(WEIGHTS / f"{modality}-compact"))
    given = [each["text"] if isinstance(each, dict) else each for each in samples(modality)]
    rows, logits = logits_of(model, pa.array(given))
    chances = apply_calibration(model.card.calibration, logits)
    return rows, chances.argmax(axis=1), answer_of(chances)


def shipped(tmp_path: Path, modality: str) -> Path:
    """Copy a shipped model; its card counts the samples, as if each label were what is shown."""
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / f"{modality}-compact", folder)
    card = read_card(folder / "card.json")
    counts = np.zeros(np.shape(card.calibration.answers), int)
    _, labels, found = answers(modality)
    np.add.at(counts, (labels, found), 40)
    calibration = card.calibration.model_copy(
        update={"answers": tuple(map(tuple, counts.tolist()))}
    )
    write_card(folder, card.model_copy(update={"calibration": calibration}))
    return folder


def rows(
    modality: str, subjects: int = SUBJECTS, each: int = EACH, often: float = 6.0, only: int = -1
) -> list[dict]:
    """A log in which what is answered as joy comes ``often`` times as often, or one sample only."""
    usable, labels, _ = answers(modality)
    card = read_card(WEIGHTS / f"{modality}-compact" / "card.json")
    joy = [name for name in sorted(card.labels) if card.labels[name] == "joy"]
    place = (EXPRESSIONS if modality == "text" else sorted(card.labels)).index(joy[0])
    weights = np.where(labels == place, often, 1.0)
    picked = np.random.default_rng(2).choice(usable, subjects * each, p=weights / weights.sum())
    if only >= 0:
        picked[:] = only
    people = [f"person-{n}" for n in range(subjects)]
    grant = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": [modality]}
    found = [record("consent", 0, grant, subject=who, time=at(-60)) for who in people]
    for n, sample in enumerate(picked):
        who = people[n % subjects]
        payload = samples(modality)[sample]
        found.append(record(modality, n, payload, subject=who, sessionid=f"of-{who}"))
    return found


def settings(tmp_path: Path, keys: Path, modality: str, model: Path, log: list[dict]) -> Config:
    folder = write_log(tmp_path / f"log-{len(list(tmp_path.iterdir()))}", *log)
    models = {modality: {"model": str(model)}}
    return load_config(None, log=folder, tables=tmp_path / "tables", keys=keys, models=models)


@pytest.mark.parametrize("modality", ["text", "face"])
def test_the_bias_alone_moves_and_finds_more_of_what_is_frequent(
    tmp_path: Path, keys: Path, modality: str
) -> None:
    model, out = shipped(tmp_path, modality), tmp_path / "out"
    log = rows(modality)
    card = adapt_shares(settings(tmp_path, keys, modality, model, log), modality, out, QUIET)
    shift, base = card.adapted, read_card(model / "card.json")
    assert isinstance(shift, PriorShift)
    assert (shift.events, shift.subjects) == (SUBJECTS * EACH, SUBJECTS)
    before, after = shift.shares["joy"]
    assert after > before + 0.1
    assert sum(pair[1] for pair in shift.shares.values()) == pytest.approx(1, abs=1e-3)
    assert 0 < shift.moved < 1
    assert card.version.startswith(base.version + "+")
    assert card.calibration.bias != base.calibration.bias
    weights = (load_file(each / "model.safetensors") for each in (model, out))
    one, two = weights
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert all(f.split.startswith("before adaptation, not measured") for f in card.figures)
    assert "its bias went" in (out / "CARD.md").read_text()
    served = load_recogniser(modality, str(out), None, "cpu")
    assert served.model_id == card.model_id


def test_order_and_repetition_of_records_change_nothing(tmp_path: Path, keys: Path) -> None:
    model, log = shipped(tmp_path, "text"), rows("text")
    one, two = (
        adapt_shares(settings(tmp_path, keys, "text", model, each), "text", tmp_path / name, QUIET)
        for name, each in (("one", log), ("two", [*log[::-1], *log[100:120]]))
    )
    assert one.calibration.bias == pytest.approx(two.calibration.bias, abs=1e-3)


def test_a_log_that_tells_too_little_is_refused_with_what_is_needed(
    tmp_path: Path, keys: Path
) -> None:
    model, out = shipped(tmp_path, "text"), tmp_path / "out"

    def adapt(**log: int | float) -> None:
        given = settings(tmp_path, keys, "text", model, rows("text", **log))
        adapt_shares(given, "text", out, QUIET)

    with pytest.raises(AffectstreamError, match=r"60 text events of 20 .* needs 200 of 20 at"):
        adapt(subjects=20, each=3)
    with pytest.raises(AffectstreamError, match=r"250 text events of 5 subjects .* 200 of 20 at"):
        adapt(subjects=5, each=50)
    with pytest.raises(AffectstreamError, match=r"100% of the log's .* at most 90% may"):
        adapt(only=3)
    with pytest.raises(AffectstreamError, match=r"differ by 0\.\d+ an event .* says nothing"):
        adapt(often=1.0)
    assert not out.exists()


def test_answers_that_no_shares_explain_are_refused(tmp_path: Path, keys: Path) -> None:
    """The shipped card's own dev rows are of corpora; the sample's lines are unlike them."""
    model = WEIGHTS / "text-compact"
    given = settings(tmp_path, keys, "text", model, rows("text", often=1.0))
    with pytest.raises(AffectstreamError, match=r"explain \d+% of how .* 80% is needed"):
        adapt_shares(given, "text", tmp_path / "out", QUIET)


def test_a_card_without_counts_and_an_adapted_model_are_refused(tmp_path: Path, keys: Path) -> None:
    model, out = shipped(tmp_path, "text"), tmp_path / "out"
    log = rows("text")
    adapt_shares(settings(tmp_path, keys, "text", model, log), "text", out, QUIET)
    given = settings(tmp_path, keys, "text", out, log)
    with pytest.raises(AffectstreamError, match="made from, text-compact@"):
        adapt_shares(given, "text", tmp_path / "twice", QUIET)
    with pytest.raises(AffectstreamError, match="holds the model itself"):
        adapt_shares(settings(tmp_path, keys, "text", model, log), "text", model, QUIET)
    card = read_card(model / "card.json")
    bare = card.calibration.model_copy(update={"answers": ()})
    write_card(model, card.model_copy(update={"calibration": bare}))
    with pytest.raises(AffectstreamError, match="does not count its answers to dev rows"):
        adapt_shares(settings(tmp_path, keys, "text", model, log), "text", tmp_path / "b", QUIET)


def test_the_command_says_what_a_short_log_lacks(tmp_path: Path, keys: Path) -> None:
    log = write_log(tmp_path / "log", *rows("text", subjects=4, each=2))
    where = ["--log", str(log), "--out", str(tmp_path / "out"), "--keys", str(keys)]
    done = CliRunner().invoke(app, ["adapt", "text", *where])
    assert done.exit_code != 0
    assert "needs 200 of 20" in str(done.exception)
