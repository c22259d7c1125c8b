import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import vectors
from schemas.events import HELD, SESSION_COLUMNS, WINDOW, WINDOW_KEY
from tests.support.records import pseudonymous, record
from tests.support.windows import CUT, END, START, batch, held
from transforms.arrow_coder import ArrowBatchCoder
from transforms.window import (
    repetitions,
    split_by_shard,
    to_window_input,
    window_rows,
)


def rows_of(*batches: pa.RecordBatch) -> pa.RecordBatch:
    pieces = [piece for b in batches for _, _, piece in split_by_shard(b, 1, 5_000_000)]
    return window_rows(pieces, START, END, late=False)


def test_one_row_a_subject_and_session() -> None:
    out = rows_of(
        batch(held(0), held(1, subject="b"), held(2, modality=2)),
        batch(held(3, subject="b", session_ref="6" * 32), held(4, modality=2)),
    )
    assert out.schema == WINDOW
    seen = {(r["subject_ref"][0], r["session_ref"][0]): r for r in out.to_pylist()}
    assert set(seen) == {("a", "5"), ("b", "5"), ("b", "6")}
    assert seen["a", "5"]["counts"] == [1, 0, 2, 0]
    assert seen["a", "5"]["revision"] == 3
    assert len(set(out["window_id"].to_pylist())) == 3


def test_scores_are_weighted_by_confidence() -> None:
    one, two = held(0), held(2)  # confidence 0.25 and 0.75
    (row,) = rows_of(batch(one, two)).to_pylist()
    expected = (0.25 * np.array(one["scores"]) + 0.75 * np.array(two["scores"])) / 1.0
    np.testing.assert_allclose(row["modality_scores"][:7], expected, atol=5e-4)
    assert row["modality_confidence"] == [0.5, 0, 0, 0]
    assert row["modality_scores"][7:] == [0] * 21


def test_an_event_counts_once() -> None:
    out = rows_of(batch(held(0), held(0), held(1)), batch(held(1)))
    assert out["revision"].to_pylist() == [2]
    assert out["counts"].to_pylist() == [[2, 0, 0, 0]]


def test_context_alone_makes_no_row_but_its_last_word_counts() -> None:
    told = held(7, modality=-1, second=1, activity="duel", game_result=None)
    later = held(8, modality=-1, second=3, activity=None, game_result="lost")
    assert rows_of(batch(told)).num_rows == 0
    (row,) = rows_of(batch(later, held(0), told)).to_pylist()
    assert (row["activity"], row["game_result"], row["revision"]) == ("duel", "lost", 3)
    assert row["counts"] == [1, 0, 0, 0]


def test_of_each_other_field_of_the_context_the_last_word_counts() -> None:
    told = ('{"door": "closed", "lamp": "on"}', '{"door": "opened"}')
    first, last = (held(7 + n, modality=-1, second=n, details=each) for n, each in enumerate(told))
    (row,) = rows_of(batch(last, held(0), first)).to_pylist()
    assert row["details"] == '{"door": "opened", "lamp": "on"}'
    assert rows_of(batch(held(0)))["details"].to_pylist() == [None]


def test_purposes_scenarios_and_age_bands_have_windows_of_their_own() -> None:
    """Three motions for research and one text for mirroring are no mirrored window of four."""
    research = [held(n, modality=3, purpose="research") for n in range(3)]
    text = held(3, purpose="avatar_mirroring")
    out = rows_of(batch(*research, text)).to_pylist()
    counts = {row["purpose"]: (row["counts"], row["revision"]) for row in out}
    assert counts == {
        "research": ([0, 0, 0, 3], 3),
        "avatar_mirroring": ([1, 0, 0, 0], 1),
    }
    for name, values in (
        ("scenario", ["game", "social"]),
        ("age_band", ["child", "adult", None, "", "unknown", "None", "null"]),
        ("purpose", ["research", None, ""]),
    ):
        rows = [held(n, **{name: value}) for n, value in enumerate(values)]
        out = rows_of(batch(*rows[::2]), batch(*rows[1::2]))
        assert Counter(out[name].to_pylist()) == Counter(values)
        assert len(set(out["window_id"].to_pylist())) == len(values)


def test_scene_and_region_may_change_in_a_window_and_its_first_event_tells_them() -> None:
    rows = [
        held(2, second=2, scene_id="market", region="US"),
        held(9, second=1, scene_id="arena", region="EU"),
        held(1, second=1, scene_id="square", region="CN"),
    ]
    for order in (rows, rows[::-1]):
        (row,) = rows_of(*(batch(one) for one in order)).to_pylist()
        assert (row["scene_id"], row["region"], row["revision"]) == ("square", "CN", 3)


