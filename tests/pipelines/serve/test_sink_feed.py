"""The thread that feeds one sink: what it waits for, what ends it, and that it says so."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.config import Config, load_config
from pipelines.serve import feed as feed_module
from pipelines.serve.feed import SinkFeed, start_feeds
from pipelines.serve.follow import AwayError, Changes, Position
from schemas.errors import AffectstreamError
from schemas.keys import write_keys
from tests.support.live_runs import wait_for
from tests.support.served import feature, land
from transforms.landing.prepare import prepare_tables

NAME = "emotion_features"


class Taking:
    """A sink that takes rows, or does what the test wants done at a write."""

    name = "taking"
    tables: ClassVar[Mapping[str, Sequence[str]]] = {NAME: ("window_id", "subject_ref", "revision")}
    expired = 0

    def __init__(self, faults: list[Exception]) -> None:
        self.faults, self.opened, self.closed = faults, 0, 0
        self.held: dict[str, Position] = {}
        self.windows: list[str] = []

    def __call__(self) -> "Taking":
        self.opened += 1
        return self

    def positions(self) -> dict[str, Position]:
        return self.held

    def write(self, changes: Changes) -> int:
        if self.faults:
            raise self.faults.pop(0)
        self.windows += changes.rows["window_id"].to_pylist()
        self.held = self.held | {changes.table: changes.position}
        return changes.rows.num_rows

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(feed_module, "_PAUSE_S", 0.01)
    write_keys(tmp_path / "keys.yaml")
    return load_config(None, tables=tmp_path / "tables", keys=tmp_path / "keys.yaml")


def run(config: Config, sink: Taking, **more: Any) -> tuple[SinkFeed, list[str]]:
    said: list[str] = []
    feed = SinkFeed(config, sink.name, sink, say=said.append, **more)
    feed.finish()
    assert feed.join(30)
    return feed, said


def test_a_sink_that_is_away_is_opened_again_until_it_takes_them(config: Config) -> None:
    root = Path(config.tables)
    prepare_tables(root)
    land(root, NAME, feature("a", 0))
    sink = Taking([AwayError("it does not answer")] * 3)
    sink.held = {NAME: Position("none", 0)}
    feed, said = run(config, sink, start="latest")
    assert (sink.opened, sink.closed) == (4, 4)
    assert said == ["the feed waits: it does not answer", "the feed to taking goes on"]
    assert feed.progress.waits_for is None
    land(root, NAME, feature("a", 1))
    run(config, sink)
    assert sink.windows == ["a-1-recommendation"]


def test_tables_that_cannot_be_read_for_a_while_are_waited_for(config: Config) -> None:
    root = Path(config.tables)
    prepare_tables(root)
    sink = Taking([])
    run(config, sink, start="latest")
    log = sorted((root / NAME / "_delta_log").glob("*.json"))
    kept = {path: path.read_text() for path in log}
    for path in log:
        path.write_text("no json")
    said: list[str] = []
    feed = SinkFeed(config, sink.name, sink, say=said.append)
    wait_for(lambda: feed.progress.waits_for is not None)
    assert "cannot be read" in said[0]
    for path, text in kept.items():
        path.write_text(text)
    wait_for(lambda: feed.progress.waits_for is None)
    land(root, NAME, feature("a", 1))
    feed.finish()
    assert feed.join(30)
    assert sink.windows == ["a-1-recommendation"]


def test_what_no_other_try_would_change_ends_it_with_a_sentence(config: Config) -> None:
    prepare_tables(config.tables)
    feed, said = run(config, Taking([AffectstreamError("the secret is wrong")]))
    assert said == ["the feed to taking has ended: the secret is wrong"]
    assert str(feed.progress.failed) == "the secret is wrong"


def test_a_fault_of_the_program_does_not_end_it_in_silence(config: Config) -> None:
    prepare_tables(config.tables)
    feed, said = run(config, Taking([KeyError("subject 17")]))
    assert "it met KeyError, which is a fault of this program" in said[0]
    assert "subject 17" not in said[0]
    assert feed.progress.failed is not None


def test_tables_that_are_not_there_yet_are_followed_from_their_first_row(config: Config) -> None:
    sink = Taking([])
    feed = SinkFeed(config, sink.name, sink)
    root = Path(config.tables)
    prepare_tables(root)
    land(root, NAME, feature("a", 10_000_000))  # in the far future: no row has expired
    wait_for(lambda: sink.windows == ["a-10000000-recommendation"])
    feed.finish()
    assert feed.join(30)


def test_a_purpose_that_no_policy_knows_is_refused(config: Config) -> None:
    misspelt = config.model_copy(
        update={"feed": config.feed.model_copy(update={"purposes": ("recomendation",)})}
    )
    with pytest.raises(AffectstreamError, match=r"names 'recomendation', which .* choose of"):
        start_feeds(misspelt)
