from hashlib import blake2b

import pyarrow as pa

from schemas.ids import first_half, stable_ids


def test_ids_are_stable_and_keep_columns_apart() -> None:
    ids = stable_ids(
        pa.array(["a", "ab", "a", None]), pa.array(["bc", "c", "bc", "bc"])
    ).to_pylist()
    assert ids[0] == ids[2] == blake2b(b"1:a2:bc", digest_size=16).hexdigest()
    assert len(set(ids)) == 3
    assert all(len(name) == 32 for name in ids)


def test_the_first_half_is_the_first_sixteen_digits() -> None:
    ids = stable_ids(pa.array([str(n) for n in range(50)]))
    expected = [int(name[:16], 16) for name in ids.to_pylist()]
    assert first_half(ids).tolist() == expected
    assert first_half(ids.slice(7, 9)).tolist() == expected[7:16]
