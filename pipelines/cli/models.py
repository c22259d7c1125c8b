"""Commands that train the recognisers and measure them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipelines.cli.app import Data, Keys, Settings, load_settings

commands = typer.Typer()
model_app = typer.Typer(no_args_is_help=True, help="Models of your own.")
commands.add_typer(model_app, name="model")
adapt_app = typer.Typer(no_args_is_help=True, help="Models fitted to a deployment by its own log.")
commands.add_typer(adapt_app, name="adapt")


class Task(StrEnum):
    """What can be trained."""

    TEXT = "text"
    VOICE = "voice"
    FACE = "face"
    MOTION = "motion"
    FUSION = "fusion"
    REPLY = "reply"


class Judged(StrEnum):
    """What a model of one's own judges."""

    TEXT = "text"
    VOICE = "voice"
    FACE = "face"
    MOTION = "motion"


class Precision(StrEnum):
    """Arithmetic of a training."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


@commands.command()
def train(
    task: Task,
    data: Data,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Shipped recipe or YAML file; default: TASK-compact, fusion or reply-research."
        ),
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

    usual = {Task.FUSION: "fusion", Task.REPLY: "reply-research"}.get(task, f"{task}-compact")
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


@commands.command()
def evaluate(
    data: Data,
    build: Annotated[Path, typer.Option(help="Folder of base models: build/models.")] = Path(
        "build"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Modality, or fusion; default: all.")
    ] = None,
    docs: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs/benchmarks"),
) -> None:
    """Measure recognisers and fusion on the test splits; write cards, pages and figures.

    `--only reply` measures the shipped adapter of replies instead.
    """
    from pipelines.models.evaluate import evaluate as run

    if only == ["reply"]:
        from model_serving.reply.card import ADAPTERS
        from pipelines.models.replies import evaluate_replies

        evaluate_replies(ADAPTERS / "reply-research", data, docs, Console())
        return
    run(data, build, only or [], docs, Console())


@commands.command()
def recalibrate(
    folder: Annotated[Path, typer.Argument(help="Model folder with its card.")], data: Data
) -> None:
    """Fit the calibration of a face model anew on the validation faces; its weights stay."""
    from pipelines.models.train import recalibrate as run

    run(folder, data, Console())


@model_app.command("add")
def model_add(
    folder: Annotated[Path, typer.Argument(help="Model folder as transformers or PEFT saves it.")],
    modality: Annotated[
        Judged | None, typer.Option(help="What it judges; default: by its config.json.")
    ] = None,
    licence: Annotated[
        Literal["open", "research"] | None,
        typer.Option(help="What its weights may be used for: anything, or research only."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled CSV to measure it on: text or path, label, groups (100 rows each)."
        ),
    ] = None,
) -> None:
    """Draft the card of a model folder, show what its labels mean, probe and measure it.

    Ends with 1 as long as the pipeline would not load the model.
    """
    from pipelines.models.add import add_model

    judged = modality.value if modality else None
    if not add_model(folder, judged, licence, data, Console()):
        raise typer.Exit(1)


@adapt_app.command("voice")
def adapt_voice(
    log: Annotated[Path, typer.Option(help="Recorded log: a folder of Parquet files.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Move the centre of the voice model to what a recorded log sounds like; no labels needed."""
    from pipelines.models.adapt.voice import adapt_voice as run

    run(load_settings(config, keys=keys, log=log), out, Console())


@adapt_app.command("text")
def adapt_text(
    log: Annotated[Path, typer.Option(help="Recorded log: a folder of Parquet files.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Fit the text model's bias to the shares of the expressions in a log; no labels needed."""
    from pipelines.models.adapt.shares import adapt_shares as run

    run(load_settings(config, keys=keys, log=log), "text", out, Console())


@adapt_app.command("face")
def adapt_face(
    log: Annotated[Path, typer.Option(help="Recorded log: a folder of Parquet files.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    keys: Keys = None,
    config: Settings = None,
) -> None:
    """Fit the face model's bias to the shares of the expressions in a log; no labels needed."""
    from pipelines.models.adapt.shares import adapt_shares as run

    run(load_settings(config, keys=keys, log=log), "face", out, Console())
