"""Commands that move records to and from Kafka."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.app import Bootstrap, Settings, console

commands = typer.Typer()
topics_app = typer.Typer(no_args_is_help=True, help="The broker's topics.")
commands.add_typer(topics_app, name="topics")


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 2,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
    keep_days: Annotated[
        float | None, typer.Option(help="Drop session records that are older; default: keep all.")
    ] = None,
    acl: Annotated[
        bool, typer.Option("--acl", help="Give the users of the configuration their rights.")
    ] = False,
    kafka: Bootstrap = None,
    config: Settings = None,
) -> None:
    """Create the topics that are missing, and the access lists where asked."""
    from pipelines.config import load_kafka, load_users
    from pipelines.kafka.acl import create_acls
    from pipelines.kafka.topics import create_feed_topics, create_topics

    broker = load_kafka(config, bootstrap=kafka)
    made = create_topics(broker, partitions, replication, keep_days)
    made += create_feed_topics(broker, partitions, replication)
    console.print(f"created {', '.join(made)}" if made else "all topics are there")
    if acl:
        others = create_acls(broker, load_users(config))
        console.print("gave the users of the configuration their rights")
        for sentence in others:
            console.print(f"[yellow]{escape(sentence)}[/]", highlight=False, soft_wrap=True)


@commands.command()
def publish(
    log: Annotated[Path, typer.Argument(help="Recorded log: a folder of Parquet files.")],
    speed: Annotated[
        float, typer.Option(min=0, help="Times faster than recorded; 0: as fast as possible.")
    ] = 0.0,
    retime: Annotated[bool, typer.Option(help="Shift all times to the present.")] = False,
    compression: Annotated[
        str | None, typer.Option(help="gzip, snappy, lz4 or zstd; default: none.")
    ] = None,
    kafka: Bootstrap = None,
    config: Settings = None,
) -> None:
    """Send a recorded log to Kafka, keyed by subject, every record once."""
    from pipelines.config import load_kafka
    from pipelines.kafka.publish import publish as run

    done = run(
        log,
        load_kafka(config, bootstrap=kafka),
        speed=speed,
        retime=retime,
        compression=compression,
        console=console,
    )
    shift = f", times shifted by {done.shift_s:+,.0f} s" if retime else ""
    console.print(f"{done.records:,} records in {done.seconds:.1f} s{shift}")


@commands.command()
def record(
    out: Annotated[Path, typer.Argument(help="New folder of the recorded log.")],
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; repeatable.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Record times from here, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Record times before this, UTC.")] = None,
    kafka: Bootstrap = None,
    config: Settings = None,
) -> None:
    """Write what the topics hold now as a recorded log."""
    from pipelines.config import load_kafka
    from pipelines.kafka.record import record as run

    count = run(
        out,
        load_kafka(config, bootstrap=kafka),
        topics=topic,
        since_ms=_to_ms(since),
        until_ms=_to_ms(until),
        console=console,
    )
    console.print(f"{count:,} records in {out}")


def _to_ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp() * 1000)
