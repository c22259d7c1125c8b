"""Commits that other writers are faster than."""

import pytest
from deltalake.exceptions import CommitFailedError

from schemas.errors import AffectstreamError
from transforms.landing import retry
from transforms.landing.retry import retry_commit


def test_a_slower_writer_looks_again_before_each_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waits.append)
    seen: list[str] = []

    def commit() -> int:
        seen.append("commit")
        if len(seen) < 5:
            raise CommitFailedError
        return 7

    assert retry_commit(commit, "place", "commits", lambda: seen.append("look")) == 7
    assert seen == ["commit", "look"] * 2 + ["commit"]
    assert waits == [0.02, 0.04]


def test_who_is_never_first_gives_up_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", tries.append)

    def commit() -> None:
        raise CommitFailedError

    with pytest.raises(AffectstreamError, match="place: 30 repairs in a row lost to other"):
        retry_commit(commit, "place", "repairs")
    assert len(tries) == 30
