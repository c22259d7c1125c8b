import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import schemas.arrow
from schemas.arrow import number_distinct

VALUES = st.sampled_from(["", "a", "b", "a\x1f", "\x1fa", None])


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1))
def test_distinct_numbers_combinations_in_the_order_they_come(rows: list[tuple]) -> None:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    number, first = number_distinct(*columns)
    known = list(dict.fromkeys(rows))
    assert [known[i] for i in number] == rows
    assert [rows[i] for i in first] == known


def test_distinct_does_not_overflow(monkeypatch) -> None:
    rows = pa.array(np.arange(100).astype(str))
    monkeypatch.setattr(schemas.arrow, "_INT64_MAX", 1000)
    number, first = number_distinct(rows, rows, rows, rows)
    assert number.tolist() == first.tolist() == list(range(100))
