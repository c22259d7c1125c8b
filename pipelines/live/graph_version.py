"""The version of a graph: a checkpoint can be restored only by a graph of the same one."""

import hashlib
import json
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines.config import Config
from pipelines.kafka.clients import java_settings
from schemas import events
from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES
from transforms.decide import NEEDED
from transforms.deciding.history import HISTORY


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
    path.write_text(version)


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
    stored = [f"{schema.names} {schema.types}" for schema in (events.HELD, HISTORY)]
    return [*stored, str(pending), f"key {events.WINDOW_KEY}"]


def _states_and_timers(spec: Any) -> list[str]:
    """Return the names of a step's states, with their kinds, and of its timers."""
    if spec.urn != common_urns.primitives.PAR_DO.urn:
        return []
    step = beam_runner_api_pb2.ParDoPayload.FromString(spec.payload)
    states = [f"{name} {state.WhichOneof('spec')}" for name, state in step.state_specs.items()]
    return sorted([*states, *step.timer_family_specs])
