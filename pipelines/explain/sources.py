"""The source records of a window's observations in a recorded log, and what moved each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from model_serving.attribution.attribute import attribute
from model_serving.attribution.occlusion import Attribution
from model_serving.coarse import round_scores
from model_serving.loader import load_recogniser
from model_serving.recogniser import Recogniser
from pipelines.config import Config
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.stages import MAIN, Tagged
from schemas.vocabularies import EXPRESSIONS
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.fetch import fetch_batch
from transforms.isolation.isolate import Isolation
from transforms.scrub import scrub_events
from transforms.sources.recorded import log_files, read_topics


@dataclass(frozen=True, slots=True)
class Source:
    """The record of an observation, and what moved the observation; ``note`` says what is odd.

    ``attribution`` is None where the recogniser cannot judge the event, or is no such model.
    """

    event_id: str
    modality: str
    topic: str
    partition: int
    offset: int
    attribution: Attribution | None
    note: str | None


def find_sources(
    config: Config, log: Path, observations: list[dict[str, Any]], expression: str
) -> list[Source]:
    """Return the records of these observations that a log holds, in the order of the observations.

    Their events take the way of the stream, from decoding to the recogniser, and nothing of them is
    written. ``expression`` is whose probability is attributed.

    Raises:
        AffectstreamError: the log is none, a model cannot be loaded, or no record in it is one of
            these under the keys at hand.
    """
    log_files(log)
    events = _find_events(config, log, observations)
    if not events:
        message = (
            f"{log} holds no record of this decision's {len(observations)} observations: give the "
            "log that it was made of, and the keys that it was made under"
        )
        raise AffectstreamError(message)
    top = EXPRESSIONS.index(expression)
    return [
        _source(config, events[row["event_id"]], row, top)
        for row in observations
        if row["event_id"] in events
    ]


def _find_events(
    config: Config, log: Path, observations: list[dict[str, Any]]
) -> dict[str, pa.RecordBatch]:
    """Return event id → its row as decoded; of several records with one id, that which landed."""
    content = {row["event_id"]: row.get("content") for row in observations}
    wanted = pa.array(sorted(content), pa.string())
    ids, isolation = EventIds(read_keys(config.keys)), Isolation("FindSources", watched=False)

    def find(raw: pa.RecordBatch) -> Tagged:
        for tag, events in decode_batch(raw, ids, units=config.motion.units):
            if tag == MAIN:
                yield tag, events.filter(pc.is_in(events["event_id"], wanted))

    found: dict[str, pa.RecordBatch] = {}
    topics = [MODALITIES[name].topic for name in {row["modality"] for row in observations}]
    for raw in read_topics(log, sorted(topics)):
        for tag, events in isolation.work(find, raw):
            for row in range(events.num_rows) if tag == MAIN else ():
                event_id, said = events["event_id"][row].as_py(), events["content"][row].as_py()
                if event_id not in found or content[event_id] == said:
                    found[event_id] = events.slice(row, 1).take(pa.array([0]))
    return found


def _source(config: Config, event: pa.RecordBatch, row: dict[str, Any], top: int) -> Source:
    modality = row["modality"]
    place = {name: event[name][0].as_py() for name in ("topic", "partition", "offset")}
    settings = config.models.recogniser(modality)
    recogniser = load_recogniser(
        modality, settings.model, settings.card, settings.device, config.models.gaps
    )
    whole = next(_as_recognised(config, event), None)
    if whole is None:
        return Source(
            row["event_id"], modality, **place, attribution=None, note="its media are away"
        )
    found = attribute(modality, recogniser, whole, top)
    note = _difference(recogniser, whole, row)
    return Source(row["event_id"], modality, **place, attribution=found, note=note)


def _as_recognised(config: Config, event: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the event as its recogniser sees it: with its media, or scrubbed; none if they fail."""
    for tag, fetched in fetch_batch(event, config.media):
        if tag == MAIN and fetched.num_rows:
            yield from (scrubbed for _, scrubbed in scrub_events(fetched))


def _difference(recogniser: Recogniser, event: pa.RecordBatch, row: dict[str, Any]) -> str | None:
    """Say how an observation that is made now differs from the one that landed, None if not."""
    if recogniser.model_id != (then := row.get("model_id")):
        return f"{recogniser.model_id} is asked now, {then or 'a hidden model'} was asked then"
    if "scores" not in row:
        return "the role hides its scores"
    found = recogniser.estimate(event)
    if not len(found.rows):
        return "it cannot be recognised any more"
    apart = abs(round_scores(found.scores)[0] - row["scores"]).max()
    return None if apart < 0.02 else f"its scores are {apart:.2f} from those that landed"
