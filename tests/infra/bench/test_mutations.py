"""What a stream of mutated records is made of."""

from pathlib import Path

import pyarrow.parquet as pq

from infra.bench.mutations.media import fit_checksums
from infra.bench.mutations.stream import BULK, write_mutated
from pipelines.sessionlogs.sample import sample_events


def test_the_seed_alone_decides_what_is_sent(tmp_path: Path) -> None:
    logs = []
    for name, seed in (("one", "a"), ("same", "a"), ("other", "b")):
        assert write_mutated(tmp_path / name, 300, seed, BULK) == 300
        logs.append(pq.read_table(tmp_path / name))
    assert logs[0].equals(logs[1])
    assert not logs[0]["value"].equals(logs[2]["value"])


def test_checksums_are_those_of_sound_media() -> None:
    """Pictures and clips of the sample have them right, and keep them; a damaged one gets them."""
    sound = [
        event.payload
        for event in sample_events()
        if event.kind in ("voice", "face") and event.planted is None and event.payload
    ]
    assert [fit_checksums(media) for media in sound] == sound
    for head, place in ((b"\x89PNG", 29), (b"OggS", 22)):
        media = next(media for media in sound if media.startswith(head))
        damaged = media[:place] + bytes(4) + media[place + 4 :]
        assert damaged != fit_checksums(damaged) == media
