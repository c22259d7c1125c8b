"""Key files: what they say, and what of them is refused."""

import datetime as dt
import hashlib
import hmac
import os
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from schemas.errors import AffectstreamError
from schemas.events import TIME
from schemas.keys import (
    KeyPeriod,
    Keys,
    ShreddedPeriod,
    fingerprint,
    periods_of,
    read_keys,
    write_keys,
)
from tests.support.records import period, write_key_file

FIRST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECOND = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)
WEEK = dt.timedelta(days=7)
ONE, TWO = period(FIRST.isoformat(), "one"), period(SECOND.isoformat(), "two")
EU = period("2026-06-01T00:00:00Z", "of the EU", "EU")


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def found(keys: Keys, time: dt.datetime | None, region: str | None = None) -> tuple[int, int]:
    own, prior = periods_of(keys, pa.array([time], TIME), pa.array([region], pa.string()))
    return int(own[0]), int(prior[0])


@pytest.mark.parametrize(
    ("time", "own"),
    [
        (FIRST - dt.timedelta(days=9000), 0),
        (FIRST, 0),
        (SECOND - TICK, 0),
        (SECOND, 1),
        (SECOND + TICK, 1),
        (None, 0),
    ],
)
def test_a_key_holds_from_its_own_instant_on(time: dt.datetime | None, own: int) -> None:
    assert found(Keys.of([ONE, TWO]), time)[0] == own


def test_the_key_before_is_named_for_a_week() -> None:
    keys = Keys.of([ONE, TWO])
    times = [FIRST, SECOND - TICK, SECOND, SECOND + WEEK - TICK, SECOND + WEEK]
    assert [found(keys, time)[1] for time in times] == [-1, -1, 0, 0, -1]


def test_a_region_has_its_own_keys_from_their_begin_on() -> None:
    keys = Keys.of([TWO, EU, ONE])
    assert [each.region for each in keys.periods] == [None, "EU", None]
    assert found(keys, EU.since - TICK, "EU") == (0, -1), "those of all others before"
    assert found(keys, EU.since, "EU") == (1, 0)
    assert found(keys, SECOND, "EU") == (1, -1), "others' rotation is not its own"
    for region in ("US", None, "eu"):
        assert found(keys, SECOND, region) == (2, 0)
    rows = pa.array(["EU", None, "US", "EU"]), pa.array([SECOND, SECOND, FIRST, FIRST], TIME)
    assert periods_of(keys, rows[1], rows[0])[0].tolist() == [1, 2, 0, 0]


def shredded(period: Any) -> ShreddedPeriod:
    check = fingerprint(period.key)
    return ShreddedPeriod(since=period.since, check=check, region=period.region)


def test_a_time_whose_key_was_shredded_has_none() -> None:
    keys = Keys.of([TWO, EU], persons=b"p" + TWO.key, shredded=[shredded(ONE)])
    assert found(keys, SECOND - TICK) == (-1, -1)
    assert found(keys, FIRST - WEEK) == (-1, -1), "the first would hold for all time before"
    assert found(keys, SECOND) == (1, -1), "and no reference under it is named"
    assert found(keys, EU.since - TICK, "EU") == (-1, -1)
    assert found(keys, EU.since, "EU") == (0, -1)
    later = period(SECOND.isoformat(), "later", "EU")
    of_region = Keys.of([ONE, TWO, later], persons=ONE.key, shredded=[shredded(EU)])
    assert found(of_region, EU.since, "EU")[0] == -1, "not under the key of all others"
    assert found(of_region, EU.since - TICK, "EU") == (0, -1)
    assert found(of_region, EU.since) == (0, -1)


def test_periods_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.touch(mode=0o600)
    path.write_text(
        f"periods:\n- {{since: 2026-09-01T02:00:00+02:00, key: {key('b')}}}\n"
        f"- {{since: 2026-01-01T00:00:00Z, key: {key('a')}ffff}}\n"
    )
    keys = read_keys(path)
    assert [period.since for period in keys.periods] == [FIRST, SECOND]
    first = bytes.fromhex(key("a")) + b"\xff\xff"
    assert [period.key for period in keys.periods] == [first, bytes.fromhex(key("b"))]
    assert keys.person == first, "a file of before rotations has no other for persons"
    assert keys.tombstone == hmac.digest(first, b"tombstones", "sha256")


def test_keys_that_stay_are_those_of_the_file(tmp_path: Path) -> None:
    names = {"persons": key("of persons"), "tombstone": key("of tombstones")}
    keys = read_keys(write_key_file(tmp_path / "keys.yaml", ONE, TWO, **names))
    assert (keys.person.hex(), keys.tombstone.hex()) == tuple(names.values())
    only = read_keys(write_key_file(tmp_path / "only.yaml", TWO, persons=ONE.key.hex()))
    assert only.tombstone == hmac.digest(ONE.key, b"tombstones", "sha256")


