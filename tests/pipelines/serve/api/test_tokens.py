"""Tokens: their file has hashes alone, and they end when they should."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.serve.api.guard import RateLimit
from pipelines.serve.api.problems import Problem, ProblemError
from pipelines.serve.api.token_file import add_token, read_tokens, revoke_token
from pipelines.serve.api.tokens import Tokens
from schemas.errors import AffectstreamError
from tests.support.clock import Clock

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def refusal(tokens: Tokens, header: str) -> Problem:
    with pytest.raises(ProblemError) as caught:
        tokens.caller(header)
    return caught.value.problem


def test_a_file_holds_no_token_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tokens.json"
    made = [add_token(path, f"n{n}", "analyst", DAY) for n in range(3)]
    text = path.read_text()
    assert not [token for token in made if token.split("_", 2)[2] in text or token in text]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [token.name for token in read_tokens(path)] == ["n0", "n1", "n2"]
    tokens = Tokens(path)
    assert {tokens.caller(f"Bearer {token}").role for token in made} == {"analyst"}
    assert len({tokens.caller(f"bearer {token}").token for token in made}) == 3


def test_a_token_ends_on_its_day(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    header = f"Bearer {add_token(path, 'me', 'officer', DAY)}"
    ends = read_tokens(path)[0].expires
    assert Tokens(path, lambda: ends - timedelta(seconds=1)).caller(header).role == "officer"
    assert refusal(Tokens(path, lambda: ends), header) is Problem.TOKEN_EXPIRED
    # Whoever does not have the secret is not told that there is such a token.
    assert refusal(Tokens(path, lambda: ends), header[:-1] + "?") is Problem.TOKEN_INVALID


def test_a_revoked_token_is_refused_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "tokens.json", Clock()
    first, second = (f"Bearer {add_token(path, 'me', 'analyst', DAY)}" for _ in range(2))
    tokens = Tokens(path, clock=clock)
    revoke_token(path, tokens.caller(first).token)
    clock.now += 1
    assert refusal(tokens, first) is Problem.TOKEN_INVALID
    assert tokens.caller(second)
    path.write_text("[")
    clock.now += 1
    assert refusal(tokens, second) is Problem.TOKEN_INVALID


def test_a_file_that_is_none_or_open_to_others_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    assert read_tokens(path) == []
    add_token(path, "me", "analyst", DAY)
    with pytest.raises(AffectstreamError, match=r"has no token 'x': `affectstream tokens list`"):
        revoke_token(path, "x")
    path.chmod(0o644)
    with pytest.raises(AffectstreamError, match=r"^others may read .*: chmod 600"):
        read_tokens(path)
    path.chmod(0o600)
    sound = path.read_text()
    expires = read_tokens(path)[0].expires.isoformat().replace("+00:00", "Z")
    without_zone = sound.replace(expires, "2027-01-01T00:00:00")
    assert without_zone != sound
    for text in ('{"tokens": [{"role": "king"}]}', without_zone, "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(AffectstreamError, match="is not a file of tokens"):
            Tokens(path)
    with pytest.raises(AffectstreamError, match=r"^cannot write .*: name another file"):
        add_token(Path("/proc/nowhere/tokens.json"), "me", "analyst", DAY)


def test_tokens_added_and_revoked_at_once_are_all_there_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    for number in range(12):
        add_token(path, f"victim {number}", "analyst", DAY)
    victims = [token.id for token in read_tokens(path)]
    modes: set[int] = set()

    def add(number: int) -> None:
        add_token(path, f"stays {number}", "analyst", DAY)
        modes.add(path.stat().st_mode & 0o777)

    with ThreadPoolExecutor(8) as threads:
        added = [threads.submit(add, number) for number in range(24)]
        revoked = [threads.submit(revoke_token, path, identity) for identity in victims]
        assert {task.result().id for task in revoked} == set(victims)
        for task in added:
            task.result()
    assert sorted(token.name for token in read_tokens(path)) == sorted(
        f"stays {number}" for number in range(24)
    )
    assert modes == {0o600}
    assert {file.name for file in tmp_path.iterdir()} == {"tokens.json", ".tokens.json.lock"}
    assert (tmp_path / ".tokens.json.lock").stat().st_mode & 0o777 == 0o600


def test_a_rate_is_taken_in_a_second_and_comes_back_over_the_next() -> None:
    clock = Clock()
    limit = RateLimit(4, clock)
    assert [limit.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert limit.take("b")
    clock.now += 0.5
    assert [limit.take("a") for _ in range(3)] == [True, True, False]
    clock.now += 60
    assert [limit.take("a") for _ in range(5)] == [True] * 4 + [False]
