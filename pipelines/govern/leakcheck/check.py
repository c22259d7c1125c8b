"""The check: a log of canaries through the graph, the feed and every page, and what was found."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from pipelines.config import read_settings
from pipelines.govern.leakcheck.canaries import Canary, CanaryLog
from pipelines.govern.leakcheck.encodings import ENCODINGS
from pipelines.govern.leakcheck.scan import scan
from schemas.errors import AffectstreamError
from schemas.events import KINDS, RAW
from schemas.keys import write_keys

WRITTEN: Final = "written"
"""Folder of all that the commands write, in that of the check: what is searched."""
_AGO: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """The canaries of a run, and token → the files in which it was found."""

    canaries: tuple[Canary, ...]
    files: Mapping[str, set[str]]

    @property
    def leaked(self) -> list[Canary]:
        """The canaries that were found, and which no schema allows to land."""
        return [each for each in self.canaries if each.token in self.files and not each.allowed]

    @property
    def landed(self) -> list[Canary]:
        """The canaries that were found where they may be: they show that the search sees."""
        return [each for each in self.canaries if each.token in self.files and each.allowed]


def check_leaks(
    out: Path,
    config: Path | None = None,
    *,
    encodings: Sequence[str] = tuple(ENCODINGS),
    kinds: Sequence[str] = KINDS,
    **settings: Any,
) -> LeakCheck:
    """Run canaries through the graph into an empty folder, and search what was written.

    ``config`` names the settings to run with; places of logs, tables, keys and stores are those of
    the check. The commands run as processes of their own, so that all that they print is seen.

    Raises:
        AffectstreamError: the folder is not empty, or a command failed.
    """
    if out.exists() and any(out.iterdir()):
        message = f"{out} is not empty: name a new folder, which the check fills and searches"
        raise AffectstreamError(message)
    written = out / WRITTEN
    written.mkdir(parents=True)
    log = CanaryLog(dt.datetime.now(dt.UTC) - _AGO, encodings, kinds)
    log.fill()
    (out / "log").mkdir()
    pq.write_table(pa.Table.from_pylist(log.rows, RAW), out / "log" / "part-0.parquet")
    write_keys(out / "keys.yaml")
    path = out / "config.yaml"
    given = read_settings(config, **settings) | _places(out)
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    for name, command in _commands(path, written):
        _run(name, command, written)
    return LeakCheck(tuple(log.canaries), scan(written))


def _places(out: Path) -> dict[str, Any]:
    written = out / WRITTEN
    return {
        "log": str(out / "log"),
        "tables": str(written / "tables"),
        "keys": str(out / "keys.yaml"),
        "kafka": {"clock_offset_s": -_AGO.total_seconds()},
        "live": {"state": str(written / "state")},
        "feed": {"sinks": ["online"]},
        "online": {"store": str(written / "online.sqlite"), "ttl_s": 2 * _AGO.total_seconds()},
    }


def _commands(config: Path, written: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each command that writes or prints what has landed, under a name."""
    tables = ["--tables", str(written / "tables")]
    yield "replay", ["replay", "--config", str(config)]
    yield "feed", ["feed", "--config", str(config), "--from", "snapshot", "--until-end"]
    yield "show", ["show", *tables]
    yield "report", ["report", *tables, "--out", str(written / "report.html")]
    for table in ("dead_letters", "refusals", "consent_ledger", "emotion_features"):
        yield f"query {table}", ["query", f"SELECT * FROM {table}", *tables, "--format", "csv"]
    yield "describe", ["describe", "emotion_features", *tables]


def _run(name: str, command: Sequence[str], written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *command], capture_output=True, check=False
    )
    (written / f"{name}.out").write_bytes(done.stdout + done.stderr)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        message = f"`affectstream {command[0]}` failed in the leak check: {said[0]}"
        raise AffectstreamError(message)


def print_leaks(found: LeakCheck, console: Console) -> None:
    """Print one line for each topic and field, those first in which a token was found."""
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("topic", "field"):
        grid.add_column(name, no_wrap=True)
    for name in ("tokens", "found", "allowed to land"):
        grid.add_column(name, justify="right")
    grid.add_column("where, and how it was written")
    leaked, landed = set(found.leaked), set(found.landed)
    groups: dict[tuple[str, str], list[Canary]] = {}
    for each in found.canaries:
        groups.setdefault((each.topic, each.place), []).append(each)
    order = sorted(groups.items(), key=lambda item: not leaked & set(item[1]))
    for (topic, place), canaries in order:
        bad, fine = (sum(each in group for each in canaries) for group in (leaked, landed))
        grid.add_row(topic, place, str(len(canaries)), str(bad), str(fine), _where(found, canaries))
    console.print(grid)
    console.print(
        f"{len(found.canaries):,} tokens, {len(leaked):,} found where none may be; "
        f"{len(landed):,} landed as codes, which shows that the search sees"
    )


def _where(found: LeakCheck, canaries: Sequence[Canary]) -> str:
    """Return the first file that holds one of these, and the encodings of those that were found."""
    seen = [each for each in canaries if each.token in found.files and not each.allowed]
    if not seen:
        return ""
    first = min(found.files[seen[0].token])
    return f"{first}: {', '.join(dict.fromkeys(each.encoding for each in seen))}"
