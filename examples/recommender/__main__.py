"""Asks whether shown expressions make recommendations better, on sessions with a known answer.

``python -m examples.recommender`` generates visits and the decisions that a live job would have
taken just before them. It lands the decisions in a table, feeds them to the topic
``expression.decisions``, reads that as any consumer does, and prints NDCG@20 by taste alone, with
the expression, and of two controls that must gain nothing.

A score is a hint for an order of things to see. It never decides alone on what matters to a person.
"""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from tabulate import tabulate

from examples.recommender.evaluate import Comparison, compare, look_up
from examples.recommender.expressions import ShownExpressions, read_topic
from examples.recommender.sessions import decisions, generate_visits
from pipelines.config import Config
from pipelines.serve.feed import start_feeds
from schemas.settings import Feed, Kafka
from schemas.tables import TABLES
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

VISITS = 20_000
Results = tuple[ShownExpressions, dict[str, Comparison]]
_TABLE = "expression_decisions"
_CONTROLS = ("with shuffled expressions", "where the mood has no effect")


def configure(tables: Path, kafka: Kafka) -> Config:
    """Return the settings of a feed from these tables to this broker; no key is made or read."""
    return Config(
        tables=str(tables),
        keys=tables / "keys.yaml",
        kafka=kafka,
        feed=Feed(sinks=("kafka",), name="example-recommender"),
    )


def run(config: Config, count: int, begin: datetime) -> Results:
    """Land, feed, read and compare; return what was read, and each comparison by its name."""
    visits = generate_visits(count)
    without = generate_visits(count, mood_counts=False)  # the same people, moods and decisions
    prepare_tables(config.tables)
    batch = pa.RecordBatch.from_pylist(decisions(visits, begin), schema=TABLES[_TABLE].schema)
    TableWriter(config.tables, _TABLE).commit([batch])
    feed_all(config)
    shown = ShownExpressions()
    read_topic(config.kafka.bootstrap, shown)
    estimates = look_up(visits, shown, begin)
    return shown, {
        "with the expression": compare(visits, estimates),
        _CONTROLS[0]: compare(visits, estimates.shuffled()),
        _CONTROLS[1]: compare(without, estimates),
    }


def feed_all(config: Config) -> None:
    """Feed what stands in the tables, as ``affectstream feed --until-end`` does."""
    for feed in start_feeds(config):
        feed.finish()
        feed.join()
        if feed.progress.failed:
            raise feed.progress.failed


def table(found: dict[str, Comparison]) -> str:
    """Return the comparisons as text."""
    rows = [
        [name, one.alone, one.together, one.gain, f"{one.low:+.4f} to {one.high:+.4f}", one.weight]
        for name, one in found.items()
    ]
    headers = ["NDCG@20", "taste alone", "together", "gain", "95 % interval", "weight"]
    return tabulate(rows, headers, floatfmt=("", ".4f", ".4f", "+.4f", "", ".2f"))


def main() -> None:
    """Run with what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="the Kafka broker")
    parser.add_argument("--tables", type=Path, default=Path("build/recommender"))
    parser.add_argument("--visits", type=int, default=VISITS)
    given = parser.parse_args()
    config = configure(given.tables, Kafka(bootstrap=given.bootstrap))
    # The visits lie ahead, since the feed leaves out what has expired.
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    shown, found = run(config, given.visits, begin)
    print(table(found))
    print("read:", ", ".join(f"{count:,} {what}" for what, count in shown.count.items()))
    print(*(f"notice: {notice}" for notice in sorted(shown.notices)), sep="\n")


if __name__ == "__main__":
    main()
