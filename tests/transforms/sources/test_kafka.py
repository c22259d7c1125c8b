import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RAW
from tests.support.records import raw
from transforms.sources.kafka import unpack

_BYTES = st.none() | st.binary(max_size=40)
_RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "topic": st.sampled_from(["session.text", "governance.consent"]),
            "partition": st.integers(0, 2**31 - 1),
            "offset": st.integers(0, 2**62),
            "timestamp": st.integers(0, 2**42),
            "key": _BYTES,
            "headers": st.lists(
                st.fixed_dictionaries({"key": st.text(max_size=9), "value": _BYTES}), max_size=4
            ),
            "value": _BYTES,
        }
    ),
    max_size=9,
)


def pack(rows: list[dict]) -> bytes:
    """Lay records out as ``affectstream.Columns`` does."""
    headers = [pair for row in rows for pair in row["headers"]]

    def texts(values: list) -> bytes:
        encoded = [v.encode() if isinstance(v, str) else v for v in values]
        lengths = [-1 if v is None else len(v) for v in encoded]
        return struct.pack(f">{len(lengths)}i", *lengths) + b"".join(v or b"" for v in encoded)

    count = len(rows)
    return b"".join(
        [
            struct.pack(">2i", count, len(headers)),
            struct.pack(f">{count}i", *(row["partition"] for row in rows)),
            struct.pack(f">{count}q", *(row["offset"] for row in rows)),
            struct.pack(f">{count}q", *(row["timestamp"] for row in rows)),
            struct.pack(f">{count}i", *(len(row["headers"]) for row in rows)),
            *(texts([row[name] for row in rows]) for name in ("topic", "key", "value")),
            *(texts([pair[name] for pair in headers]) for name in ("key", "value")),
        ]
    )


@given(_RECORDS, _RECORDS)
def test_a_pack_is_the_records_that_went_into_it(in_time: list[dict], late: list[dict]) -> None:
    for batch, rows in zip(unpack(pack(in_time) + pack(late)), (in_time, late), strict=True):
        batch.validate(full=True)
        assert batch.schema == RAW
        assert batch.to_pylist() == (raw(*rows).to_pylist() if rows else [])


def test_null_and_empty_differ() -> None:
    base = {"topic": "session.text", "partition": 0, "offset": 1, "timestamp": 2, "headers": []}
    rows = [base | {"key": None, "value": b""}, base | {"key": b"", "value": None}]
    batch, late = unpack(pack(rows) + pack([]))
    assert not late.num_rows
    assert batch["key"].is_null().to_pylist() == [True, False]
    assert batch["value"].is_null().to_pylist() == [False, True]


def test_a_pack_that_is_cut_off_is_an_error() -> None:
    base = {"topic": "session.text", "partition": 0, "offset": 1, "timestamp": 2, "headers": []}
    whole = pack([base | {"key": b"k", "value": b"v"}]) + pack([])
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        unpack(whole[:30])
