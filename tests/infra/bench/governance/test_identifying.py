"""Who has the weights looks up what landed among 10,000 sentences, and guesses."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from infra.bench.governance.identifying import (
    CODE_SENTENCES,
    CODES,
    LANDED,
    NAME_SENTENCES,
    candidates,
    events,
    found_of,
    land,
    left_of,
    recogniser,
)
from infra.bench.governance.voices import (
    landed_of_speakers,
    linked_by_numbers,
    linked_by_rows,
    scores_of,
)
from model_serving.fusion import load_fusion
from model_serving.loader import load_recogniser
from model_serving.text.reading import text_for_model
from pipelines.config import WEIGHTS
from schemas.arrow import vectors
from schemas.events import EMBEDDING_WIDTH, TIME
from schemas.settings import Decisions
from tests.support.windows import END, START
from transforms.decide import Decider
from transforms.deciding.scenarios import read_scenarios
from transforms.fuse import fuse_batch
from transforms.scrub import scrub
from transforms.window import split_by_shard, to_window_input, window_rows

TRIALS = 400
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
recognise = cache(recogniser)


def guesses_that_hit(landed: list[str], trials: int = TRIALS) -> int:
    """Guess each drawn target within the candidates whose row is the same as what landed."""
    rng = np.random.default_rng(3)
    _, row = np.unique(landed, return_inverse=True)
    targets = rng.integers(0, len(landed), trials)
    return sum(rng.choice(np.flatnonzero(row == row[target])) == target for target in targets)


def by_chance(candidates: int, trials: int = TRIALS) -> int:
    """Return the most hits that chance gives but once in 1,000 times."""
    return int(binom.ppf(0.999, trials, 1 / candidates))


def test_exact_scores_tell_each_door_code_from_all_others() -> None:
    """The attack works where scores land as they were: on digits, or on names, it finds all."""
    model = load_recogniser("text", str(WEIGHTS / "text-compact"), None, "cpu")
    for sentence, words in (
        (NAME_SENTENCES["en"], candidates("en")[::10]),
        ("my door code is {}", [f"{n:03}" for n in range(1_000)]),
    ):
        texts = scrub(pa.array([sentence.format(word) for word in words]))
        exact = [str(row) for row in model.estimate(events(texts)).scores.astype(np.float32)]
        assert found_of(exact) > 900
        assert guesses_that_hit(exact) > by_chance(len(exact))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_door_code_is_found_among_10_000(language: str) -> None:
    landed = land([CODE_SENTENCES[language].format(code) for code in CODES], recognise())
    assert len(landed) == 10_000
    assert guesses_that_hit(landed) <= by_chance(len(landed))
    assert found_of(landed) == 1, "all land the same row"


@pytest.mark.parametrize(
    "write",
    [
        str,
        " ".join,
        "-".join,
        lambda code: f"{code[:2]} {code[2:]}",
        lambda code: f"{code[:2]}:{code[2:]}",
        lambda code: f"017{code}",
        lambda code: code.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
        lambda code: code.translate(str.maketrans("0123456789", "〇一二三四五六七八九")),
        lambda code: code.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        lambda code: code.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")),
        lambda code: code.translate(str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")),
        "\u200b".join,
        lambda code: " ".join(WORDS[int(digit)] for digit in code),
    ],
)
def test_a_recogniser_reads_all_numbers_of_four_digits_alike(write) -> None:
    texts = pa.array([f"my code is {write(code)}, ok" for code in CODES[::7]])
    assert len(text_for_model(scrub(texts)).unique()) == 1


def test_short_numbers_are_read_as_they_are() -> None:
    texts = pa.array(["我要哭了555", "666厉害", "I have 12 of 30", "level 3-2-1", "one two three"])
    assert text_for_model(texts).equals(texts)


@pytest.mark.parametrize("language", NAME_SENTENCES)
def test_names_among_10_000_fall_into_a_few_rows(language: str) -> None:
    """A name that moves an estimate by a step is not hidden by rounding: 30 guesses in 10,000."""
    sentence, names = NAME_SENTENCES[language], candidates(language)
    landed = land([sentence.format(name) for name in names], recognise())
    assert len(set(names)) == 10_000
    assert found_of(landed) <= 30, "of 10,000; by exact scores all are"
    assert left_of(landed) > 1_000


def test_what_follows_from_one_event_tells_no_more_than_its_observation() -> None:
    """Windows, decisions and reviews are functions of the coarse row, and so are feed and store."""
    names = candidates("en")[::20]
    texts = pa.array([NAME_SENTENCES["en"].format(name) for name in names])
    rows = recognise()(events(texts))
    count = rows.num_rows
    replaced = {
        "event_id": pa.array([f"{n:016x}" + "0" * 16 for n in range(count)]),
        "subject_ref": pa.array([f"{n:032x}" for n in range(count)]),
        "session_ref": pa.repeat("5" * 32, count),
        "shard_hash": pa.array([0] * count, pa.uint16()),
        "scenario": pa.repeat("support", count),
        "purpose": pa.repeat("avatar_mirroring", count),
        "content": pa.array([0] * count, pa.int64()),
        "event_time": pa.array([START] * count, TIME),
    }
    for name, column in replaced.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    held = [piece for _, _, piece in split_by_shard(to_window_input(rows), 1, 5_000_000)]
    windows = window_rows(held, START, END, late=False)
    features = fuse_batch(load_fusion(), windows)
    decider = Decider(
        read_scenarios(WEIGHTS.parents[1] / "schemas/policies/scenarios.yaml"), Decisions()
    )
    pending = features.append_column("details", windows["details"])
    decisions, reviews, _ = decider.drain([pending], None)
    observed = distinct(rows, LANDED)
    assert 1 < observed < 30
    assert (
        distinct(features, ["scores", "confidence", "valence", "arousal", "attention"]) <= observed
    )
    said = ["expression", "confidence", "valence_shift", "arousal_shift", "action", "intensity"]
    assert distinct(decisions, [*said, "avatar_weights", "reason", "reply_id"]) <= observed
    assert distinct(reviews, ["confidence", "reason"]) <= observed


def distinct(rows: pa.RecordBatch, names) -> int:
    return len({str(row) for row in rows.select(list(names)).to_pylist()})


@pytest.mark.corpora
def test_voices_are_linked_by_what_lands_hardly_more_often_than_by_chance(corpora) -> None:
    """By the embeddings most of 24 speakers are; by scores some two or three, and one by chance."""
    landed = landed_of_speakers(corpora, ("research",)).values()
    embeddings = np.stack([vectors(rows["embedding"], EMBEDDING_WIDTH) for rows in landed])
    assert len(embeddings) == 24
    assert linked_by_numbers(embeddings) > 14, "the attack works"
    scores = np.stack([scores_of(rows) for rows in landed])
    assert max(linked_by_numbers(scores), linked_by_rows(scores)) < 4
