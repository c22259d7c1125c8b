"""The graph of a live job: checks what it needs, builds it, and compares its version.

A checkpoint can be restored only by a graph of the same version.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.flink_runner import FlinkRunner

from pipelines.affect import build_pipeline
from pipelines.config import Config
from pipelines.kafka.clients import java_settings
from pipelines.live.guards.job_token import TOKEN_FILE, show_token
from pipelines.live.state_folder import (
    GRAPH_FILE,
    LOG_FILE,
    RESTORING,
    UNUSABLE,
    UNUSABLE_FILE,
)
from pipelines.run.preflight import check_live
from schemas import events
from schemas.errors import AffectstreamError
from schemas.strict import open_private, write_private
from schemas.tables import EMOTION_FEATURES
from transforms.decide import IN_FLIGHT, NEEDED
from transforms.deciding.avatar import AVATARS
from transforms.deciding.baseline import BASELINE
from transforms.deciding.history import HISTORY
from transforms.deciding.runs import RUNS


def write_graph(argv: list[str]) -> int:
    """Write the graph of a job into its state folder, and into the job's log what was said.

    ``argv`` is the path of the settings, ``--restoring`` where a checkpoint is restored, and the
    runner's flags. Returns 0, or UNUSABLE where the job cannot start.
    """
    path, *flags = argv
    config = Config.model_validate_json(Path(path).read_text(encoding="utf-8"))
    state = config.live.state.absolute()
    with open_private(state / LOG_FILE) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    restoring = flags[:1] == [RESTORING]
    try:
        show_token(state / TOKEN_FILE)
        proto = build(config, PipelineOptions(flags[restoring:]), restoring=restoring)
    except AffectstreamError as error:
        write_private(state / UNUSABLE_FILE, str(error).encode())
        return UNUSABLE
    write_private(state / GRAPH_FILE, proto.SerializeToString())
    return 0


def build(config: Config, options: PipelineOptions, *, restoring: bool) -> Any:
    """Check what the job needs and build its graph; return the pipeline's proto.

    Raises:
        AffectstreamError: something that the job needs is missing or cannot be used, or the
            checkpoint that it restores was taken of another graph.
    """
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


def check_graph(proto: Any, config: Config, *, restoring: bool) -> None:
    """Note the graph's version in the state folder, and compare it where a checkpoint is restored.

    Raises:
        AffectstreamError: the newest checkpoint was taken of another graph.
    """
    state = config.live.state.absolute()
    path, version = state / "graph", graph_version(proto, config)
    if restoring and path.exists() and path.read_text() != version:
        message = (
            f"the checkpoints in {state} are of another version of the graph, or of other "
            "`windows` or `kafka` in the configuration, which they hold: start again with "
            "`--state` naming a new folder; what has landed is not landed twice"
        )
        raise AffectstreamError(message)
    write_private(path, version.encode())


def graph_version(proto: Any, config: Config) -> str:
    """Return 32 hex digits over what the state in a checkpoint depends on.

    These are all steps by name and what each keeps in state, how they window, the kinds of coders,
    the schemas of what is kept and its key, the settings of windows, since shards stand only in
    pickled functions, and those of Kafka and the jars, since a checkpoint holds the source as it
    was built. Ids and pickles are left out: the same graph may get others when it is built again.
    """
    kafka = config.kafka.model_dump_json(exclude={"group"})
    parts = [config.windows.model_dump_json(), kafka, *_describe_source(config), *_state_schemas()]
    for step in proto.components.transforms.values():
        parts.append(f"step {step.unique_name} {step.spec.urn} {_states_and_timers(step.spec)}")
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


def _describe_source(config: Config) -> list[str]:
    """Return what the source was built from: a checkpoint holds it whole.

    The password stands in a file that the source reads at each login, so a new one changes nothing.
    ``make flink`` writes beside its jars what they were built from; of other jars nothing is known.
    """
    built_from = config.live.jars / "fetched"
    jars = built_from.read_text(encoding="utf-8") if built_from.is_file() else ""
    return [json.dumps(java_settings(config.kafka) | {"group.id": ""}), jars]


def _state_schemas() -> list[str]:
    """Return the schemas of the batches in state, without their docs, and their key.

    Rows that were stored under another key would belong to no window and no history.
    """
    pending = [f"{name}: {EMOTION_FEATURES.field(name).type}" for name in NEEDED]
    kept = (events.HELD, HISTORY, RUNS, BASELINE, AVATARS)
    stored = [f"{schema.names} {schema.types}" for schema in kept]
    return [*stored, str(pending), f"beside {IN_FLIGHT}", f"key {events.WINDOW_KEY}"]


def _states_and_timers(spec: Any) -> list[str]:
    """Return the names of a step's states, with their kinds, and of its timers."""
    if spec.urn != common_urns.primitives.PAR_DO.urn:
        return []
    step = beam_runner_api_pb2.ParDoPayload.FromString(spec.payload)
    states = [f"{name} {state.WhichOneof('spec')}" for name, state in step.state_specs.items()]
    return sorted([*states, *step.timer_family_specs])
