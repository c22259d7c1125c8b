"""What passed the gate before a withdrawal was known, though it happened after it: to be erased."""

from collections.abc import Iterator, Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.config import Config
from pipelines.govern.erasure.people import known_regions
from pipelines.govern.erasure.spellings import named_subjects
from pipelines.govern.ledger import read_landed
from pipelines.tables.arrow_types import rows_with
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.table import Root
from schemas.tables import CONSENT_LEDGER, TABLES
from transforms.gating.consent import WITHDRAWN, Consents
from transforms.pseudonymise import Pseudonyms

_OF_WINDOWS = ("expression_decisions", "review_queue")
"""Tables whose rows follow from a window: they go with it."""


def withdrawn_rows(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Yield for each table the ids of rows of people who had withdrawn consent by the rows' time.

    A row is listed where the landed ledger, as it stands now, answers by a withdrawal or an erasure
    request: for an observation, of its subject, purpose and modality at its event time; for a
    window, of each modality in it at the window's start or end, so that one which reaches past a
    withdrawal is listed as a whole. Decisions and reviews go with their windows. A later grant
    opens only what comes after it. Subjects are known by the references that the ledger has, and by
    the ids in governance records that can still be read, in every region and under every key. What
    nobody signed where sources sign, and so only suspends, lists nothing: its time may be forged.
    """
    landed = read_landed(config.tables)
    ledger = [rows.filter(pc.not_equal(rows["action"], "suspended")) for rows in landed]
    people = _objectors(config, ledger)
    if not people.num_rows:
        return
    asked = _Asked(Consents(ledger), people)
    rows = _rows_of(config.tables, "observations", people, "purpose", "event_time", "modality")
    gone = np.zeros(len(rows), bool)
    for name in MODALITIES:
        is_it = pc.equal(rows["modality"], name).to_numpy()
        gone |= is_it & asked.withdrawn(rows, rows["event_time"], name)
    yield "observations", rows["event_id"].filter(pa.array(gone)).to_pylist()
    windows = _windows(config.tables, people, asked)
    yield "emotion_features", windows.to_pylist()
    for table in _OF_WINDOWS:
        rows = _rows_of(config.tables, table, people, "window_id")
        listed = pc.is_in(rows["window_id"], windows)
        yield table, rows[TABLES[table].row_id].filter(listed).to_pylist()


def _windows(root: Root, people: pa.Table, asked: "_Asked") -> pa.Array:
    counts = [f"n_{name}" for name in MODALITIES]
    names = ("purpose", "window_start", "window_end", *counts)
    rows = _rows_of(root, "emotion_features", people, *names)
    last = pc.subtract(rows["window_end"], pa.scalar(1, pa.duration("us")))
    gone = np.zeros(len(rows), bool)
    for name in MODALITIES:
        within = pc.greater(rows[f"n_{name}"], 0).to_numpy()
        for times in (rows["window_start"], last):
            gone |= within & asked.withdrawn(rows, times, name)
    return rows["window_id"].filter(pa.array(gone)).combine_chunks()


class _Asked:
    """The consents, asked by the references that land instead of those of persons."""

    def __init__(self, consents: Consents, people: pa.Table) -> None:
        self._consents, self._people = consents, people

    def withdrawn(self, rows: pa.Table, times: pa.ChunkedArray, modality: str) -> np.ndarray:
        """Return for which rows a consent to this modality was withdrawn by these times."""
        who = pc.index_in(rows["subject_ref"], self._people["subject_ref"]).combine_chunks()
        person = {
            name: pa.DictionaryArray.from_arrays(who, self._people[name].combine_chunks())
            for name in ("person_ref", "person_fold")
        }
        told = {"purpose": rows["purpose"].combine_chunks(), "event_time": times.combine_chunks()}
        return self._consents.ask(pa.record_batch(person | told), modality) == WITHDRAWN


def _objectors(config: Config, ledger: list[pa.RecordBatch]) -> pa.Table:
    """Return references of those who ever withdrew, in any spelling: one row for each subject."""
    names = ["subject_ref", "person_ref", "person_fold"]
    rows = pa.Table.from_batches(ledger, CONSENT_LEDGER)
    objected = pc.unique(rows.filter(pc.not_equal(rows["action"], "granted"))["person_fold"])
    if not len(objected):
        return rows.select(names).slice(0, 0)
    theirs = rows.filter(pc.is_in(rows["person_fold"], objected)).select(names)
    whole = pa.concat_tables([theirs, _in_all_regions(config, {*objected.to_pylist()})])
    found = whole.group_by(names).aggregate([])
    return found.filter(found["subject_ref"].is_valid())


def _in_all_regions(config: Config, folds: Set[str]) -> pa.Table:
    """Return the references of these persons, as governance records spell them."""
    keys = read_keys(config.keys)
    pseudonyms, regions = Pseudonyms(keys), known_regions(config)
    rows = []
    for raw in sorted(named_subjects(config, keys)):
        exact, fold = pseudonyms.person(raw)
        if fold in folds:
            rows += [(ref, exact, fold) for ref in pseudonyms.references(raw, regions)]
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    names = ("subject_ref", "person_ref", "person_fold")
    made = {
        name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)
    }
    return pa.table(made, pa.schema([CONSENT_LEDGER.field(name) for name in names]))


def _rows_of(root: Root, table: str, people: pa.Table, *names: str) -> pa.Table:
    """Return row id, subject and these columns of the people's rows, none where no table stands."""
    columns = list(dict.fromkeys([TABLES[table].row_id, "subject_ref", *names]))
    place = f"{root}/{table}"
    if not DeltaTable.is_deltatable(place):
        return TABLES[table].schema.empty_table().select(columns)
    theirs = people["subject_ref"].to_pylist()
    found = rows_with(DeltaTable(place), "subject_ref", theirs, columns).select(columns)
    return found.cast(pa.schema([TABLES[table].schema.field(name) for name in columns]))
