"""The files of a table that its newest version does not need: data, change feed and log."""

import json
import re
import time
from collections.abc import Iterator, Set
from urllib.parse import unquote

import pyarrow.fs as pa_fs
from deltalake import DeltaTable

from pipelines.govern.erasure.search import files_under, filesystem, holds_one

_LOG = "_delta_log"
_ENTRY = re.compile(rf"{_LOG}/\.?(\d{{20}})\.")
UNDER_WAY_S = 120.0
"""A file that no log entry names may be of a commit under way while it is younger than this: one
takes seconds, a lost race with another writer included, and leaves its file behind."""


def drop_old_files(place: str, ids: Set[str] = frozenset(), under_way_s: float = 0) -> int:
    """Delete what only older versions of a table need; return how many files that was.

    A full vacuum would do nearly that, but it would also take files of commits that are under way
    beside it. Of what no commit names only that goes which holds one of ``ids``, once it is
    ``under_way_s`` old. Older versions, and their change feed, cannot be read any more; who writes
    to the table goes on.
    """
    table = DeltaTable(place)
    table.create_checkpoint()
    version = table.version()
    files = filesystem(place)
    needed = {unquote(path) for path in table.get_add_actions(flatten=True)["path"].to_pylist()}
    listed = files_under(files)
    entries = {info.path: int(number[1]) for info in listed if (number := _ENTRY.match(info.path))}
    named = set(_named(files, [path for path, number in entries.items() if number <= version]))
    gone = 0
    for info in listed:
        path = info.path
        if path in entries:
            old = entries[path] < version
        elif path.startswith(_LOG):
            old = False
        else:
            dead = time.time() - info.mtime.timestamp() >= under_way_s
            old = path not in needed and (path in named or (dead and holds_one(files, path, ids)))
        if old:
            files.delete_file(path)
            gone += 1
    return gone


def _named(files: pa_fs.FileSystem, entries: list[str]) -> Iterator[str]:
    """Yield the paths that these log entries add, remove, or hold changes in."""
    for entry in entries:
        if not entry.endswith(".json"):
            continue
        with files.open_input_stream(entry) as stream:
            lines = stream.read().splitlines()
        for line in lines:
            for action in json.loads(line).values():
                if isinstance(action, dict) and "path" in action:
                    yield unquote(action["path"])
