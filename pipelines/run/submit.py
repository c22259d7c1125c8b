"""Submission of the graph to any Beam runner: workers install this project by its setup.py."""

from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from pipelines.affect import build_pipeline
from pipelines.config import Config
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from transforms.landing.made_under import check_made_under, note_made_under
from transforms.landing.prepare import prepare_tables

SETUP = Path(__file__).resolve().parents[2] / "setup.py"


def runner_options(config: Config, runner: str, options: Sequence[str]) -> PipelineOptions:
    """Return Beam's options: ours, then the runner's own; without a recorded log it streams."""
    if not SETUP.is_file():
        message = f"no {SETUP}: submit from a checkout, whose setup.py the workers install"
        raise AffectstreamError(message)
    streaming = [] if config.log else ["--streaming"]
    return PipelineOptions([f"--runner={runner}", f"--setup_file={SETUP}", *streaming, *options])


def submit(config: Config, runner: str, options: Sequence[str]) -> PipelineResult:
    """Create the tables that are missing and submit the graph; return the running job.

    Raises AffectstreamError where the tables were made under other keys than those here, or the
    runner or one of its options is not to be had.
    """
    keys = read_keys(config.keys)
    check_made_under(config.tables, keys)
    prepare_tables(config.tables)
    note_made_under(config.tables, keys)
    try:
        pipeline = beam.Pipeline(options=runner_options(config, runner, options))
        build_pipeline(pipeline, config)
        return pipeline.run()
    except (ImportError, ValueError) as error:
        message = f"runner {runner} cannot be used here: {str(error).strip()}"
        raise AffectstreamError(message) from error
