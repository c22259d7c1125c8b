"""The stream part of the graph as a plain loop over the same functions: the benchmark's peer."""

import datetime as dt
from collections import defaultdict

import pyarrow as pa

from model_serving.handler import observations
from model_serving.recogniser import ConstantRecogniser
from pipelines.config import Config
from pipelines.ledger import read_ledger
from schemas.events import kind_of
from transforms.consent import Consents
from transforms.decode import decode_batch
from transforms.gate import Gate, read_policy
from transforms.log import log_files, read_records
from transforms.pseudonymise import Pseudonyms, read_keys
from transforms.scrub import scrub_events
from transforms.stage import MAIN
from transforms.validate import validate_batch
from transforms.window import hold, split_by_shard, window_rows

_Held = dict[tuple[int, int], list[pa.RecordBatch]]


def window_by_hand(config: Config) -> int:
    """Take a log of texts and motion to WINDOW rows without Beam; return how many there are.

    No coder, no runner, no metrics, no dead letters: what is left is the work itself.
    """
    length_us = int(config.windows.length_s * 1e6)
    pseudonyms = Pseudonyms(read_keys(config.keys))
    gate = Gate(read_policy(config.policy), Consents.of(read_ledger(config)))
    held: _Held = defaultdict(list)
    for path in log_files(config.log):
        for raw in read_records(path):
            for tag, events in decode_batch(raw):
                if tag == MAIN and events.num_rows:
                    valid, _ = validate_batch(events, kind_of(events))
                    _hold(gate, pseudonyms.batch(valid), config.windows.shards, length_us, held)
    rows = 0
    for (_, window), batches in held.items():
        start = dt.datetime.fromtimestamp(window * config.windows.length_s, dt.UTC)
        end = start + dt.timedelta(microseconds=length_us)
        rows += window_rows(batches, start, end, late=False).num_rows
    return rows


def _hold(gate: Gate, events: pa.RecordBatch, shards: int, length_us: int, held: _Held) -> None:
    recogniser = ConstantRecogniser()
    for tag, allowed in gate.batch(events):
        if tag != MAIN or not allowed.num_rows:
            continue
        for _, clean in scrub_events(allowed):
            estimates = recogniser.estimate(clean)
            observed = observations(clean, estimates, kind_of(clean), recogniser)
            for shard, earliest, rows in split_by_shard(hold(observed), shards, length_us):
                held[shard, earliest // length_us].append(rows)