@pytest.mark.parametrize("name", ["purpose", "scenario", "age_band"])
def test_context_counts_in_the_windows_of_its_own_key_only(name: str) -> None:
    told = [
        held(n, modality=-1, second=n / 4, game_result=result, **{name: value})
        for n, (value, result) in enumerate([("x", "lost"), ("y", "won"), (None, "draw")])
    ]
    seen = [held(n + 9, **{name: value}) for n, value in enumerate(["x", None, "z"])]
    found = {row[name]: row["game_result"] for row in rows_of(batch(*told, *seen)).to_pylist()}
    assert found == {"x": "lost", None: "draw", "z": None}


EVENTS = st.builds(
    held,
    st.integers(0, 30),
    subject=st.sampled_from("abc"),
    second=st.sampled_from([0.0, 1.5, 4.99]),
    modality=st.integers(-1, 3),
    session_ref=st.sampled_from(["5" * 32, "6" * 32]),
    purpose=st.sampled_from(["research", "avatar_mirroring", None]),
    scenario=st.sampled_from(["game", "social"]),
    age_band=st.sampled_from(["adult", "unknown", None, ""]),
    scene_id=st.sampled_from(["arena", "market", None]),
    game_result=st.sampled_from(["won", "lost", None]),
    activity=st.sampled_from(["duel", "chat", None]),
)


@given(
    st.lists(EVENTS, min_size=1, max_size=30), st.randoms(use_true_random=False), st.integers(1, 5)
)
def test_order_and_batches_do_not_matter(rows: list[dict], random, parts: int) -> None:
    """Also where two events that differ have one id: which one counts is no matter of arrival."""
    shuffled = random.sample(rows, len(rows))
    pieces = [batch(*shuffled[n::parts]) for n in range(min(parts, len(shuffled)))]
    out = rows_of(*pieces)
    assert out.equals(rows_of(batch(*rows)))
    keys = [tuple(row[name] for name in WINDOW_KEY) for row in out.to_pylist()]
    assert len(keys) == len(set(keys)) == len(set(out["window_id"].to_pylist()))


@given(st.lists(EVENTS, min_size=1, max_size=30, unique_by=lambda row: row["event_id"]))
def test_a_window_holds_the_events_of_its_key_and_no_others(rows: list[dict]) -> None:
    def key(row: dict) -> tuple:
        return tuple(row[name] for name in WINDOW_KEY)

    seen = {key(row) for row in rows if row["modality"] >= 0}
    counted = Counter(key(row) for row in rows if key(row) in seen)
    assert counted == {key(row): row["revision"] for row in rows_of(batch(*rows)).to_pylist()}


