"""The feeds and the store behind the tables: whether they know of an erasure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.serve.feed import clock
from pipelines.serve.follow import Position
from pipelines.serve.kafka_sink import read_positions
from pipelines.serve.stores import open_online
from pipelines.serve.webhook_sink import WebhookSink


def behind(config: Config, versions: Mapping[str, int], given_up: Collection[str]) -> list[str]:
    """Return the sinks that have yet to take these versions of tables, each with what it lacks.

    A sink that never took anything of a table has nothing to forget. ``given_up`` are sinks that
    nobody feeds any more: nothing waits for them.

    Raises:
        AffectstreamError: a sink's position cannot be read.
    """
    found = []
    for sink, positions in _positions(config, given_up):
        for table, version in versions.items():
            at = positions.get(table)
            same = at is not None and at.table_id == _table_id(config, table)
            if at is not None and same and at.version < version:
                found.append(f"{sink} has {table} up to version {at.version} of {version}")
    return found


def erase_online(config: Config, references: Iterable[str]) -> bool:
    """Forget these subjects in the online store; tell whether there is one."""
    if not _has_store(config):
        return False
    with closing(open_online(config.online)) as store:
        store.erase(references)
    return True


def store_files(config: Config) -> list[Path]:
    """Return the files of the online store that exist; redis has none that could be read."""
    if _is_redis(config):
        return []
    store = Path(config.online.store)
    return [path for path in store.parent.glob(f"{store.name}*") if path.is_file()]


def _positions(
    config: Config, given_up: Collection[str]
) -> Iterator[tuple[str, Mapping[str, Position]]]:
    sinks = set(config.feed.sinks) - set(given_up)
    if "online" in sinks and _has_store(config):
        with closing(open_online(config.online)) as store:
            yield "online", store.positions()
    if "webhook" in sinks:
        hook = WebhookSink(config.feed, config.live.state / "feed", clock(config))
        yield "webhook", hook.positions()
    # Who runs recorded logs alone has no broker: the settings name none, or a log.
    named = {"kafka", "feed"} & config.model_fields_set
    if "kafka" in sinks and named and config.log is None:
        with explain_kafka_error(config.kafka):
            positions = read_positions(config.kafka, config.feed.name)
        yield "kafka", positions


def _has_store(config: Config) -> bool:
    return _is_redis(config) or Path(config.online.store).exists()


def _table_id(config: Config, name: str) -> str:
    return str(DeltaTable(f"{config.tables}/{name}").metadata().id)


def _is_redis(config: Config) -> bool:
    return "://" in config.online.store
