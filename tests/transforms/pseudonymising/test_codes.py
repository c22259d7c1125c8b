"""A code lands only where no rule finds a person in it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import CODE
from transforms.pseudonymising.codes import are_plain_codes, names_any

MAIL, MOBILE, RESIDENT = "alice.smith@example.com", "13912345678", "11010519491231002X"
CARD = "4111111111111111"


def is_plain_code(code: str, own: tuple[str, ...] = ()) -> bool:
    (plain,) = are_plain_codes([code])
    return plain and not names_any(code, own)


@pytest.mark.parametrize(
    "code",
    [
        "won", "duel", "quiz_started", "GameOver", "level-12", "v2.1", "notice-2026-11-30",
        "privacy-2026-11-v3", "score_12-10", "miniGameTwo", "round.2.of.5", "x" * 32,
    ],
)  # fmt: skip
def test_a_code_of_a_game_or_a_notice_is_plain(code: str) -> None:
    assert is_plain_code(code, ("alice", "session-1"))


@pytest.mark.parametrize(
    "code",
    [
        MAIL,
        "alice_at_example_dot_com",
        "alice.smith-at-example.com",
        "alice_at_example_com",
        "alice.example.com",
        MOBILE,
        "139-1234-5678",
        "m139.1234_5678x",
        "+1-555-0123",
        "555_0123",
        RESIDENT,
        "id" + RESIDENT,
        CARD,
        "4111-1111-1111-1111",
        "born-1987-03-14",
        base64.b64encode(b"alice smith").decode(),
        base64.b64encode(b"bob@example.com").decode(),
        base64.urlsafe_b64encode(b"wang.wei@qq.com").decode().rstrip("="),
        base64.b32encode(b"alice smith").decode().rstrip("="),
        base64.b32encode(b"alice smith").decode().rstrip("=").lower(),
        b"alice smith".hex(),
        b"alice smith".hex().upper(),
        "my name is Bob",
        "",
        "日本",
        "a\x1b[2J",
        "=cmd",
        "x" * 33,
        "won\n",
    ],
)
def test_personal_data_that_looks_like_a_code_is_not_plain(code: str) -> None:
    assert not is_plain_code(code)


@pytest.mark.parametrize(
    "code",
    [
        "alice", "home-of-alice", "ALICE_room", "roomalice7", "ecila", "a.l.i.c.e",
        base64.b64encode(b"alice").decode().rstrip("="), b"alice".hex(),
    ],
)  # fmt: skip
def test_the_ids_of_the_event_are_not_plain_in_any_spelling(code: str) -> None:
    assert not is_plain_code(code, ("alice",))
    assert not is_plain_code(code, ("ａｌｉｃｅ",))
    assert not is_plain_code(code, ("alice@example.com", "session-1"))


def test_a_short_id_is_looked_for_as_a_word() -> None:
    assert not is_plain_code("home-of-bob", ("bob",))
    assert is_plain_code("bobsled_race", ("bob",))
    assert is_plain_code("level-7", ("7",))


@given(st.from_regex(f"(?a){CODE}", fullmatch=True))
def test_what_is_plain_is_a_code_with_few_digits(code: str) -> None:
    if is_plain_code(code):
        assert len(code) <= 32
        assert sum(c.isdigit() for c in code) <= 5 + 8
