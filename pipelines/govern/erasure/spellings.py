"""The ids that governance records name, and which of them are other spellings of one."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import closing

import pyarrow as pa
from kafka import KafkaConsumer

from pipelines.config import Config
from pipelines.govern.ledger import read_landed, signers_of
from pipelines.kafka.clients import partitions_of, read_to_end, reader_settings
from pipelines.kafka.reasons import explain_kafka_error
from schemas.errors import AffectstreamError
from schemas.events import GOVERNANCE
from schemas.keys import Keys
from schemas.stages import MAIN
from schemas.table import Root
from schemas.tables import CONSENT_LEDGER
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.pseudonymise import Pseudonyms
from transforms.sources.recorded import read_topics


def governance_records(config: Config, topics: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Yield the RAW records of these topics: of the log, or else of the broker.

    Where the settings name neither there are none.

    Raises:
        AffectstreamError: the broker does not answer.
    """
    if config.log is not None:
        yield from read_topics(config.log, [*topics])
        return
    if not {"kafka", "feed"} & config.model_fields_set:
        return
    with (
        explain_kafka_error(config.kafka),
        closing(KafkaConsumer(**reader_settings(config.kafka))) as consumer,
    ):
        places = partitions_of(consumer, [*topics])
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        yield from read_to_end(consumer, places)


def named_subjects(config: Config, keys: Keys) -> set[str]:
    """Return the raw subject ids of all governance records that can still be read."""
    ids, signers, found = EventIds(keys), signers_of(config), set[str]()
    for raw in governance_records(config, [*GOVERNANCE]):
        for tag, events in decode_batch(raw, ids, signers):
            if tag == MAIN:
                found.update(events["subject"].unique().drop_null().to_pylist())
    return found


def landed_references(root: Root) -> pa.Table:
    """Return the distinct references in the consent ledger: all spellings, exact id, subject."""
    names = ["person_fold", "person_ref", "subject_ref"]
    empty = pa.schema([CONSENT_LEDGER.field(name) for name in names]).empty_table()
    rows = [pa.table(batch.select(names)) for batch in read_landed(root)]
    found = pa.concat_tables([empty, *rows]).group_by(names).aggregate([])
    return found.filter(found["person_ref"].is_valid())


def other_spellings(
    config: Config, keys: Keys, subjects: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """Return the other spellings under which the consent ledger knows these raw subject ids.

    The ledger itself has references only: the ids are those of the records that it came from.

    Raises:
        AffectstreamError: the ledger knows another spelling that no record names any more.
    """
    pseudonyms = Pseudonyms(keys)
    landed: defaultdict[str, set[str]] = defaultdict(set)
    for row in landed_references(config.tables).to_pylist():
        landed[row["person_fold"]].add(row["person_ref"])
    exact = {pseudonyms.person(subject)[0] for subject in subjects}
    missing = {subject: landed[pseudonyms.person(subject)[1]] - exact for subject in subjects}
    wanted: Set[str] = set().union(*missing.values())
    if not wanted:
        return {}
    spelt = {pseudonyms.person(raw)[0]: raw for raw in named_subjects(config, keys)}
    if wanted - spelt.keys():
        unknown = [subject for subject, refs in missing.items() if refs - spelt.keys()]
        message = (
            f"consents name {', '.join(map(repr, unknown))} in another spelling too (case, quotes, "
            "invisible characters), and no record shows it any more: name that spelling as well, "
            "or give --exact if it is somebody else's; nothing was erased"
        )
        raise AffectstreamError(message)
    return {
        subject: sorted(spelt[ref] for ref in refs) for subject, refs in missing.items() if refs
    }
