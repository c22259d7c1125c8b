"""The streaming job's driver: builds the graph, submits it to Flink and waits for its end.

A process of its own (``python -m pipelines.live.driver CONFIG.json``), so that the supervisor can
end it together with the JVM that it starts. With ``--again`` it submits the graph that it built
before: that saves the imports and the expansion service, two thirds of a restart.
"""

import hashlib
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.flink_runner import FlinkRunner

from pipelines.config import Config
from pipelines.live.job_process import (
    GRAPH_FILE,
    NOTES,
    POISON,
    SERVER_LOST,
    UNUSABLE,
    write_private,
)
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


def build(config: Config, options: PipelineOptions) -> Any:
    """Check what the job needs and build its graph; return the pipeline's proto."""
    import apache_beam as beam  # noqa: PLC0415  the imports take seconds, a restart needs none

    from pipelines.affect import build_pipeline  # noqa: PLC0415
    from pipelines.run.preflight import check_live  # noqa: PLC0415

    check_live(config)
    runner = FlinkRunner()
    pipeline = beam.Pipeline(runner=runner, options=options)
    build_pipeline(pipeline, config)
    proto = pipeline.to_runner_api(default_environment=runner.default_environment(options))
    for windowing in proto.components.windowing_strategies.values():
        # Python's SDK asks for a pane more, with nothing new, when a window's lateness is over.
        windowing.closing_behavior = beam_runner_api_pb2.ClosingBehavior.EMIT_IF_NONEMPTY
    return proto


def graph_version(proto: Any, config: Config) -> str:
    """Return 32 hex digits over what a checkpoint's state hangs on.

    These are all steps by name and what each holds in state, how they window, the kinds of coders,
    the schemas of what is held and its key, the windows' settings, since shards stand only in
    pickled functions, and Kafka's and the jars', since the checkpoint holds the source as made.
    Ids and pickles are left out: the same graph may be given others when it is built again.
    """
    kafka = config.kafka.model_dump_json(exclude={"group"})
    parts = [config.windows.model_dump_json(), kafka, *_source(config), *_schemas()]
    for step in proto.components.transforms.values():
        parts.append(f"step {step.unique_name} {step.spec.urn} {_held(step.spec)}")
    for strategy in proto.components.windowing_strategies.values():
        plain = beam_runner_api_pb2.WindowingStrategy()
        plain.CopyFrom(strategy)
        plain.window_coder_id = plain.environment_id = ""
        parts.append(f"windows {plain.SerializeToString(deterministic=True).hex()}")
    coders = proto.components.coders
    for coder in coders.values():
        inner = [coders[known].spec.urn for known in coder.component_coder_ids]
        parts.append(f"coder {coder.spec.urn} {inner}")
    text = "\n".join(sorted(set(parts)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _source(config: Config) -> list[str]:
    """Return what the source was made of: a checkpoint holds it whole.

    The password stands in a file that the source reads at each login, so another one is no change.
    ``make flink`` writes what its jars were made of beside them; of others nothing is known.
    """
    from pipelines.kafka.clients import java_settings  # noqa: PLC0415  a restart needs it not

    made = config.live.jars / "fetched"
    jars = made.read_text(encoding="utf-8") if made.is_file() else ""
    return [json.dumps(java_settings(config.kafka) | {"group.id": ""}), jars]


def _schemas() -> list[str]:
    """Return the schemas of the batches that are held in state, without their docs, and their key.

    Rows that were held under another key would go on as part of no window and no history.
    """
    from schemas.events import HELD, WINDOW_KEY  # noqa: PLC0415  a restart needs none of this
    from schemas.tables import EMOTION_FEATURES  # noqa: PLC0415
    from transforms.decide import NEEDED  # noqa: PLC0415
    from transforms.deciding.history import HISTORY  # noqa: PLC0415

    pending = [f"{name}: {EMOTION_FEATURES.field(name).type}" for name in NEEDED]
    held = [f"{schema.names} {schema.types}" for schema in (HELD, HISTORY)]
    return [*held, str(pending), f"key {WINDOW_KEY}"]


def _held(spec: Any) -> list[str]:
    """Name the states and timers of a step."""
    if spec.urn != common_urns.primitives.PAR_DO.urn:
        return []
    step = beam_runner_api_pb2.ParDoPayload.FromString(spec.payload)
    states = [f"{name} {state.WhichOneof('spec')}" for name, state in step.state_specs.items()]
    return sorted([*states, *step.timer_family_specs])


def check_graph(proto: Any, config: Config, *, restoring: bool) -> None:
    """Raise where the newest checkpoint was taken of another graph."""
    state = config.live.state.absolute()
    path, version = state / "graph", graph_version(proto, config)
    if restoring and path.exists() and path.read_text() != version:
        message = (
            f"the checkpoints in {state} are of another version of the graph, or of other "
            "`windows` or `kafka` in the configuration, which they hold: start anew with `--state` "
            "naming a new folder; what has landed is not landed twice"
        )
        raise AffectstreamError(message)
    path.write_text(version)


def main(argv: list[str]) -> int:
    """Run the job to its end.

    Returns 0 where it was cancelled, UNUSABLE where it cannot start, SERVER_LOST where the job
    server is no more, 1 where the job failed.
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
            proto = build(config, options)
            check_graph(proto, config, restoring="--restoring" in argv)
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
