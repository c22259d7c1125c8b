"""The files of a table that its newest version does not need: data, change feed and log."""

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow.fs as pa_fs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

_LOG = "_delta_log"
_ENTRY = re.compile(rf"{_LOG}/\.?(\d{{20}})\.")
_UNDER_WAY_S = 600.0
"""A file that no log entry names may be of a commit under way while it is younger than this."""


def filesystem(place: str) -> pa_fs.FileSystem:
    """Return the files under a folder, or under an object store's URI, by their relative paths."""
    return pa_fs.PyFileSystem(DeltaStorageHandler(place))


def files_under(files: pa_fs.FileSystem) -> list[pa_fs.FileInfo]:
    """List all files, those of the log too."""
    found = files.get_file_info(pa_fs.FileSelector("", recursive=True))
    return [info for info in found if info.type == pa_fs.FileType.File]


def drop_old_files(place: str) -> int:
    """Delete what only older versions of a table need; return how many files that was.

    A full vacuum would do nearly that, but it would also take files of commits that are under way
    beside it. What no commit names is left until it is ten minutes old. Older versions, and their
    change feed, cannot be read any more; who writes to the table goes on.
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
            young = time.time() - info.mtime.timestamp() < _UNDER_WAY_S
            old = path not in needed and (path in named or not young)
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
