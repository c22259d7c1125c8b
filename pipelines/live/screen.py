"""The screen of a live job: tables that are updated in place, or a line now and then in a log."""

import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.live.flink_rest import Health
from pipelines.live.progress import ReadProgress
from pipelines.show.escapes import safe_text
from schemas.logs.events import LogEvent, log_fields

_LINE_EVERY_S = 10.0
_CALM = (LogEvent.JOB_STATUS, LogEvent.BROKER_BACK)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What is shown; ``tables`` is table → version and seconds since it was seen.

    ``unreadable`` counts governance records that name nobody, ``repeated`` events that came again
    since the job's last start.
    """

    health: Health | None
    read: ReadProgress | None
    watermark_ms: int | None
    clock_ms: float
    tables: dict[str, tuple[int, float]]
    starts: int
    unreadable: int = 0
    repeated: int = 0

    @property
    def delay_s(self) -> float | None:
        """How far the watermark is behind the clock of event time."""
        return None if self.watermark_ms is None else (self.clock_ms - self.watermark_ms) / 1000


class Screen:
    """Shows views: on a terminal in place, elsewhere as one line every ten seconds.

    With ``structured`` it writes to the log instead, where events stand by name.
    """

    def __init__(self, console: Console, *, structured: bool = False) -> None:
        self._console = console
        self._structured = structured
        self._in_place = console.is_terminal and not structured
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._line_at = 0.0

    def __enter__(self) -> "Screen":
        if self._in_place:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._in_place:
            self._live.stop()

    def note(self, text: str, event: LogEvent, **values: Any) -> None:
        """Print a line that stays; the log gets the event and its values in place of the text."""
        if self._structured:
            level = logging.INFO if event in _CALM else logging.WARNING
            _LOG.log(level, event, extra=log_fields(event, **values))
        else:
            self._console.print(safe_text(text), soft_wrap=True)

    def show(self, view: View) -> None:
        """Show the newest view."""
        if self._in_place:
            self._live.update(
                Group(*_warnings(view), Text(headline(view)), _topics(view), _tables(view)),
                refresh=True,
            )
        elif time.monotonic() - self._line_at > _LINE_EVERY_S:
            self._line_at = time.monotonic()
            self.note(headline(view), LogEvent.JOB_STATUS, **status(view))
            if view.unreadable:
                text = f"WARNING: {describe_unreadable(view.unreadable)}"
                self.note(text, LogEvent.CONSENT_UNREADABLE, records=view.unreadable)


def _warnings(view: View) -> list[Text]:
    if not view.unreadable:
        return []
    return [Text(describe_unreadable(view.unreadable), "bold white on red")]


def describe_unreadable(number: int) -> str:
    """Say how many governance records name nobody, and where to look."""
    what = "governance record names" if number == 1 else "governance records name"
    return (
        f"{number:,} {what} no subject: somebody may have withdrawn or asked for erasure. Look up "
        "topic, partition and offset in dead_letters, code governance_unreadable"
    )


def headline(view: View) -> str:
    """Return state, rate, lag, watermark delay and checkpoint in one line."""
    health, read = view.health, view.read
    parts = [health.state.lower() if health else "starting"]
    if read:
        parts += [f"{read.per_s:,.0f} records/s", f"lag {sum(read.lag.values()):,}"]
    elif health:
        parts.append("Kafka does not answer")
    if view.delay_s is not None:
        parts.append(f"watermark {view.delay_s:,.1f} s behind")
    if health and health.checkpoints:
        size = health.checkpoint_bytes / 1024
        parts.append(f"checkpoint {size:,.0f} kB in {health.checkpoint_ms} ms")
    if view.repeated:
        parts.append(f"{view.repeated:,} events came again")
    if view.starts > 1:
        parts.append(f"{view.starts - 1} restarts")
    return ", ".join(parts)


def status(view: View) -> dict[str, Any]:
    """Return what ``headline`` says as values, those that are not known left out."""
    health, read = view.health, view.read
    known: dict[str, Any] = {"state": health.state.lower() if health else "starting"}
    if read:
        known |= {"records_per_s": round(read.per_s), "lag": sum(read.lag.values())}
    if view.delay_s is not None:
        known["watermark_delay_s"] = round(view.delay_s, 3)
    if health and health.checkpoints:
        known |= {"checkpoint_bytes": health.checkpoint_bytes}
        known |= {"checkpoint_ms": health.checkpoint_ms}
    return known | {"repeated": view.repeated, "restarts": max(0, view.starts - 1)}


def _topics(view: View) -> Table:
    table = Table("topic", "read", "lag", box=None, padding=(0, 2, 0, 0))
    if view.read:
        for topic, read in view.read.read.items():
            table.add_row(topic, f"{read:,}", f"{view.read.lag[topic]:,}")
    return table


def _tables(view: View) -> Table:
    table = Table("table", "version", "last commit", box=None, padding=(0, 2, 0, 0))
    for name, (version, seconds) in view.tables.items():
        table.add_row(name, str(version), f"{seconds:,.0f} s ago")
    return table
