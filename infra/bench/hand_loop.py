"""The stream part of the graph as a plain loop over the same functions: the benchmark's peer."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa

from model_serving.handler import observations
from model_serving.recogniser import ConstantRecogniser
from pipelines.config import Config
from pipelines.govern.ledger import read_ledger
from schemas.keys import read_keys
from schemas.stages import MAIN, kind_of
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.gate import Gate
from transforms.gating.consent import Consents
from transforms.gating.policy import read_policy
from transforms.pseudonymise import Pseudonyms
from transforms.scrub import scrub_events
from transforms.sources.recorded import MAX_ROWS, log_files, read_records
from transforms.validate import validate_batch
from transforms.window import MAX_HELD, split_by_shard, to_window_input, window_rows

_Held = dict[tuple[int, int], list[pa.RecordBatch]]


def window_by_hand(config: Config) -> int:
    """Take a log of texts and motion to WINDOW rows without Beam; return how many there are.

    No coder, no runner, no metrics, no dead letters: what is left is the work itself.
    """
    length_us = int(config.windows.length_s * 1e6)
    keys = read_keys(config.keys)
    pseudonyms, ids = Pseudonyms(keys), EventIds(keys)
    gate = Gate(
        read_policy(config.policy, config.scenarios, config.evidence), Consents(read_ledger(config))
    )
    held: _Held = defaultdict(list)
    waiting: list[pa.RecordBatch] = []

    def split() -> None:
        for shard, at, piece in split_by_shard(
            pa.concat_batches(waiting), config.windows.shards, length_us
        ):
            held[shard, at // length_us].append(piece)
        waiting.clear()

    for path in log_files(config.recorded):
        for raw in read_records(path):
            for tag, events in decode_batch(raw, ids):
                if tag == MAIN and events.num_rows:
                    valid, _ = validate_batch(events, kind_of(events))
                    waiting += _observe(gate, pseudonyms.batch(valid))
            if sum(batch.num_rows for batch in waiting) + MAX_ROWS > MAX_HELD:
                split()
    if waiting:
        split()
    rows = 0
    for (_, window), batches in held.items():
        start = dt.datetime.fromtimestamp(window * config.windows.length_s, dt.UTC)
        end = start + dt.timedelta(microseconds=length_us)
        rows += window_rows(batches, start, end, late=False).num_rows
    return rows


def _observe(gate: Gate, events: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    recogniser = ConstantRecogniser()
    for tag, allowed in gate.batch(events):
        if tag == MAIN and allowed.num_rows:
            for _, clean in scrub_events(allowed):
                estimates = recogniser.estimate(clean)
                yield to_window_input(observations(clean, estimates, kind_of(clean), recogniser))
