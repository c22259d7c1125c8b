"""How soon a commit shows on the page: a real Chromium looks while windows are committed.

The table holds a million windows of the newest day when it begins.
"""

import random
import statistics
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from schemas.events import TIME
from schemas.tables import EMOTION_FEATURES
from tests.support.dashboards import chromium, dashboard, profile, visit
from tests.support.served import BEGIN, LENGTH, feature, land
from transforms.landing.prepare import prepare_tables

_NAME = "emotion_features"
_ROWS, _AT_ONCE = 1_000_000, 100_000
_SUBJECTS, _SCENES = 500, 40
_HOURS = 9
_COMMITS = 20
_SHOWN = "version => document.body.innerText.includes(`emotion_features, version ${version}`)"


def measure(folder: Path) -> dict[str, float]:
    """Time from the end of a commit until the page, which nobody touches, is of its version.

    The line that says so stands below the figures and pictures of the live view.
    """
    root = folder / "tables"
    prepare_tables(root)
    _write_day(root)
    pauses, took = random.Random(23), []
    with dashboard(folder, root) as address, chromium() as browser:
        began = time.monotonic()
        page = visit(profile(browser), address).page
        page.get_by_text(f"{_NAME}, version").wait_for()
        first_s = time.monotonic() - began
        for window in range(_COMMITS):
            time.sleep(pauses.uniform(0.3, 1.3))  # so that no commit waits for the same moment
            version = land(root, _NAME, *(feature(f"new{who}", window) for who in range(5)))
            committed = time.monotonic()
            page.wait_for_function(_SHOWN, arg=version)
            took.append(time.monotonic() - committed)
    return {
        "page_visible_s": statistics.median(took),
        "page_visible_worst_s": max(took),
        "page_first_s": first_s,
    }


def _write_day(root: Path) -> None:
    """Write the day's windows before ``BEGIN``, in the order of time, as compaction leaves them."""
    rng = np.random.default_rng(5)
    row = feature("ann", 0)
    model = pa.Table.from_pylist(
        [{name: row.get(name) for name in EMOTION_FEATURES.names}], schema=EMOTION_FEATURES
    )
    first = BEGIN - timedelta(hours=_HOURS)
    steps = timedelta(hours=_HOURS) // LENGTH
    for start in range(0, _ROWS, _AT_ONCE):
        number = np.arange(start, start + _AT_ONCE)
        who = rng.integers(0, _SUBJECTS, _AT_ONCE)
        offset_us = number * steps // _ROWS * (LENGTH // timedelta(microseconds=1))
        begins = pc.add(pa.scalar(first, TIME), pa.array(offset_us, pa.duration("us")))
        subjects = pa.array([f"{n:032x}" for n in range(_SUBJECTS)]).take(pa.array(who))
        columns = {
            "window_id": pa.array([f"{n:032x}" for n in number]),
            "subject_ref": subjects,
            "session_ref": subjects,
            "scene_id": pa.array([f"scene-{n}" for n in who % _SCENES]),
            "window_start": begins,
            "window_end": pc.add(begins, pa.scalar(LENGTH, pa.duration("us"))),
            "valence": pa.array(rng.uniform(-1, 1, _AT_ONCE).astype(np.float32)),
            "arousal": pa.array(rng.uniform(-1, 1, _AT_ONCE).astype(np.float32)),
            "abstained": pa.array(rng.random(_AT_ONCE) < 0.1),
        }
        repeated = model.take(pa.array(np.zeros(_AT_ONCE, np.int64)))
        for name, column in columns.items():
            place = EMOTION_FEATURES.get_field_index(name)
            repeated = repeated.set_column(place, EMOTION_FEATURES.field(name), column)
        write_deltalake(f"{root}/{_NAME}", repeated, mode="append")
