"""What nobody signed closes the gate, and a grant that comes after it opens it again."""

import datetime as dt
from typing import Any

import pytest
from jwt import PyJWK

from schemas.events import AHEAD_S
from tests.support.records import START, at, record
from tests.transforms.decoding.test_signatures import ED, NO, actions, gate, jwk, read, signed
from tests.transforms.gating.test_minors import MINOR, codes, face
from transforms.decoding.signatures import Signers
from transforms.gating.consent import GRANTED, WITHDRAWN, Consents

SIGNERS = Signers({("world/test", "ed"): PyJWK.from_dict(jwk(ED), "EdDSA")})
FAR = "2099-12-30T00:00:00Z"
ALL = {"purposes": ["avatar_mirroring"], "modalities": ["text", "voice", "face", "motion"]}


def recorded(row: dict[str, Any], second: float) -> dict[str, Any]:
    """The same record with another time of its own."""
    return row | {"timestamp": START + dt.timedelta(seconds=second)}


@pytest.mark.parametrize("kind", ["consent", "erasure"])
def test_a_clock_decades_ahead_locks_nobody_out(kind: str) -> None:
    ahead = record(kind, 10, NO, time=FAR)
    assert gate(SIGNERS, signed("consent", 1), ahead) == WITHDRAWN
    assert gate(SIGNERS, signed("consent", 1), ahead, signed("consent", 20)) == GRANTED
    grants = (
        record("consent", 1, NO | {"granted": True}),
        record("consent", 20, NO | {"granted": True}),
    )
    assert gate(None, grants[0], ahead) == WITHDRAWN
    assert gate(None, *grants, ahead) == GRANTED
    assert gate(None, grants[0], recorded(grants[1], 9), ahead) == WITHDRAWN, "recorded before it"


def test_a_record_clock_years_behind_weakens_no_prohibition() -> None:
    """From its event time on it holds against each grant of before, and a later one opens."""
    behind = record("consent", 10, NO)
    behind["timestamp"] = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    grant = record("consent", 1, NO | {"granted": True})
    assert gate(None, grant, behind, number=9) == GRANTED
    assert gate(None, grant, behind, number=10) == WITHDRAWN
    assert gate(None, grant, behind, record("consent", 20, NO | {"granted": True})) == GRANTED


def test_an_unsigned_prohibition_without_any_time_is_a_dead_letter_alone() -> None:
    """No grant could outlast it; where nobody signs it holds for good."""
    timeless = record("consent", 10, NO, time=None) | {"timestamp": None}
    ledger, letters = read(SIGNERS, timeless)
    assert (actions(ledger), letters) == ([], ["prohibition_unsigned"])
    grant = record("consent", 1, NO | {"granted": True})
    assert gate(None, grant, timeless) == WITHDRAWN


@pytest.mark.parametrize("subject", ["alice", "ALICE", "alice\u200b"])
@pytest.mark.parametrize("band", ["child", "teen", "Kids"])
def test_an_unsigned_prohibition_tells_of_no_age(subject: str, band: str) -> None:
    grant = signed("consent", 1, ALL | {"granted": True})
    false = record("consent", 10, ALL | {"granted": False}, subject=subject, ageband=band)
    again = signed("consent", 20, ALL | {"granted": True})
    ledger, _ = read(SIGNERS, grant, false, again)
    assert codes(Consents(ledger), face(30)) == [None]
    ledger, _ = read(None, grant, false, again)
    assert codes(Consents(ledger), face(30)) == [MINOR], "where nobody signs it is believed"


def test_a_signed_withdrawal_that_is_sent_again_does_not_close_the_gate_again() -> None:
    no, again = signed("consent", 10, NO), signed("consent", 20)
    words = [signed("consent", 1), no, again]
    assert gate(SIGNERS, *words) == GRANTED
    assert gate(SIGNERS, *words, recorded(no, 30)) == GRANTED
    assert gate(SIGNERS, *words, recorded(no, 30), recorded(no, 40)) == GRANTED
    assert gate(SIGNERS, *words, record("consent", 30, NO)) == WITHDRAWN, "another one does"
    ahead = recorded(no, 10 - AHEAD_S / 2)
    assert gate(SIGNERS, *words[:1], ahead, again, recorded(no, 30)) == GRANTED
    erasure = signed("erasure", 10, {})
    assert gate(SIGNERS, words[0], erasure, again, recorded(erasure, 30)) == GRANTED


def test_a_signed_withdrawal_whose_clock_is_behind_closes_the_gate_by_its_record() -> None:
    behind = recorded(signed("consent", 10, NO, time=at(5)), 3600)
    assert gate(SIGNERS, signed("consent", 10), behind) == WITHDRAWN
    later = recorded(signed("consent", 3700), 3700)
    assert gate(SIGNERS, signed("consent", 10), behind, later, number=3800) == GRANTED
