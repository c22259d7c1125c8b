"""The archive: it gives back what was sealed, to the bit, until the person is erased."""

import datetime as dt
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.govern.archive import Vault, archive_days, open_archive, shred
from pipelines.tables.arrow_types import plain_types
from schemas.errors import AffectstreamError
from tests.support.secret_scan import that_hold
from tests.support.served import BEGIN, feature, land, subject
from transforms.landing.prepare import prepare_tables

SECRET = b"s" * 32
DAY = BEGIN.date()
NAME = "emotion_features"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path / "tables")
    rows = (feature(who, n) for n in range(20) for who in ("ann", "bob", "eve"))
    land(tmp_path / "tables", NAME, *rows)
    return tmp_path / "tables"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault.sqlite", SECRET)


def seal(root: Path, vault: Vault) -> Path:
    out = root.parent / "archive"
    assert archive_days(root, NAME, [DAY], vault, out) == 60
    return out / NAME


def standing(root: Path) -> pa.Table:
    rows = plain_types(DeltaTable(root / NAME).to_pyarrow_table())
    return rows.sort_by([("window_id", "ascending")])


def test_what_was_sealed_comes_back_as_it_was(root: Path, vault: Vault) -> None:
    opened = open_archive(seal(root, vault), vault)
    assert opened.shredded_rows == 0
    assert opened.rows.sort_by([("window_id", "ascending")]).equals(standing(root))


def test_no_byte_of_the_archive_or_the_vault_names_anybody(root: Path, vault: Vault) -> None:
    folder = seal(root, vault)
    names = {subject(who) for who in ("ann", "bob", "eve")} | {"ann-3-recommendation"}
    assert that_hold(root, names)
    assert that_hold(folder, names) == set()
    vault.close()
    data = (root.parent / "vault.sqlite").read_bytes()
    assert not any(name.encode() in data for name in names)
    for path in (root.parent / "vault.sqlite", folder / f"{DAY}.parquet"):
        assert path.stat().st_mode & 0o077 == 0


def test_who_is_erased_cannot_be_read_in_any_copy(root: Path, vault: Vault) -> None:
    folder = seal(root, vault)
    assert shred(root.parent / "vault.sqlite", SECRET, [subject("ann"), subject("nobody")]) == 1
    opened = open_archive(folder, vault)
    assert opened.shredded_rows == 20
    kept = standing(root).filter(pc.field("subject_ref") != subject("ann"))
    assert opened.rows.sort_by([("window_id", "ascending")]).equals(kept)


def test_the_key_of_who_is_erased_is_overwritten(root: Path, vault: Vault, tmp_path: Path) -> None:
    seal(root, vault)
    path = tmp_path / "vault.sqlite"
    with sqlite3.connect(path) as db:
        held = dict(db.execute("SELECT owner, key FROM keys").fetchall())
    mine = held[vault.owner(subject("ann"))]
    assert mine in path.read_bytes()
    vault.shred([subject("ann")])
    assert mine not in path.read_bytes()
    assert len(held) == 3


@pytest.mark.parametrize("place", [0, 20, -1])
def test_what_was_changed_does_not_open(root: Path, vault: Vault, place: int) -> None:
    folder = seal(root, vault)
    (file,) = folder.glob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    sealed = bytearray(rows[0]["sealed"])
    sealed[place] ^= 1
    rows[0]["sealed"] = bytes(sealed)
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    with pytest.raises(AffectstreamError, match="was changed since it was sealed"):
        open_archive(folder, vault)


@pytest.mark.parametrize("member", ["owner", "event_date", "table"])
def test_rows_do_not_open_as_those_of_another(root: Path, vault: Vault, member: str) -> None:
    folder = seal(root, vault)
    (file,) = folder.glob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    others = {
        "owner": rows[1]["owner"],
        "event_date": DAY - dt.timedelta(days=1),
        "table": "observations",
    }
    rows[0][member] = others[member]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    with pytest.raises(AffectstreamError, match="was changed since it was sealed"):
        open_archive(folder, vault)


def test_an_archive_is_written_once(root: Path, vault: Vault) -> None:
    folder = seal(root, vault)
    with pytest.raises(AffectstreamError, match="is there already"):
        archive_days(root, NAME, [DAY], vault, folder.parent)


@pytest.mark.parametrize("name", ["dead_letters", "nothing", "../tables"])
def test_only_tables_of_persons_are_archived(root: Path, vault: Vault, name: str) -> None:
    with pytest.raises(AffectstreamError, match="is no table of persons"):
        archive_days(root, name, [DAY], vault, root.parent / "archive")


def test_the_commands(root: Path, keys: Path, tmp_path: Path) -> None:
    more = ["--keys", str(keys), "--vault", str(tmp_path / "v.sqlite")]
    run, of = CliRunner().invoke, ["--tables", str(root)]
    sealed = run(
        app,
        ["archive", "seal", NAME, "--days", f"{DAY}", "--out", str(tmp_path / "a"), *more, *of],
    )
    assert sealed.exit_code == 0, sealed.output
    opened = run(
        app, ["archive", "open", str(tmp_path / "a" / NAME), "--out", str(tmp_path / "o"), *more]
    )
    assert opened.exit_code == 0, opened.output
    assert pq.read_table(tmp_path / "o").num_rows == 60
    unnamed = run(app, ["archive", "open", str(tmp_path), "--out", str(tmp_path / "o")])
    assert "no vault is named" in str(unnamed.exception)
