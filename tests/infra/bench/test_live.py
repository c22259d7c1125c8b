"""What the live benchmark makes of its samples, and what it keeps."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from infra.bench.live import by_hand, page, store
from infra.bench.soak import Sample, trends

_RUN = {"soak_minutes": 10.0, "soak_lost": 0.0, "pss_mb_last_third": 5.0, "commit_p50_s": 0.5}
_AT = datetime(2026, 11, 25, tzinfo=UTC)


def test_trends_are_thirds_and_slopes_of_the_last_half() -> None:
    samples = [
        Sample(60.0 * n, 100 + max(0, n - 6), 50, 30, 20, 7, np.nan if n == 3 else n, 2.0)
        for n in range(13)
    ]
    found = trends(samples)
    assert found["pss_jvm_mb_per_minute"] == pytest.approx(1)
    assert found["pss_worker_mb_per_minute"] == pytest.approx(0)
    assert found["pss_mb_first_third"] == 200
    assert (found["lag_records_first_third"], found["lag_records_last_third"]) == (1.5, 10.5)
    assert found["watermark_delay_s_last_third"] == 2


@pytest.mark.parametrize(("on_record", "stays"), [(60.0, True), (10.0, False)])
def test_a_shorter_soak_leaves_the_figures_of_a_longer(on_record: float, stays: bool) -> None:
    before = {"soak_minutes": on_record, "pss_mb_last_third": 9.0, "commit_p50_s": 0.9}
    flat = before | {"measured": {"soak": "earlier"}}
    store("latency", _RUN, flat, _AT)
    assert flat["commit_p50_s"] == 0.5
    assert flat["pss_mb_last_third"] == (9.0 if stays else 5.0)
    assert flat["soak_minutes"] == on_record
    assert (flat["measured"]["soak"] == "earlier") == stays
    assert flat["measured"]["latency"].startswith("2026-11-25, ")


def test_the_page_says_when_each_part_was_measured() -> None:
    written = page({"commit_p50_s": 0.5}, {"soak": "2026-11-25, abc, 60 minutes"}, ["note"])
    assert "| commit_p50_s | 0.50 | < 1 |" in written
    assert "| soak | 2026-11-25, abc, 60 minutes |" in written


def test_what_was_written_by_hand_stays_on_the_page_of_the_day(tmp_path: Path) -> None:
    today = tmp_path / "2026-11-26-live.md"
    assert by_hand(today) == ""
    written = page({"commit_p50_s": 0.5}, {}, ["note"])
    today.write_text(written + "\n## An hour\nIt ran.\n\n## More\n", encoding="utf-8")
    today.write_text(written + by_hand(today), encoding="utf-8")
    assert today.read_text(encoding="utf-8").endswith("note\n\n## An hour\nIt ran.\n\n## More\n")
