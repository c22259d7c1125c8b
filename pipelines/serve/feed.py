"""The feed: follows the tables for each sink, in a thread of its own, from the sink's position."""

import functools
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import ClassVar, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipelines.config import Config
from pipelines.run.config_check import feed_problems
from pipelines.serve.events import START_ANEW
from pipelines.serve.follow import AwayError, Changes, Follower, LostPositionError, Position
from pipelines.serve.kafka_sink import KafkaSink
from pipelines.serve.online_sink import OnlineSink
from pipelines.serve.webhook_sink import WebhookSink
from pipelines.show.escapes import safe_text
from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.tables import TABLES

Start = Literal["latest", "snapshot"]
_POLL_S = 0.1
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_LAST_S = 60.0


class Sink(Protocol):
    """A place that changes go to. It keeps the position that they lead to, with them."""

    name: str
    tables: ClassVar[Mapping[str, Sequence[str]]]
    """The tables that it takes, and their columns."""
    expired: int
    """How many rows it left out because nobody should act on them any more."""

    def positions(self) -> Mapping[str, Position]:
        """Return how far each table was taken."""

    def write(self, changes: Changes) -> int:
        """Take changes with their position; return how many events, rows and people that was.

        Raises:
            AwayError: it cannot now; it is opened anew, and takes them from its position on.
        """

    def close(self) -> None:
        """Let go of it."""


@dataclass(slots=True)
class Progress:
    """How one sink stands: what it took, how many versions it is behind, and what is wrong."""

    sink: str
    taken: int = 0
    expired: int = 0
    behind: int = 0
    waits_for: str | None = None
    failed: AffectstreamError | None = None


