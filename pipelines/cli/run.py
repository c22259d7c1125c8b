"""Commands that run the graph: the demo, a replay, a live job, a submission; a log to run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import (
    Bootstrap,
    ConfiguredTables,
    Keys,
    Log,
    Settings,
    console,
)

commands = typer.Typer()


@commands.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of all that it makes.")] = Path("build/demo"),
) -> None:
    """Run the built-in sample session through the whole graph and show the result."""
    from pipelines.run.demo import demo as run

    run(out, Console(), console)


@commands.command()
def replay(
    log: Log = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Run a recorded log through the whole graph, into the tables."""
    from pipelines.config import load_config
    from pipelines.run.replay import replay as run

    settings = load_config(config, log=log, tables=tables, keys=keys)
    done = run(settings, console)
    rate = done.records / done.seconds
    console.print(f"{done.records:,} records in {done.seconds:.1f} s, {rate:,.0f} a second")


@commands.command()
def live(
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
    kafka: Bootstrap = None,
    state: Annotated[Path | None, typer.Option(help="Folder of checkpoints and logs.")] = None,
    flink_master: Annotated[
        str | None, typer.Option(help="host:port of a cluster's REST; default: in this machine.")
    ] = None,
    parallelism: Annotated[int | None, typer.Option(help="Degree of parallelism.")] = None,
    bootstrap: Annotated[
        bool, typer.Option(help="Take the history of decisions from the tables at first.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option(help="Stop when all records are read and all windows closed.")
    ] = False,
    feed: Annotated[
        bool, typer.Option("--feed", help="Hand on what lands to `feed.sinks` at the same time.")
    ] = False,
) -> None:
    """Run the graph as a streaming job from Kafka, restored after crashes, until stopped."""
    from pipelines.config import load_config
    from pipelines.live.supervisor import live as run

    settings = load_config(
        config,
        tables=tables,
        keys=keys,
        kafka={"bootstrap": kafka},
        live={
            "state": state,
            "flink_master": flink_master,
            "parallelism": parallelism,
            "bootstrap": bootstrap or None,
        },
    )
    run(settings, console, until_end=until_end, feed=feed)


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    runner: Annotated[str, typer.Option(help="A Beam runner, e.g. PortableRunner.")],
    log: Annotated[
        Path | None, typer.Option(help="Recorded log; without one the job reads Kafka.")
    ] = None,
    tables: ConfiguredTables = None,
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Submit the graph to any Beam runner; other options go to the runner as they are."""
    from pipelines.config import load_config
    from pipelines.run.submit import submit as run

    settings = load_config(config, log=log, tables=tables, keys=keys)
    state = run(settings, runner, context.args).wait_until_finish()
    console.print(f"the job is {state}")


@commands.command()
def sessionlog(
    out: Annotated[Path, typer.Argument(help="New folder: log/ and truth.parquet go into it.")],
    corpora: Annotated[
        Path | None, typer.Option(help="Folder of labelled corpora; without it, the sample.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=2, help="Subjects, with --corpora.")] = 50,
    minutes: Annotated[float, typer.Option(min=0.5, help="Minutes, with --corpora.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Seed, with --corpora.")] = 7,
) -> None:
    """Write a session log with ground truth, from the built-in sample or from corpora."""
    if corpora is None:
        from pipelines.sessionlogs.sample import write_sample

        written = write_sample(out)
    else:
        from pipelines.sessionlogs.corpora_log import write_corpora_log

        written = write_corpora_log(out, corpora, subjects, minutes, seed)
    console.print(f"{written.records:,} records in {written.folder}, truth in {written.truth}")


@commands.command()
def shapes(
    log: Annotated[Path, typer.Argument(help="Recorded log: a folder of Parquet files.")],
    config: Settings = None,
) -> None:
    """Show what the motion events of a log are made of: names, vocabulary and unit by source."""
    from pipelines.config import load_config
    from pipelines.run.shapes import count_shapes, print_shapes

    units = load_config(config).motion.units if config else {}
    print_shapes(count_shapes(log, units), units, Console())