def test_new_keys_are_secret_and_differ(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / "folder" / name for name in ("one.yaml", "two.yaml")]
    seen = []
    for path in paths:
        write_keys(path, ["EU", "CN", "EU"])
        assert path.stat().st_mode & 0o777 == 0o600
        keys = read_keys(path)
        assert [each.region for each in keys.periods] == [None, "EU", "CN"]
        assert {each.since for each in keys.periods} == {dt.datetime(2000, 1, 1, tzinfo=dt.UTC)}
        seen += [*(each.key for each in keys.periods), keys.person, keys.tombstone]
    assert {len(each) for each in seen} == {32}
    assert len(set(seen)) == 10
    with pytest.raises(AffectstreamError, match="never overwritten"):
        write_keys(paths[0])
    assert read_keys(paths[0]).periods[0].key == seen[0]


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(AffectstreamError, match="never overwritten"):
        write_keys(tmp_path / "keys.yaml")
    assert not (tmp_path / "elsewhere.yaml").exists()


@pytest.mark.parametrize(
    "text",
    [
        "periods: {",
        "periods: 7",
        "- a",
        "",
        "keys: []",
        f"periods: [{{since: 2026-01-01T00:00:00, key: {key('a')}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')[:62]}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {'xy' * 32}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {'12' * 32}}}]",
        *(
            f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}, region: {region}}}]"
            for region in ("''", "de", "Mars", "EU-27-X")
        ),
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}, until: 2027-01-01}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}}}]\ntombstones: {key('b')}",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}}}]\nperiods: []",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}, key: {key('b')}}}]",
        f"periods: [{{since: 2026-13-01T00:00:00Z, key: {key('a')}}}]",
        f"periods: [{{since: 9999-12-31T23:59:59-12:00, key: {key('a')}}}]",
        f"periods: [{{since: 0001-01-01T00:00:00+12:00, key: {key('a')}}}]",
        f"periods: [{{since: 2026-01-01, key: {key('a')}}}]",
        f"periods: [{{since: 2026-01-01T00:00:00Z, key: {key('a')}}}]\ntombstone: ''",
        b"\xff\xfe\xff",
    ],
)
def test_what_is_no_key_file_is_one_sentence(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "keys.yaml"
    path.touch(mode=0o600)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AffectstreamError, match="is not a key file: it needs `periods`") as raised:
        read_keys(path)
    told = "".join(traceback.format_exception(raised.value))
    assert not any(secret in told for secret in (key("a"), key("b"), "xy" * 32, "12" * 32))
    assert "\n" not in str(raised.value)


def test_random_keys_are_not_weak() -> None:
    for number in range(5_000):
        Keys.of([KeyPeriod(since=FIRST, key=hashlib.sha256(b"%d" % number).digest())])


def test_a_period_is_either_there_or_shredded(tmp_path: Path) -> None:
    staying = {"persons": key("p"), "tombstone": key("t")}
    two = [weak(key("a")), weak(key("b")) | {"since": "2026-02-01T00:00:00Z"}]
    path = write_key_file(tmp_path / "keys.yaml")
    for gone, said in (
        ({"since": "2026-01-01T00:00:00Z", "check": "a" * 32}, "both with its key and as shredded"),
        ({"since": "2025-01-01T00:00:00Z", "check": fingerprint(bytes.fromhex(key("b")))},
         "has a key in the period since 2026-02-01.* that was shredded"),
    ):  # fmt: skip
        path.write_text(yaml.safe_dump({"periods": two, "shredded": [gone]} | staying))
        with pytest.raises(AffectstreamError, match=said):
            read_keys(path)
    path.write_text(yaml.safe_dump({"periods": two} | staying | {"persons": key("b")}))
    with pytest.raises(AffectstreamError, match=r"one key in the period since 2026-02.*`persons`"):
        read_keys(path)


def test_a_key_file_without_a_key_says_so(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="holds no key: add a period"):
        read_keys(write_key_file(tmp_path / "keys.yaml"))


