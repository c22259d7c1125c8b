"""Opt-ins: nobody is shown who did not say so themselves, and a withdrawal ends it."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import TIME
from schemas.tables import CONSENT_LEDGER
from tests.support.records import START
from transforms.gating.consent import Consents
from transforms.gating.governance import ANY
from transforms.gating.opt_ins import MIRRORING, SHOW, NoOptIns, OptIns, nobody_opted_in
from transforms.gating.tombstones import Tombstones, tombstone_of

ANN = "a" * 32


def word(action: str, purpose: str, modality: str, at: int, **more: Any) -> dict[str, Any]:
    time = START + dt.timedelta(seconds=at)
    return {
        "subject_ref": ANN,
        "person_ref": "ann",
        "person_fold": "ann",
        "purpose": purpose,
        "modality": modality,
        "action": action,
        "event_time": time,
        "recorded_at": time,
    } | more


def granted(purpose: str, modality: str = ANY, at: int = 0, **more: Any) -> dict[str, Any]:
    return word("granted", purpose, modality, at, **more)


def withdrawn(purpose: str, modality: str = ANY, at: int = 0, **more: Any) -> dict[str, Any]:
    return word("withdrawn", purpose, modality, at, **more)


def rows(*words: dict[str, Any]) -> pa.RecordBatch:
    whole = [{name: each.get(name) for name in CONSENT_LEDGER.names} for each in words]
    return pa.RecordBatch.from_pylist(whole, schema=CONSENT_LEDGER)


def shown(*words: dict[str, Any], at: int = 100, who: str | None = ANN) -> bool:
    ledger = [rows(*words)]
    times = pa.array([START + dt.timedelta(seconds=at)], TIME)
    found = OptIns(Consents(ledger), ledger).may_show(pa.array([who], pa.string()), times)
    return bool(found[0])


BOTH = (granted(MIRRORING), granted(SHOW))


def test_who_opted_in_beside_mirroring_is_shown() -> None:
    assert shown(*BOTH)
    assert not shown(*BOTH, at=-1), "not before"
    assert not shown(*BOTH, who="b" * 32)
    assert not shown(*BOTH, who=None)


@pytest.mark.parametrize(
    "words",
    [
        (),
        (granted(MIRRORING),),
        (granted(SHOW),),
        (granted(ANY),),
        (granted(MIRRORING), granted(ANY)),
        (granted(MIRRORING), granted("recommendation")),
        (*BOTH, withdrawn(SHOW, at=50)),
        (*BOTH, withdrawn(MIRRORING, at=50)),
        (*BOTH, withdrawn(ANY, at=50)),
        (*BOTH, withdrawn(SHOW, "voice", at=50)),
        (*BOTH, word("erasure_requested", ANY, ANY, 50)),
        # Said in another region, or under another key or spelling: it counts all the same.
        (*BOTH, withdrawn(SHOW, at=50, subject_ref="c" * 32)),
        (*BOTH, withdrawn(SHOW, at=50, subject_ref="c" * 32, person_ref="Ann")),
        (*BOTH, withdrawn(ANY, at=50, subject_ref=None, person_ref="ANN ")),
        # What somebody of another spelling grants opens nothing for this one.
        (granted(MIRRORING), granted(SHOW, person_ref="Ann", subject_ref="c" * 32)),
        # An opt-in that was recorded before the withdrawal does not outlast it.
        (*BOTH, withdrawn(SHOW, at=50), granted(SHOW, at=60,
                                                recorded_at=START + dt.timedelta(seconds=40))),
        # For some of what is mirrored only.
        (granted(MIRRORING), granted(SHOW, "face")),
        (granted(MIRRORING, "face"), granted(MIRRORING, "voice"), granted(SHOW, "face")),
    ],
)  # fmt: skip
def test_nobody_else_is(words: tuple[dict[str, Any], ...]) -> None:
    assert not shown(*words)


@pytest.mark.parametrize(
    "words",
    [
        (granted(MIRRORING, "face"), granted(SHOW, "face")),
        (granted(MIRRORING, "face"), granted(SHOW)),
        (*BOTH, withdrawn(SHOW, at=50), granted(SHOW, at=60)),
        (*BOTH, withdrawn(SHOW, at=150)),
        (*BOTH, withdrawn("recommendation", at=50)),
        (*BOTH, withdrawn(SHOW, at=50, person_ref="bob", person_fold="bob", subject_ref="b" * 32)),
        (granted(ANY), granted(SHOW)),
    ],
)
def test_an_opt_in_holds_for_what_it_names(words: tuple[dict[str, Any], ...]) -> None:
    assert shown(*words)


def test_where_no_ledger_is_known_nobody_is_shown() -> None:
    times = pa.array([START, START], TIME)
    assert not nobody_opted_in(pa.array([ANN, ANN]), times).any()


WORDS = st.lists(
    st.builds(
        word,
        st.sampled_from(["granted", "withdrawn", "erasure_requested"]),
        st.sampled_from([MIRRORING, SHOW, ANY, "recommendation"]),
        st.sampled_from(["text", "face", ANY]),
        st.integers(0, 5),
        person_ref=st.sampled_from(["ann", "Ann"]),
        subject_ref=st.sampled_from([ANN, "c" * 32]),
    ),
    max_size=12,
)


@given(WORDS, st.lists(st.tuples(st.sampled_from([ANN, "c" * 32, "d" * 32]), st.integers(-1, 6)),
                       min_size=1, max_size=6))  # fmt: skip
def test_many_at_once_are_judged_as_each_alone_and_never_without_their_own_opt_in(
    words: list[dict[str, Any]], asked: list[tuple[str, int]]
) -> None:
    ledger = [rows(*words)]
    opt_ins = OptIns(Consents(ledger))
    for each in words:  # in another order and portion by portion
        opt_ins.add(rows(each))
    who = pa.array([subject for subject, _ in asked])
    times = pa.array([START + dt.timedelta(seconds=at) for _, at in asked], TIME)
    found = opt_ins.may_show(who, times)
    assert found.tolist() == [shown(*words, at=at, who=subject) for subject, at in asked]
    for (subject, at), open_ in zip(asked, found, strict=True):
        own = [w for w in words if w["purpose"] == SHOW and w["action"] == "granted"
               and w["subject_ref"] == subject
               and w["event_time"] <= START + dt.timedelta(seconds=at)]  # fmt: skip
        assert not open_ or own


def test_a_crowd_is_asked_at_once() -> None:
    people = [f"{n:032x}" for n in range(2_000)]
    ledger = [
        rows(
            *(
                granted(purpose, subject_ref=ref, person_ref=ref, person_fold=ref)
                for ref in people[::2]
                for purpose in (MIRRORING, SHOW)
            )
        )
    ]
    times = pa.array([START + dt.timedelta(seconds=9)] * len(people), TIME)
    found = OptIns(Consents(ledger), ledger).may_show(pa.array(people), times)
    assert np.flatnonzero(found).tolist() == list(range(0, len(people), 2))


def test_who_was_erased_is_known_by_every_reference_of_theirs() -> None:
    bob = {"subject_ref": "b" * 32, "person_ref": "bob", "person_fold": "bob"}
    elsewhere = granted(SHOW, subject_ref="e" * 32)
    ledger = [rows(*BOTH, elsewhere, granted(MIRRORING, **bob))]
    opt_ins = OptIns(Consents(ledger), ledger)
    assert opt_ins.erased_subjects() == {}
    key = b"k" * 32
    opt_ins.bury(Tombstones(key, {tombstone_of(key, "ann"): 77}))
    assert opt_ins.erased_subjects() == {ANN: 77, "e" * 32: 77}
    later = pa.array(["c" * 32, "d" * 32]), pa.array([ANN, "b" * 32])
    opt_ins.link(*later)
    assert opt_ins.erased_subjects() == {ANN: 77, "e" * 32: 77, "c" * 32: 77}
    opt_ins.add(rows(granted(MIRRORING, subject_ref="f" * 32)))
    assert opt_ins.erased_subjects()["f" * 32] == 77
    opt_ins.bury(Tombstones(key))
    assert opt_ins.erased_subjects() == {}
    assert NoOptIns().erased_subjects() == {}
