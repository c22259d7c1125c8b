import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.keys import KeyPeriod, period_of, read_keys, write_keys

FIRST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECOND = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)
PERIODS = tuple(KeyPeriod(since=since, key="ab" * 32) for since in (FIRST, SECOND))


@pytest.mark.parametrize(
    ("time", "period"),
    [
        (FIRST - dt.timedelta(days=9000), 0),
        (FIRST, 0),
        (SECOND - TICK, 0),
        (SECOND, 1),
        (SECOND + TICK, 1),
        (None, 0),
    ],
)
def test_a_key_holds_from_its_own_instant_on(time: dt.datetime | None, period: int) -> None:
    assert period_of(PERIODS, pa.array([time], TIME)).tolist() == [period]


def test_periods_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        f"periods:\n- {{since: 2026-09-01T02:00:00+02:00, key: {'bb' * 32}}}\n"
        f"- {{since: 2026-01-01T00:00:00Z, key: {'aa' * 40}}}\n"
    )
    periods = read_keys(path)
    assert [period.since for period in periods] == [FIRST, SECOND]
    assert [period.key for period in periods] == [b"\xaa" * 40, b"\xbb" * 32]


def test_new_keys_are_secret_and_differ(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / "folder" / name for name in ("one.yaml", "two.yaml")]
    keys = []
    for path in paths:
        write_keys(path)
        assert path.stat().st_mode & 0o777 == 0o600
        (period,) = read_keys(path)
        assert len(period.key) == 32
        assert period.since == dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
        keys.append(period.key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    "text",
    [
        "periods: {",
        "periods: 7",
        "- a",
        "",
        "keys: []",
        f"periods: [{{since: 2026-01-01T00:00:00, key: {'aa' * 32}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {'aa' * 31}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {'xy' * 32}}}]",
        b"\xff\xfe\xff",
    ],
)
def test_what_is_no_key_file_is_one_sentence(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AffectstreamError, match="is not a key file: it needs `periods`"):
        read_keys(path)


def test_a_key_file_without_a_key_says_so(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("periods: []")
    with pytest.raises(AffectstreamError, match="holds no key: add a period"):
        read_keys(path)