def weak(key: str) -> dict[str, str]:
    return {"since": "2026-01-01T00:00:00Z", "key": key}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([weak("00" * 32)], "weak key in the period since 2026-01-01T00:00:00+00:00, which is"),
        ([weak("ff" * 64)], "make one with `keys create`"),
        ([weak("0123456789abcdef" * 8)], "weak key"),
        ([weak(b"correct horse ba".hex() * 2)], "weak key"),
        ([weak(bytes(range(32)).hex())], "weak key"),
        ([weak(bytes(range(0, 256, 7)).hex())], "weak key"),
        ([weak(b"my secret password for keys 2026".hex())], "weak key"),
        ([weak(key("a")[:32] * 2)], "weak key"),
        ([weak(key("a")), weak(key("b"))], "two periods since 2026-01-01T00:00:00+00:00: remove"),
        (
            [weak(key("a")), weak(key("b")) | {"since": "2026-01-01T08:00:00+08:00"}],
            "two periods since",
        ),
        (
            [weak(key("a")), *(weak(key(name)) | {"region": "EU"} for name in "bc")],
            "two periods since 2026-01-01T00:00:00+00:00 of region EU",
        ),
        (
            [weak(key("a")), weak(key("a")) | {"since": "2026-02-01T00:00:00Z"}],
            "one key in the period since 2026-01-01T00:00:00+00:00 and in the period since 2026-02",
        ),
        ([weak(key("a")), weak(key("a")) | {"region": "EU"}], "one key in the period since"),
        ([weak(key("a")) | {"region": "EU"}], "add a period without `region` for all others"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, document: list[dict[str, str]], said: str
) -> None:
    path = write_key_file(tmp_path / "keys.yaml")
    path.write_text(yaml.safe_dump({"periods": document}))
    with pytest.raises(AffectstreamError) as raised:
        read_keys(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(f"{path} ")
    assert key("a") not in str(raised.value)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"tombstone": ONE.key.hex()}, "one key in the period since 2026-01-01"),
        ({"tombstone": key("x"), "persons": key("x")}, "one key in `persons` and in `tombstone`"),
        ({"persons": "00" * 32}, "weak key in `persons`"),
        ({"tombstone": "ab" * 32}, "weak key in `tombstone`"),
    ],
)
def test_keys_that_stay_are_held_to_the_same(
    tmp_path: Path, members: dict[str, str], said: str
) -> None:
    path = write_key_file(tmp_path / "keys.yaml", ONE, **members)
    with pytest.raises(AffectstreamError) as raised:
        read_keys(path)
    assert said in str(raised.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.yaml"
    write_keys(path)
    path.chmod(mode)
    with pytest.raises(AffectstreamError, match=f"others may read .*: chmod 600 {path}"):
        read_keys(path)
    path.chmod(0o400)
    assert len(read_keys(path).periods) == 1


def test_what_is_no_file_is_one_sentence_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AffectstreamError, match=r"no key file at .*keys create"):
            read_keys(path)


def test_keys_are_shown_by_nothing_that_prints_them() -> None:
    keys = Keys.of([ONE, EU], tombstone=TWO.key)
    shown = f"{keys!r} {keys!s} {keys.periods[0]!r} {keys.periods[0]}"
    for secret in (ONE.key, EU.key, TWO.key):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_a_fingerprint_is_of_the_key_alone_and_no_plain_hash() -> None:
    made = fingerprint(ONE.key)
    assert len(made) == 32
    assert made != fingerprint(TWO.key)
    assert made == hmac.new(ONE.key, b"affectstream key check", "sha256").hexdigest()[:32]


class _Vault:
    """A distribution on ``sys.path``, with a module whose functions are providers."""

    def __init__(self, folder: Path) -> None:
        (folder / "vault_of_tests.py").write_text(
            "import yaml\n"
            "from schemas.keys import parse_keys\n"
            f"TEXT = {yaml.safe_dump({'periods': [weak(key('a'))]})!r}\n"
            "def keys(): return parse_keys(yaml.safe_load(TEXT), 'vault')\n"
            "def nothing(): return {'periods': []}\n"
            "def away(): raise ConnectionError('no answer of https://user:pass@vault')\n"
        )
        info = folder / "vault_of_tests-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: vault-of-tests\nVersion: 1.0\n"
        )
        names = [f"{name} = vault_of_tests:{name}" for name in ("keys", "nothing", "away")]
        lines = "\n".join(names)
        (info / "entry_points.txt").write_text(f"[affectstream.keys]\n{lines}\n")


def test_a_provider_gives_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AffectstreamError, match=r"no key provider 'keys' .*\(installed: none\)"):
        read_keys(Path("provider:keys"))
    _Vault(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert read_keys(Path("provider:keys")).periods[0].key.hex() == key("a")
    with pytest.raises(AffectstreamError, match=r"'vault' .*installed: away, keys, nothing"):
        read_keys(Path("provider:vault"))
    with pytest.raises(AffectstreamError, match=r"gave no schemas\.keys\.Keys"):
        read_keys(Path("provider:nothing"))
    with pytest.raises(AffectstreamError, match="failed with ConnectionError") as raised:
        read_keys(Path("provider:away"))
    assert "pass" not in str(raised.value)


def test_a_shredding_without_the_key_of_persons_is_refused(tmp_path: Path) -> None:
    """The next key would be taken for that of persons, and all consents would be unknown."""
    gone = [{"since": "2020-01-01T00:00:00Z", "check": fingerprint(ONE.key)}]
    path = write_key_file(tmp_path / "keys.yaml", TWO, shredded=gone)
    with pytest.raises(AffectstreamError, match="lacks `persons`: restore it"):
        read_keys(path)
