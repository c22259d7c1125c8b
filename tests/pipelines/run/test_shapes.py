"""The names and units of a log's motion events, by source, as an operator asks for them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.run.shapes import count_shapes, print_shapes
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
    found = count_shapes(log(tmp_path, *rows))
    assert list(found) == ["world/a", "world/b", "world/c"]
    assert [each.likely_unit for each in found.values()] == ["fraction", "percent", "percent"]
    assert dict(found["world/b"].vocabularies) == {"vrcft": 1}
    assert dict(found["world/b"].unknown) == {"ears": 1}
    assert (found["world/c"].frames, found["world/c"].unreadable) == (2, 1)
    console = Console(record=True, width=200)
    print_shapes(found, console)
    printed = console.export_text()
    assert '"world/b": percent' in printed
    assert '"world/c": percent' not in printed, "it says its unit itself"
    assert "ears (1)" in printed


def test_a_log_without_motion_is_told(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="no event of session"):
        count_shapes(log(tmp_path, record("text", 1, {"text": "hello"})))
