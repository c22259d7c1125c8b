"""The command line: ``affectstream``.

Commands import what they run only when they run: torch and Beam take seconds to load, and
``--help`` or ``query`` should not wait for them.
"""

import logging
import os
import sys
import warnings
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.cli.config import config_command
from schemas.errors import AffectstreamError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Expression estimates from the event logs of virtual worlds: lawful, exactly once.",
)
console = Console(stderr=True)

Log = Annotated[Path | None, typer.Argument(help="Recorded log: a folder of Parquet files.")]
_TABLES = typer.Option(help="Folder or s3:// place of the Delta tables.")
Tables = Annotated[str, _TABLES]
ConfiguredTables = Annotated[str | None, _TABLES]
Truth = Annotated[Path | None, typer.Option(help="Ground truth of the log (truth.parquet).")]
Settings = Annotated[Path | None, typer.Option("--config", help="YAML configuration.")]
Keys = Annotated[Path | None, typer.Option(help="Key file of the pseudonyms.")]
TruthKeys = Annotated[Path, typer.Option("--keys", help="With --truth: key file of the run.")]
TABLES = "build/tables"
KEYS = Path("keys.yaml")


class Task(StrEnum):
    """What can be trained."""

    TEXT = "text"
    VOICE = "voice"
    FACE = "face"
    MOTION = "motion"
    FUSION = "fusion"


class Precision(StrEnum):
    """Arithmetic of a training."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Form(StrEnum):
    """How a query's result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of all that it makes.")] = Path("build/demo"),
) -> None:
    """Run the built-in sample session through the whole graph and show the result."""
    from pipelines.run.demo import demo as run

    run(out, Console(), console)


@app.command()
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


Bootstrap = Annotated[str | None, typer.Option(help="Kafka broker, host:port.")]


@app.command()
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
    run(settings, console, until_end=until_end)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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


topics_app = typer.Typer(no_args_is_help=True, help="The broker's topics.")
app.add_typer(topics_app, name="topics")


@topics_app.command("create")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 2,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
    keep_days: Annotated[
        float | None, typer.Option(help="Drop session records that are older; default: keep all.")
    ] = None,
    kafka: Bootstrap = None,
    config: Settings = None,
) -> None:
    """Create the topics that are missing."""
    from pipelines.config import load_kafka
    from pipelines.kafka.topics import create_topics

    made = create_topics(load_kafka(config, bootstrap=kafka), partitions, replication, keep_days)
    console.print(f"created {', '.join(made)}" if made else "all topics are there")


@app.command()
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


@app.command()
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
        since_ms=_ms(since),
        until_ms=_ms(until),
        console=console,
    )
    console.print(f"{count:,} records in {out}")


def _ms(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp() * 1000)


@app.command()
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


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables.")],
    tables: Tables = TABLES,
    form: Annotated[Form, typer.Option("--format", help="How to write the result.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
) -> None:
    """Run SQL over the tables."""
    from pipelines.tables.query import query as run
    from pipelines.tables.results import write_result

    write_result(run(tables, sql), form.value, out)


@app.command()
def show(tables: Tables = TABLES, truth: Truth = None, keys: TruthKeys = KEYS) -> None:
    """Print what stands in the tables: estimates, decisions, dead letters, refusals, time."""
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.screen import show as run

    run(tables, Console(), GroundTruth(truth, keys) if truth else None)


@app.command()
def report(
    tables: Tables = TABLES,
    truth: Truth = None,
    keys: TruthKeys = KEYS,
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("build/report.html"),
) -> None:
    """Write one HTML page with pictures of what stands in the tables."""
    from pipelines.show.accuracy import GroundTruth
    from pipelines.show.report import write_report

    known = GroundTruth(truth, keys) if truth else None
    console.print(f"report: {write_report(tables, out, known)}")


@app.command()
def check(
    tables: Tables = TABLES,
    docs: Annotated[Path, typer.Option(help="Folder of the data docs.")] = Path("build/data_docs"),
) -> None:
    """Check the landed tables against their expectations and write the data docs."""
    from pipelines.tables.check import check_tables, print_verdicts

    verdicts = check_tables(tables, docs)
    print_verdicts(verdicts, Console())
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def train(
    task: Task,
    data: Annotated[Path, typer.Option(help="Folder of labelled corpora.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="Shipped recipe or YAML file; default: TASK-compact or fusion."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder; default: build/models.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed in place of the recipe's.")] = None,
    folds: Annotated[int, typer.Option(help="Cross-validate in so many folds instead.")] = 0,
    without: Annotated[
        list[str] | None, typer.Option(help="Corpus to leave out, to be tested on.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Arithmetic.")] = Precision.FP32,
    fresh: Annotated[bool, typer.Option(help="Throw away checkpoints of before.")] = False,
    wandb: Annotated[bool, typer.Option(help="Log to Weights & Biases too, offline.")] = False,
    build: Annotated[Path, typer.Option(help="Folder of checkpoints and models.")] = Path("build"),
) -> None:
    """Train a model by its recipe; goes on from the last checkpoint after a kill."""
    from model_serving.training.harness import Run
    from model_serving.training.recipe import read_recipe
    from pipelines.models.train import train as run_training

    usual = "fusion" if task is Task.FUSION else f"{task.value}-compact"
    chosen = read_recipe(recipe or usual).changed(seed, without or [])
    run = Run(
        folder=build / "training",
        build=build,
        fresh=fresh,
        wandb=wandb,
        precision=precision.value,
        folds=folds,
    )
    run_training(task.value, chosen, data, out, run, Console())


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of labelled corpora.")],
    build: Annotated[Path, typer.Option(help="Folder of base models: build/models.")] = Path(
        "build"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Modality; default: all.")] = None,
    docs: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs/benchmarks"),
) -> None:
    """Measure the recognisers on the test splits; write their cards, the page and the figures."""
    from pipelines.models.evaluate import evaluate as run

    run(data, build, only or [], docs, Console())


app.command("config")(config_command)


def main() -> None:
    """Run the command line; what a user can mend is one sentence and status 1."""
    warnings.filterwarnings("ignore")
    quiet = logging.StreamHandler()
    quiet.setLevel(logging.ERROR)  # libraries tell of services that nobody asked for
    logging.basicConfig(handlers=[quiet])
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except AffectstreamError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":  # torchrun --nproc-per-node 2 -m pipelines.cli.main train ...
    main()