@given(st.lists(EVENTS, min_size=1, max_size=40), st.integers(1, 7))
def test_pieces_lie_in_one_window_and_shard_and_lose_nothing(rows: list[dict], shards: int) -> None:
    length_us = 2_000_000
    pieces = list(split_by_shard(batch(*rows), shards, length_us))
    assert sum(piece.num_rows for _, _, piece in pieces) == len(rows)
    for shard, earliest, piece in pieces:
        times = piece["event_time"].cast(pa.int64()).to_numpy()
        assert times.min() == earliest
        assert len(set(times // length_us)) == 1
        assert piece.schema == HELD
        refs = piece["session"].dictionary.field("subject_ref").to_pylist()
        assert {int(ref[4:8], 16) % shards for ref in refs} == {shard}


def test_context_is_held_as_modality_minus_one() -> None:
    out = to_window_input(pseudonymous(record("context", 1, {"activity": "duel"})))
    assert out.select(CUT.names).schema == CUT
    assert out["modality"].to_pylist() == [-1]
    assert out["activity"].to_pylist() == ["duel"]
    assert out["lesson_state"].to_pylist() == [None]
    for told, lands in (("review", "review"), ("my name is Bob", None), ("a\nb", None)):
        batch = pseudonymous(record("context", 1, {"lesson_state": told}))
        assert to_window_input(batch)["lesson_state"].to_pylist() == [lands]


@given(st.lists(EVENTS, min_size=1, max_size=20))
def test_what_is_held_survives_the_coder(rows: list[dict]) -> None:
    coder = ArrowBatchCoder()
    plain = batch(*rows)
    pieces = [coder.decode(coder.encode(p)) for _, _, p in split_by_shard(plain, 3, 2_000_000)]
    found = Counter(
        (key, *session.values(), modality)
        for piece in pieces
        for key, session, modality in zip(
            piece["event_key"].to_pylist(),
            piece["session"].dictionary_decode().to_pylist(),
            piece["modality"].to_pylist(),
            strict=True,
        )
    )
    names = [name for name, _ in SESSION_COLUMNS]
    assert found == Counter(
        (int(row["event_id"][:16], 16), *(row[n] for n in names), row["modality"])
        for row in plain.to_pylist()
    )
    held = np.concatenate([vectors(piece["scores"], 7) for piece in pieces])
    np.testing.assert_allclose(
        np.sort(held, axis=0), np.sort(vectors(plain["scores"], 7), axis=0), atol=5e-4
    )


def window_id(row: dict) -> str:
    """The row id as its docs define it: BLAKE2b-128 of netstrings, a null as a dash."""
    parts = [*(row[name] for name in WINDOW_KEY), START.isoformat(), "5000000"]
    text = "".join("-" if part is None else f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def aggregated(rows: list[dict]) -> list[dict]:
    """What the window's rows should be, event by event and in plain numbers."""
    ordered = sorted(rows, key=lambda row: (row["event_time"], row["event_id"]))
    groups: dict[str, list[dict]] = {}
    for row in ordered:
        groups.setdefault(window_id(row), []).append(row)
    out = []
    for name in sorted(groups):
        events = groups[name]
        scores, confidence = np.zeros((4, 7)), np.zeros(4)
        counts = [sum(row["modality"] == place for row in events) for place in range(4)]
        for place in np.flatnonzero(counts):
            given = np.array([r["scores"] for r in events if r["modality"] == place], np.float16)
            weights = given.max(axis=1).astype(float)
            scores[place] = (weights[:, None] * given).sum(axis=0) / weights.sum()
            confidence[place] = weights.mean()
        told = {n: [r[n] for r in events if r[n] is not None] for n in ("activity", "game_result")}
        out += [
            {n: events[0][n] for n, _ in SESSION_COLUMNS}
            | {n: values[-1] if values else None for n, values in told.items()}
            | {
                "window_id": name,
                "window_start": START,
                "window_end": END,
                "revision": len(events),
                "late": False,
                "shard": 0,
                "counts": counts,
                "modality_scores": pytest.approx(scores.reshape(-1).tolist(), abs=1e-5),
                "modality_confidence": pytest.approx(confidence.tolist(), abs=1e-5),
            }
        ]
    return [row for row in out if sum(row["counts"])]


@given(
    st.lists(EVENTS, min_size=1, max_size=30, unique_by=lambda row: row["event_id"]),
    st.integers(1, 4),
)
def test_rows_are_what_plain_numbers_give(rows: list[dict], parts: int) -> None:
    given_rows = batch(*rows).to_pylist()
    out = rows_of(*(batch(*rows[n::parts]) for n in range(min(parts, len(rows)))))
    assert out.to_pylist() == aggregated(given_rows)


def test_the_length_and_start_of_a_window_are_of_its_id() -> None:
    pieces = [piece for _, _, piece in split_by_shard(batch(held(0)), 1, 5_000_000)]
    spans = [(START, END), (START, END + (END - START)), (END, END + (END - START))]
    ids = {window_rows(pieces, *span, late=False)["window_id"][0].as_py() for span in spans}
    assert len(ids) == 3
    (row,) = window_rows(pieces, START, END, late=True).to_pylist()
    assert row["late"]
    assert row["window_id"] in ids, "a revision is of the same row"


def test_only_an_event_that_came_unchanged_is_a_repetition() -> None:
    changed = held(1) | {"content": 77}
    rows = [held(0), held(0), held(1), changed, changed, held(2)]
    pieces = [piece for row in rows for _, _, piece in split_by_shard(batch(row), 1, 5_000_000)]
    assert repetitions(pieces) == 2
    assert repetitions(pieces[2:4]) == 0


def test_two_that_share_an_id_count_once_by_what_they_say() -> None:
    """Which of them counts follows from scores, session and modality, not from arrival."""
    one = held(1, modality=0)
    for change in (
        {"modality": 1},
        {"scene_id": "market"},
        {"game_result": "won"},
        {"scores": held(2)["scores"]},
    ):
        pair = [one, one | change]
        first, second = (rows_of(batch(*order)) for order in (pair, pair[::-1]))
        assert first.equals(second), change
        assert first["revision"].to_pylist() == [1]
