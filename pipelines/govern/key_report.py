"""What a key file holds, for a person: periods, regions, fingerprints, and whose tables it fits."""

import datetime as dt
from pathlib import Path

from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table as Grid

from schemas.keys import Keys, fingerprint, provider_of
from schemas.table import Root
from transforms.landing.made_under import check_made_under, is_noted


def print_keys(path: Path, keys: Keys, root: Root, console: Console) -> None:
    """Print the periods by region, the keys that stay, and how they fit the tables.

    Raises:
        AffectstreamError: the tables under ``root`` were made under other keys.
    """
    grid = Grid("region", "since", "until", "fingerprint", box=None, padding=(0, 2, 0, 0))
    for region in (None, *keys.regions):
        line = keys.timeline(region)
        ends = [_moment(since) for since, _ in line[1:]] + ["…"]
        for (since, place), end in zip(line, ends, strict=True):
            if place >= 0 and keys.periods[place].region != region:
                continue
            check = fingerprint(keys.periods[place].key) if place >= 0 else "shredded"
            grid.add_row(region or "all others", _moment(since), end, check)
    grid.add_row("", "persons", "", fingerprint(keys.person))
    grid.add_row("", "tombstones", "", fingerprint(keys.tombstone))
    console.print(grid)
    if any(period.key == keys.person for period in keys.periods):
        _say(console, "The first key is that of persons, too, so it can't be shredded.")
    if provider_of(path) is None:
        _say(console, f"{path}: only its owner may read it.")
    check_made_under(root, keys)
    _say(console, f"{root}: {_describe_fit(root)}.")


def _moment(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}Z" if time.year > 1 else "ever"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _describe_fit(root: Root) -> str:
    if not DeltaTable.is_deltatable(f"{root}/consent_ledger"):
        return "no tables yet"
    if is_noted(root):
        return "its tables were made under these keys"
    return "its tables do not say under which keys they were made; the next run notes it"
