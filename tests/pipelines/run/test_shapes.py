"""The names and units of a log's motion events, by source, as an operator asks for them."""

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.run.shapes import SourceShapes, count_shapes, print_shapes
from schemas.errors import AffectstreamError
from tests.support.records import raw, record


def log(folder: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")
    return folder


def test_each_source_has_its_vocabulary_unit_and_unknown_names(tmp_path: Path) -> None:
    canonical = {"weights": {"jawOpen": 0.4, "mouthSmileLeft": 1, "HeadYaw": -31}}
    percent = {"weights": {"MouthCornerPullLeft": 70, "JawOpen": 12, "ears": 3}}
    rows = [
        record("motion", 1, canonical, source="world/a"),
        record("motion", 2, percent, source="world/b", structured=True),
        record("motion", 3, percent | {"unit": "percent"}, source="world/c"),
        record("motion", 4, b"not json", source="world/c"),
        record("text", 5, {"text": "jawOpen"}, source="world/d"),
    ]
    found = count_shapes(log(tmp_path, *rows), {})
    assert sorted(found) == ["world/a", "world/b", "world/c"]
    units = {source: each.likely_unit for source, each in found.items()}
    assert units == {"world/a": "fraction", "world/b": "percent", "world/c": "percent"}
    assert dict(found["world/b"].vocabularies) == {"vrcft": 1}
    assert dict(found["world/b"].unknown) == {"ears": 1}
    assert (found["world/c"].frames, found["world/c"].unreadable) == (2, 1)
    printed = shown(found)
    assert '"world/b": percent' in printed
    assert '"world/c": percent' not in printed, "it says its unit itself"
    assert "ears (1)" in printed


def shown(found: dict[str, SourceShapes], units: dict[str, str] | None = None) -> str:
    console = Console(record=True, width=80, file=io.StringIO())
    print_shapes(found, units or {}, console)
    return console.export_text()


def frames(source: str, *values: float, **more: Any) -> list[dict[str, Any]]:
    """A frame of joy for each value, numbered by a field of its own."""
    return [
        record(
            "motion",
            number,
            {"weights": {"mouthSmileLeft": value, "mouthSmileRight": value, "jawOpen": 0}} | more,
            source=source,
        )
        for number, value in enumerate(values, start=1)
    ]


def test_one_broken_frame_advises_nothing(tmp_path: Path) -> None:
    found = count_shapes(log(tmp_path, *frames("phone", *[0.7] * 60, 1.7)), {})
    assert found["phone"].likely_unit == "fraction"
    assert "configuration" not in shown(found)


def test_most_frames_have_to_bear_a_unit_out(tmp_path: Path) -> None:
    found = count_shapes(log(tmp_path, *frames("phone", *[70] * 40, *[0.4] * 30)), {})
    assert found["phone"].likely_unit == "percent"
    assert '"phone": percent  # 40 of 70 frames are beyond a fraction' in shown(found)
    unsure = count_shapes(log(tmp_path, *frames("phone", *[70] * 20, *[0.4] * 30)), {})
    assert unsure["phone"].likely_unit == "?"
    assert "configuration:" not in shown(unsure)


def test_what_is_configured_is_not_advised_again(tmp_path: Path) -> None:
    units = {"phone": "percent"}
    found = count_shapes(log(tmp_path, *frames("phone", *[70] * 9)), units)
    printed = shown(found, units)
    assert "percent by the configuration" in printed
    assert "Say their unit" not in printed
    assert "wrong unit" not in printed


def test_a_unit_that_the_values_contradict_is_flagged(tmp_path: Path) -> None:
    units = {"phone": "percent"}
    rows = frames("phone", *[0.71] * 9) + frames("tablet", *[0.71] * 9, unit="byte")
    found = count_shapes(log(tmp_path, *rows, *frames("pad", *[0.71] * 9)), units)
    assert {name: each.contradicted for name, each in found.items()} == {
        "phone": 9,
        "tablet": 9,
        "pad": 0,
    }
    assert shown(found, units).count("wrong unit?") == 2


@pytest.mark.parametrize("wrapped", ["connect", "gzip", "header"])
def test_events_are_read_as_a_run_reads_them(tmp_path: Path, wrapped: str) -> None:
    payload = {"weights": {"MouthCornerPullLeft": 70, "JawOpen": 12}}
    row = record("motion", 1, payload, source="world/b", structured=wrapped != "header")
    if wrapped == "connect":
        row["value"] = b'{"schema": {}, "payload": ' + row["value"] + b"}"
    elif wrapped == "gzip":
        row["value"] = gzip.compress(row["value"])
    else:
        for header in row["headers"]:
            header["key"] = header["key"].replace("ce_source", "Ce-Source")
    found = count_shapes(log(tmp_path, row), {})
    assert list(found) == ["world/b"]
    assert dict(found["world/b"].vocabularies) == {"vrcft": 1}


def test_a_block_can_be_read_on_a_narrow_screen(tmp_path: Path) -> None:
    sources = [f"https://tracker.example.org/rooms/{number}" for number in range(4)]
    rows = [row for source in sources for row in frames(source, 0.7)]
    printed = shown(count_shapes(log(tmp_path, *rows), {}))
    assert [line for line in printed.splitlines() if line.startswith("https:")] == sources


def test_a_log_without_motion_is_told(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="no event of session"):
        count_shapes(log(tmp_path, record("text", 1, {"text": "hello"})), {})
