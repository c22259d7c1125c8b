"""Media by reference, from a real HTTP server and from files."""

import base64
import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.settings import Media
from schemas.stages import DEAD, MAIN
from tests.support.hosts import served
from tests.support.records import pseudonymous, record
from transforms.fetch import AT_ONCE, FetchMedia, fetch_batch

CLIP = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 500
LIMIT = 10_000


ASKED: list[str] = []
"""What was asked for, in its order; filled by the server's threads."""


class Place(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ASKED.append(self.path)
        if self.path.startswith("/clips/moved"):
            self.send_response(302)
            self.send_header("Location", "/clips/good")
            self.end_headers()
            return
        self.send_response(404 if "gone" in self.path else 200)
        packs = "gzip" in self.headers.get("Accept-Encoding", "")
        if packs:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        try:
            if "large" in self.path:
                for _ in range(100):
                    self.wfile.write(b"x" * LIMIT)
            elif "slow" in self.path:
                for _ in range(50):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            else:
                self.wfile.write(gzip.compress(CLIP) if packs else CLIP)
        except OSError:  # the reader left
            return

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served(Place) as address:
        yield address


def named(*places: str) -> pa.RecordBatch:
    rows = [record("voice", n, b"", dataref=place) for n, place in enumerate(places)]
    return pseudonymous(*(row | {"value": None} for row in rows))


def outcome(batch: pa.RecordBatch, rules: Media) -> tuple[dict[int, bytes], dict[int, str]]:
    media, codes = {}, {}
    for tag, out in fetch_batch(batch, rules):
        for row in out.to_pylist():
            if tag == MAIN:
                media[row["offset"]] = row["media"]
                assert row["media_format"] == "wav"
                assert row["media_bytes"] == len(CLIP)
            else:
                assert tag == DEAD
                codes[row["offset"]] = row["code"]
                assert "clips" not in row["detail"]
    return media, codes


def test_every_way_to_get_no_media_has_its_code(host: str) -> None:
    rules = Media(places=(f"{host}/clips/",), max_bytes=LIMIT, timeout_s=0.5)
    places = {
        f"{host}/clips/good?part=1": None,
        f"{host}/clips/gone": "media_unreachable",
        f"{host}/clips/large": "media_too_large",
        f"{host}/clips/slow": "media_unreachable",
        f"{host}/clips/moved": "media_unreachable",
        f"{host}/other/good": "media_place_refused",
        f"{host}/clips/../other/good": "media_place_refused",
        f"{host}/clips/%2e%2e/other/good": "media_place_refused",
        f"{host.replace('127.0.0.1', 'localhost')}/clips/good": "media_place_refused",
        f"http://user@{host.removeprefix('http://')}/clips/good": "media_place_refused",
        "file:///etc/hostname": "media_place_refused",
        "clips/good": "media_place_refused",
        "http://[": "media_unreachable",
    }
    media, codes = outcome(named(*places), rules)
    assert media == {0: CLIP}
    expected = {n: code for n, code in enumerate(places.values()) if code}
    assert codes == expected


def test_nobody_there_is_a_dead_letter() -> None:
    rules = Media(places=("http://127.0.0.1:1/",), max_bytes=LIMIT, timeout_s=0.5)
    assert outcome(named("http://127.0.0.1:1/clip"), rules) == ({}, {0: "media_unreachable"})


def test_a_host_that_hangs_is_not_asked_for_all_of_a_batch(host: str) -> None:
    other = host.replace("127.0.0.1", "localhost")
    places = [f"{other}/slow", *[f"{host}/slow/{n}" for n in range(100)], f"{other}/clips/1"]
    ASKED.clear()
    media, codes = outcome(
        named(*places), Media(places=(f"{host}/", f"{other}/"), max_bytes=LIMIT, timeout_s=0.5)
    )
    asked = [path for path in ASKED if path.startswith("/slow/")]
    assert AT_ONCE <= len(asked) < 3 * AT_ONCE, "the others would take another 6 s"
    assert media == {len(places) - 1: CLIP}, "one slow item does not silence its host"
    assert codes == dict.fromkeys(range(len(places) - 1), "media_unreachable")


def test_files_are_read_in_their_place_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a clip.wav").write_bytes(CLIP)
    (tmp_path / "out.wav").write_bytes(CLIP)
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "out.wav")
    place = (tmp_path / "in").as_uri() + "/"
    batch = named(f"{place}a%20clip.wav", f"{place}link.wav", f"{place}none.wav")
    media, codes = outcome(batch, Media(places=(place,), max_bytes=LIMIT, timeout_s=1))
    assert media == {0: CLIP}
    assert codes == {1: "media_place_refused", 2: "media_unreachable"}


def test_what_was_fetched_passes_the_checks_of_what_is_sent(tmp_path: Path) -> None:
    files = {
        "page": b"<!DOCTYPE html><html><body>gone</body></html>",
        "picture": b"\x89PNG\r\n\x1a\n",
        "nothing": b"",
        "text": base64.b64encode(CLIP),
        "clip": CLIP,
    }
    for name, media in files.items():
        (tmp_path / name).write_bytes(media)
    place = tmp_path.as_uri() + "/"
    inline = "data:audio/wav;base64," + base64.b64encode(CLIP).decode()
    batch = named(*(place + name for name in files), inline)
    media, codes = outcome(batch, Media(places=(place,), max_bytes=LIMIT, timeout_s=1))
    assert media == {3: CLIP, 4: CLIP, 5: CLIP}
    assert codes == {0: "found_html", 1: "found_png", 2: "null_value"}


def test_batches_that_carry_their_media_pass_as_they_are() -> None:
    batch = pseudonymous(record("voice", 1, CLIP))
    assert list(fetch_batch(batch, Media(places=(), max_bytes=1, timeout_s=1))) == [(MAIN, batch)]
    text = pseudonymous(record("text", 1, {"text": "hi"}))
    assert list(fetch_batch(text, Media(places=(), max_bytes=1, timeout_s=1))) == [(MAIN, text)]


def test_the_stage_parts_media_and_dead_letters(host: str) -> None:
    batch = named(*[f"{host}/clips/{n}" for n in range(20)], "https://elsewhere.example/x")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    out = (
        pipeline
        | beam.Create([batch])
        | FetchMedia(rules=Media(places=(f"{host}/",), max_bytes=LIMIT, timeout_s=2))
    )
    sizes = out[MAIN] | beam.Map(lambda found: found.num_rows)
    codes = out[DEAD] | "Codes" >> beam.FlatMap(lambda found: found["code"].to_pylist())
    assert_that(sizes, equal_to([8, 8, 4]), "media")
    assert_that(codes, equal_to(["media_place_refused"]), "dead")
    pipeline.run().wait_until_finish()