class SinkFeed:
    """Feeds one sink in a thread until it is stopped, or has taken all that there is."""

    def __init__(
        self,
        config: Config,
        name: str,
        make: Callable[[], Sink],
        *,
        start: Start | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config, self._make, self._start, self._say = config, make, start, say
        self._ending, self._stopped = threading.Event(), threading.Event()
        self._last_taken = time.monotonic()
        self.progress = Progress(name)
        self._thread = threading.Thread(target=self._run, name=f"feed-{name}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Let it end once it has taken all that stands now, or could not for a minute."""
        self._ending.set()

    def stop(self) -> None:
        """Let it end after the changes that it is at."""
        self._stopped.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; tell whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause_s = _PAUSE_S
        while not self._stopped.is_set():
            taken = self.progress.taken
            try:
                self._feed()
            except AwayError as error:
                if self.progress.waits_for is None:
                    self._say(f"the feed waits: {error}")
                self.progress.waits_for = str(error)
                pause_s = _PAUSE_S if self.progress.taken > taken else pause_s
                if self._ending.is_set() and time.monotonic() - self._last_taken > _LAST_S:
                    self.progress.failed = error
                    return
                self._stopped.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except AffectstreamError as error:
                self.progress.failed = error
                self._say(f"the feed to {self.progress.sink} has ended: {error}")
                return
            except Exception as error:  # a thread that dies of it would do so in silence
                logging.getLogger(__name__).exception("the feed to %s", self.progress.sink)
                message = f"it met {type(error).__name__}, which is a fault of this program"
                self.progress.failed = AffectstreamError(message)
                self._say(f"the feed to {self.progress.sink} has ended: {message}")
                return
            else:
                return

    def _feed(self) -> None:
        sink = self._make()
        try:
            self._follow(sink)
        finally:
            sink.close()

    def _follow(self, sink: Sink) -> None:
        root = self._config.tables
        positions = {} if self._start else dict(sink.positions())
        followers = [Follower(root, table, columns) for table, columns in sink.tables.items()]
        while not self._stopped.is_set():
            ending = self._ending.is_set()
            behind = sum(self._step(sink, follower, positions) for follower in followers)
            self._start = None
            self.progress.behind, self.progress.expired = behind, sink.expired
            if self.progress.waits_for is not None:
                self._say(f"the feed to {self.progress.sink} goes on")
                self.progress.waits_for = None
            if not behind:
                if ending:
                    return
                self._stopped.wait(_POLL_S)

    def _step(self, sink: Sink, follower: Follower, positions: dict[str, Position]) -> int:
        """Hand on the next changes of one table; return how many versions are left."""
        changes = self._next(follower, positions.get(follower.name))
        if changes is not None:
            self.progress.taken += sink.write(changes)
            self._last_taken = time.monotonic()
            positions[follower.name] = changes.position
        seen, position = follower.seen, positions.get(follower.name)
        return seen.version - position.version if seen and position else 0

    def _next(self, follower: Follower, position: Position | None) -> Changes | None:
        """Return the next changes; at first those that the start asks for."""
        if self._start == "latest":
            return follower.skip()
        if self._start == "snapshot" or position is None:
            return follower.snapshot(self._unexpired(follower.name))
        try:
            return follower.read(position)
        except LostPositionError as error:
            message = f"it cannot go on where it was: {error}; {START_ANEW}"
            raise AffectstreamError(message) from error

    def _unexpired(self, table: str) -> pc.Expression:
        now = clock(self._config)()
        column, least = "window_end", now - timedelta(seconds=self._config.online.ttl_s)
        if "expires_at" in TABLES[table].schema.names:
            column, least = "expires_at", now
        return pc.field(column) > pa.scalar(least, TIME)


def clock(config: Config) -> Callable[[], datetime]:
    """Return the clock of the events: that of the wall, shifted where an old log is run."""
    offset = timedelta(seconds=config.kafka.clock_offset_s)
    return lambda: datetime.now(UTC) + offset


def start_feeds(
    config: Config, *, start: Start | None = None, say: Callable[[str], None] = lambda _: None
) -> list[SinkFeed]:
    """Start a feed to each sink that the settings name; none waits for another.

    Raises:
        AffectstreamError: the feed is to hand on decisions for a purpose that nobody knows.
    """
    for problem in feed_problems(config):
        raise AffectstreamError(problem)
    now, state = clock(config), config.live.state / "feed"
    makers: dict[str, Callable[[], Sink]] = {
        "kafka": lambda: KafkaSink(config.kafka, config.feed, now),
        "online": lambda: OnlineSink(config.online, now),
        "webhook": lambda: WebhookSink(config.feed, state, now),
    }
    names: dict[str, None] = dict.fromkeys(config.feed.sinks)
    if config.replies.model is not None:
        sink = import_module("pipelines.replies.sink")  # with torch and transformers
        replies = functools.cache(functools.partial(sink.load_replies, config, now))
        makers["replies"] = lambda: sink.ReplySink(config.kafka, config.feed, now, replies())
        names["replies"] = None
    return [SinkFeed(config, name, makers[name], start=start, say=say) for name in names]


@contextmanager
def feeding(config: Config, console: Console) -> Iterator[list[SinkFeed]]:
    """Feed while the block runs; at its end hand on what has landed, for a minute at most."""
    feeds = start_feeds(config, say=lambda text: console.print(safe_text(text), soft_wrap=True))
    try:
        yield feeds
    finally:
        for feed in feeds:
            feed.finish()
        end = time.monotonic() + _LAST_S
        for feed in feeds:
            if not feed.join(max(0.0, end - time.monotonic())):
                feed.stop()
                console.print(
                    f"the feed to {feed.progress.sink} did not come to the end of the tables in "
                    f"{_LAST_S:.0f} s: the next start goes on from its position"
                )
            elif feed.progress.failed:
                ended = f"the feed to {feed.progress.sink} had ended: {feed.progress.failed}"
                console.print(safe_text(ended), soft_wrap=True)


def feed(
    config: Config, console: Console, *, start: Start | None = None, until_end: bool = False
) -> None:
    """Run the feeds in the foreground until SIGTERM or Ctrl-C.

    Raises:
        AffectstreamError: a sink can take no more; the others went on until it was told.
    """
    feeds = start_feeds(
        config, start=start, say=lambda text: console.print(safe_text(text), soft_wrap=True)
    )

    def stop(*_: object) -> None:
        for each in feeds:
            each.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if until_end:
        for each in feeds:
            each.finish()
    with console.status("starting") as status:
        while not all([each.join(0.5) for each in feeds]):
            status.update("; ".join(_told(each.progress) for each in feeds))
    for each in feeds:
        console.print(_told(each.progress), highlight=False)
    if failed := [each.progress for each in feeds if each.progress.failed]:
        message = "; ".join(f"{one.sink}: {one.failed}" for one in failed)
        raise AffectstreamError(message)


def _told(progress: Progress) -> str:
    text = f"{progress.sink}: {progress.taken:,} taken, {progress.behind:,} versions behind"
    return text + (f" (waits: {progress.waits_for})" if progress.waits_for else "")
