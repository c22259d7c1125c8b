"""The online store in redis: one hash for each subject, guarded by a script in the server."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import Entry, StoreAwayError, entries
from schemas.errors import AffectstreamError
from schemas.settings import Online
from schemas.strict import read_secret

_SUBJECT = "affectstream:latest:"
_POSITION = "affectstream:position"
_AT_ONCE = 5_000
_TAKE = """
local function part(text, n)
  local i = 0
  for value in string.gmatch(text, '[^:]*:') do
    i = i + 1
    if i == n then return tonumber(string.sub(value, 1, -2)) end
  end
end
local held = redis.call('HGET', KEYS[1], ARGV[1])
local window_end, revision, expires = part(ARGV[2], 1), part(ARGV[2], 2), part(ARGV[2], 3)
if held then
  local end_held, revision_held = part(held, 1), part(held, 2)
  if end_held > window_end or (end_held == window_end and revision_held >= revision) then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local at = math.ceil(expires / 1000)
if at > redis.call('PEXPIRETIME', KEYS[1]) then redis.call('PEXPIREAT', KEYS[1], at) end
return 1
"""


class RedisStore:
    """Rows in hashes: field ``table:purpose``, value ``end:revision:expiry:row``.

    A key goes by itself when the last of its rows has expired.
    """

    def __init__(self, settings: Online) -> None:
        """Connect to the server.

        Raises:
            StoreAwayError: it does not answer.
            AffectstreamError: the client is not installed, or the password is wrong.
        """
        try:
            import redis  # noqa: PLC0415  an extra
        except ImportError as error:
            message = "the online store in redis needs its client: pip install affectstream[redis]"
            raise AffectstreamError(message) from error
        self._errors = redis.RedisError
        self._refused = redis.AuthenticationError
        self._place = settings.store
        self._ttl_s = settings.ttl_s
        secret = None
        if settings.password_file is not None:
            secret = read_secret(settings.password_file, "online.password_file")
        self._redis: Any = redis.Redis.from_url(
            settings.store, password=secret, socket_timeout=10, socket_connect_timeout=5
        )
        self._take = self._redis.register_script(_TAKE)
        with self._explained():
            self._redis.ping()

    def positions(self) -> dict[str, Position]:
        """Return how far each table was taken in."""
        with self._explained():
            found = self._redis.hgetall(_POSITION)
        held = {table.decode(): value.decode().split(":") for table, value in found.items()}
        return {table: Position(id_, int(version)) for table, (id_, version) in held.items()}

    def write(self, changes: Changes) -> None:
        """Take in what is new and forget whom it says, with its position, all or nothing.

        Many rows go in several transactions, of which the last moves the position: what a crash
        between them repeats, the guard leaves out. Erasures go with that last one.
        """
        rows = entries(changes, self._ttl_s)
        with self._explained():
            self._take.sha = self._redis.script_load(_TAKE)
            if changes.standing is not None:
                self._forget_others(changes.table, changes.standing)
            while len(part := list(islice(rows, _AT_ONCE))) == _AT_ONCE:
                self._send(part, None)
            self._send(part, changes)

    def _forget_others(self, table: str, standing: frozenset[str]) -> None:
        for key in self._redis.scan_iter(f"{_SUBJECT}*", count=1_000):
            if key.decode().removeprefix(_SUBJECT) not in standing:
                names = [
                    name for name in self._redis.hkeys(key) if name.startswith(f"{table}:".encode())
                ]
                if names:
                    self._redis.hdel(key, *names)

    def _send(self, rows: Iterable[Entry], last: Changes | None) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            for entry in rows:
                head = f"{entry.window_end}:{entry.revision}:{entry.expires}:".encode()
                key, field = _SUBJECT + entry.subject_ref, f"{entry.table}:{entry.purpose}"
                pipe.evalsha(self._take.sha, 1, key, field, head + entry.row)
            if last is not None:
                if last.erased:
                    pipe.delete(*(_SUBJECT + subject for subject in last.erased))
                position = f"{last.position.table_id}:{last.position.version}"
                pipe.hset(_POSITION, last.table, position)
            pipe.execute()

    def take(self, rows: Iterable[Entry]) -> None:
        """Take in rows that have grown and are no changes of a follower's: no position moves."""
        left = iter(rows)
        with self._explained():
            self._take.sha = self._redis.script_load(_TAKE)
            while part := list(islice(left, _AT_ONCE)):
                self._send(part, None)

    def find(self, table: str, subject_ref: str) -> list[Entry]:
        """Return what is held of a subject, at most one row for each purpose."""
        with self._explained():
            held = self._redis.hgetall(_SUBJECT + subject_ref)
        found = []
        for field, value in held.items():
            name, _, purpose = field.decode().partition(":")
            if name == table:
                end, revision, expires, row = value.split(b":", 3)
                numbers = (int(end), int(revision), int(expires))
                found.append(Entry(subject_ref, table, purpose, *numbers, row))
        return found

    def erase(self, subjects: Iterable[str]) -> None:
        """Forget all that is held of these subjects."""
        keys = [_SUBJECT + subject for subject in subjects]
        if keys:
            with self._explained():
                self._redis.delete(*keys)

    def purge(self, before: int) -> int:
        """Do nothing: keys expire in the server."""
        return 0

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._refused as error:
            message = f"{self._place} refuses: {error}: see `online.password_file`"
            raise AffectstreamError(message) from error
        except (self._errors, OSError) as error:
            message = f"the online store {self._place} does not answer: {error}"
            raise StoreAwayError(message) from error
