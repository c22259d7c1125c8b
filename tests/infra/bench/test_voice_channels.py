"""The table of channels: one row each, and what is judged too surely stands out."""

import pytest

from infra.bench.voice_channels import table
from model_serving.card import Figure
from model_serving.training.voice.channel_figures import SPLIT, SURE
from model_serving.training.voice.field_channels import CHANNELS


def _figures(right: float, sure: float) -> list[Figure]:
    values = {"accuracy": right, SURE: sure}
    return [
        Figure(split=SPLIT + title, metric=metric, value=value, date="2026-11-30")
        for title in CHANNELS
        for metric, value in values.items()
    ]


def test_each_channel_is_a_row_and_too_sure_is_bold() -> None:
    lines = table({"one": _figures(0.5, 0.59), "other": _figures(0.5, 0.61)}).splitlines()
    assert len(lines) == 2 + len(CHANNELS)
    offset = next(line for line in lines if line.startswith("| offset"))
    assert "| 0.500 | 0.590 | +0.090 | 0.500 | 0.610 | **+0.110** |" in offset
    assert any(line.startswith("| packets lost †") for line in lines)


def test_a_card_without_these_figures_says_what_measures_them() -> None:
    with pytest.raises(SystemExit, match="affectstream evaluate --only voice"):
        table({"one": []})
