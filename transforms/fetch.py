"""FetchMedia: media that an event only names → the bytes themselves, out of allowed places.

After the gate, so nothing is fetched of what may not be looked at, and before the recognisers,
where media end. A few are fetched at a time, and each few go on as a batch of their own.
"""

import functools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import apache_beam as beam
import numpy as np
import pyarrow as pa
from urllib3.exceptions import HTTPError

from schemas.arrow import fill_schema, take_rows
from schemas.dead_letters import dead_letters
from schemas.errors import DeadLetterCode
from schemas.events import MEDIA_KINDS
from schemas.media.formats import FormatCode, explain
from schemas.settings import Media
from schemas.stages import DEAD, MAIN, Stage, Tagged, kind_of
from transforms.decoding.media import read_media
from transforms.fetching import web
from transforms.fetching.failure import FetchError, check_size
from transforms.fetching.files import read_file
from transforms.stage import Outputs, run_stage

AT_ONCE = 8


def fetch(uri: str, rules: Media) -> bytes:
    """Return what stands at this URI; errors never hold the URI, which may name a person."""
    if uri[:5].lower() == "data:":  # the media themselves, as a URL
        check_size(len(uri), rules.max_bytes)
        return uri.encode()
    try:
        parts = urlsplit(uri)
        place = next((p for p in map(urlsplit, rules.places) if _within(parts, p)), None)
        if place is None:
            _refuse_place()
        if parts.scheme == "file":
            return _read(parts, place, rules)
        return web.get(uri, rules.max_bytes, rules.timeout_s)
    except (OSError, ValueError, HTTPError) as error:  # requests' own errors are OSErrors
        detail = f"{type(error).__name__} while fetching"
        raise FetchError(DeadLetterCode.MEDIA_UNREACHABLE, detail) from error


def _refuse_place() -> NoReturn:
    raise FetchError(DeadLetterCode.MEDIA_PLACE_REFUSED, "no allowed place holds the media")


def _within(uri: SplitResult, place: SplitResult) -> bool:
    same = (uri.scheme, uri.netloc.lower()) == (place.scheme, place.netloc.lower())
    climbs = ".." in unquote(uri.path).replace("\\", "/").split("/")
    return same and not climbs and uri.path.startswith(place.path)


def _read(uri: SplitResult, place: SplitResult, rules: Media) -> bytes:
    path = Path(unquote(uri.path)).resolve()
    if not path.is_relative_to(Path(unquote(place.path)).resolve()):  # a link that leads out
        _refuse_place()
    return read_file(path, rules.max_bytes)


def fetch_batch(batch: pa.RecordBatch, rules: Media) -> Tagged:
    """Yield the batch as it is, or what carries its media, and the rest as they are fetched."""
    named = np.zeros(batch.num_rows, bool)
    if kind_of(batch) in MEDIA_KINDS:
        named = batch["media"].is_null().to_numpy(zero_copy_only=False)
    if not named.all():
        yield MAIN, take_rows(batch, ~named)
    rows = np.flatnonzero(named)
    if not len(rows):
        return
    waited: Counter[str] = Counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(rows), AT_ONCE):
            yield from _fetch_few(
                take_rows(batch, rows[start : start + AT_ONCE]), rules, pool, waited
            )


def _fetch_few(
    batch: pa.RecordBatch, rules: Media, pool: ThreadPoolExecutor, waited: Counter[str]
) -> Tagged:
    """Fetch these at once; ``waited`` counts how often a host did not answer in time.

    Eight times a batch are enough: with thousands of media one host would hold all that is behind
    for many minutes. The next batch asks it again.
    """

    def attempt(uri: str) -> bytes | FetchError:
        host = _host(uri)
        if waited[host] >= AT_ONCE:
            return FetchError(DeadLetterCode.MEDIA_UNREACHABLE, "its host did not answer others")
        begun = time.monotonic()
        try:
            return fetch(uri, rules)
        except FetchError as error:
            return error
        finally:
            if time.monotonic() - begun >= rules.timeout_s:
                waited[host] += 1

    found = list(pool.map(attempt, batch["media_ref"].to_pylist()))
    failed = [item for item in found if isinstance(item, FetchError)]
    lost = np.array([isinstance(item, FetchError) for item in found], bool)
    if not lost.all():
        media = [item for item in found if isinstance(item, bytes)]
        yield from _check_formats(take_rows(batch, ~lost), media)
    if failed:
        yield (
            DEAD,
            dead_letters(
                take_rows(batch, lost),
                stage=Stage.FETCH,
                code=pa.array([str(error.code) for error in failed]),
                detail=pa.array([str(error) for error in failed]),
            ),
        )


def _check_formats(batch: pa.RecordBatch, media: list[bytes]) -> Tagged:
    """Yield the rows with their media, and dead letters of what is no media of their kind."""
    _, columns, problems = read_media(kind_of(batch), pa.array(media, pa.binary()))
    bad = problems != None  # noqa: E711  element-wise
    if not bad.all():
        yield MAIN, take_rows(fill_schema(batch.schema, columns, batch), ~bad)
    if bad.any():
        codes = problems[bad]
        details = [explain(c) if isinstance(c, FormatCode) else "the file is empty" for c in codes]
        yield (
            DEAD,
            dead_letters(
                take_rows(batch, bad),
                stage=Stage.FETCH,
                code=pa.array([str(code) for code in codes]),
                detail=pa.array(details),
            ),
        )


def _host(uri: str) -> str:
    try:
        return urlsplit(uri).netloc
    except ValueError:
        return uri


class FetchMedia(beam.PTransform):
    """Pseudonymous EVENT batches → the same with their media, and dead letters."""

    def __init__(self, *, rules: Media) -> None:
        super().__init__()
        self._rules = rules

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        step = functools.partial(fetch_batch, rules=self._rules)
        return run_stage(pcoll, Stage.FETCH, lambda: step)
