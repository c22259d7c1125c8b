"""Structured logs: one JSON object for each line, with a stable event name and no payload."""

import json
import logging
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

from schemas.logs.events import LogEvent

_LOG = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """Formats a record as time, level, event, logger, pid and the event's own fields.

    A record without an event is one of a library's, or of no importance to anybody else. Its
    message may have been made of a payload, as that of an exception is: what stands is where it was
    logged and, where the values are apart from it, the message without them.
    """

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", LogEvent.OTHER)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": str(event),
            "logger": record.name,
            "pid": record.process,
        }
        if event is LogEvent.OTHER:
            line["place"] = f"{record.filename}:{record.lineno}"
            if record.args:
                line["template"] = str(record.msg)
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["frames"] = [f"{frame.filename}:{frame.lineno}" for frame in frames]
        return json.dumps(line, default=str)  # in ASCII, so that nothing acts on a terminal


def write_logs(form: str) -> None:
    """Write this process's log to standard error as JSON lines, if that is the form."""
    if form == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(handlers=[handler], force=True)
        logging.getLogger("pipelines").setLevel(logging.INFO)
        threading.excepthook = _log_uncaught


def _log_uncaught(args: threading.ExceptHookArgs) -> None:
    """Log what ends a thread, which Python would print with its message."""
    error = args.exc_value or args.exc_type()
    _LOG.error("a thread has ended", exc_info=error)
