"""The streaming job's driver: builds the graph, submits it to Flink and waits for its end.

A process of its own (``python -m pipelines.live.driver CONFIG.json``), so that the supervisor can
end it together with the JVM that it starts. With ``--again`` it submits the graph that it built
before: that saves the imports and the expansion service, two thirds of a restart.
"""

import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.flink_runner import FlinkRunner

from pipelines.config import Config
from pipelines.live.job_process import (
    GRAPH_FILE,
    SERVER_LOST,
    UNUSABLE,
    write_private,
)
from pipelines.live.state_folder import NOTES, POISON
from schemas.errors import AffectstreamError


def flags(config: Config) -> list[str]:
    """Return the runner's flags; docs/reference/live.md says what each is for."""
    live = config.live
    state = live.state.absolute()
    environment = json.dumps({"command": str(_boot_script(state))})
    quiet = json.dumps({"apache_beam.transforms.util": "WARNING"})  # four lines a bundle else
    return [
        "--streaming",
        f"--job_name={config.kafka.group}",  # of this state folder alone
        f"--flink_master={live.flink_master}",
        "--flink_version=1.19",
        f"--flink_job_server_jar={live.jars.absolute() / 'jobserver.jar'}",
        "--job_server_jvm_properties=-Xmx1g",
        "--job_server_jvm_properties=-XX:TieredStopAtLevel=1",
        f"--flink_conf_dir={state / 'conf'}",
        f"--parallelism={live.parallelism}",
        "--experiments=use_deprecated_read",
        "--environment_type=PROCESS",
        f"--environment_config={environment}",
        f"--sdk_worker_parallelism={live.workers}",
        f"--sdk_harness_log_level_overrides={quiet}",
        "--finish_bundle_before_checkpointing",
        "--object_reuse",
        "--max_bundle_size=8192",
        "--max_bundle_time_mills=100",
        "--auto_watermark_interval=50",
        f"--checkpointing_interval={round(live.checkpoint_s * 1000)}",
        f"--min_pause_between_checkpoints={round(live.checkpoint_s * 500)}",
        "--checkpointing_mode=EXACTLY_ONCE",
        "--externalized_checkpoints_enabled",
        "--retain_externalized_checkpoints_on_cancellation",
        "--state_backend=filesystem",
        f"--state_backend_storage_path={(state / 'checkpoints').as_uri()}",
    ]


def _boot_script(state: Path) -> Path:
    """Write the command that Flink starts a worker with; it takes this interpreter."""
    path = state / "worker"
    python, log = shlex.quote(sys.executable), shlex.quote(str(state / "worker.log"))
    notes = shlex.quote(f"{NOTES}={state / POISON}")
    path.write_text(
        f'#!/bin/sh\nexec {python} -m pipelines.live.worker {notes} "$@" >>{log} 2>&1\n'
    )
    path.chmod(0o755)
    return path


def build(config: Config, options: PipelineOptions, *, restoring: bool) -> Any:
    """Check what the job needs and build its graph; return the pipeline's proto.

    Raises:
        AffectstreamError: something that the job needs is missing or cannot be used, or the
            checkpoint that it restores was taken of another graph.
    """
    import apache_beam as beam  # noqa: PLC0415  the imports take seconds, a restart needs none

    from pipelines.affect import build_pipeline  # noqa: PLC0415
    from pipelines.live.graph_version import check_graph  # noqa: PLC0415
    from pipelines.run.preflight import check_live  # noqa: PLC0415

    check_live(config)
    runner = FlinkRunner()
    pipeline = beam.Pipeline(runner=runner, options=options)
    build_pipeline(pipeline, config)
    proto = pipeline.to_runner_api(default_environment=runner.default_environment(options))
    for windowing in proto.components.windowing_strategies.values():
        # Python's SDK asks for a pane more, with nothing new, when a window's lateness is over.
        windowing.closing_behavior = beam_runner_api_pb2.ClosingBehavior.EMIT_IF_NONEMPTY
    check_graph(proto, config, restoring=restoring)
    return proto


def main(argv: list[str]) -> int:
    """Run the job to its end.

    Returns 0 where it was cancelled, UNUSABLE where it cannot start, SERVER_LOST where the job
    server has died, 1 where the job failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    config = Config.model_validate_json(Path(argv[0]).read_text(encoding="utf-8"))
    state = config.live.state.absolute()
    options = PipelineOptions(flags(config))
    built = state / GRAPH_FILE
    try:
        if "--again" in argv and built.exists():
            proto = beam_runner_api_pb2.Pipeline.FromString(built.read_bytes())
        else:
            proto = build(config, options, restoring="--restoring" in argv)
            write_private(built, proto.SerializeToString())
    except AffectstreamError as error:
        (state / "unusable").write_text(str(error), encoding="utf-8")
        return UNUSABLE
    try:
        result = FlinkRunner().run_portable_pipeline(proto, options)
        return 0 if result.wait_until_finish() in ("DONE", "CANCELLED", "DRAINED") else 1
    except grpc.RpcError as error:
        logging.exception("the job server is lost")
        return SERVER_LOST if error.code() is grpc.StatusCode.UNAVAILABLE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
