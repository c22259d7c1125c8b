from pathlib import Path

import pytest

from infra.bench import embedded as bench
from infra.bench.hand_loop import window_by_hand
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.keys import write_keys


def test_beam_and_the_loop_do_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    write_keys(tmp_path / "keys.yaml")
    write_bench_log(tmp_path / "small", 3_000, subjects=40, rate=200.0)
    settings = bench.config("small")
    rows, stages = bench.stream(settings)
    assert rows == window_by_hand(settings)
    assert rows > 40
    assert stages["WindowSessions"]["rows_in"] == 3_000


def test_figures_are_medians_of_what_was_measured() -> None:
    found = {
        "stream": {"beam_s": [4.0, 2.0, 8.0], "hand_s": [2.0, 1.0, 4.0], "windows": [100] * 3},
        "models": {
            "seconds": [10.0, 20.0, 10.0],
            "forward_s": [5.0, 15.0, 7.0],
            "windows": [50] * 3,
        },
        "whole:200k": {"seconds": [10.0, 12.0], "rss_mb": [900.0, 1000.0]},
        "whole:2m": {"seconds": [110.0, 120.0], "rss_mb": [1500.0, 1700.0]},
    }
    flat = bench.figures(found)
    assert flat["events_per_s"] == 50_000
    assert flat["over_hand_loop"] == 0.5
    assert flat["model_time_share"] == 0.7
    assert flat["rss_mb_2m"] == 1600
    assert flat["cost_growth_10x"] == pytest.approx(1.05)
    page = bench.page(found, flat)
    assert "| events_per_s | 50,000 | ≥ 100,000 |" in page
