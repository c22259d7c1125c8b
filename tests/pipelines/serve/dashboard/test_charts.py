"""Pictures that whoever sees colours otherwise, or none, can read."""

from itertools import combinations

import numpy as np
import pytest

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.texts import LANGUAGES, Speaker
from pipelines.show.screen import COLOURS
from schemas.vocabularies import EXPRESSIONS

LIGHT, DARK = "#FFFFFF", "#171614"
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes (2009), severity 1."""


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB under D65."""
    matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.clip(matrix @ rgb, 0, None) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio."""
    light, dark = sorted(
        (float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    "names", [("valence", "arousal"), ("text", "voice", "face", "motion")], ids=" ".join
)
def test_colours_of_lines_differ_for_every_sight(names: tuple[str, ...], sight: str) -> None:
    seen = {name: lab(SIGHT[sight] @ linear(charts.LINES[name])) for name in names}
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(names, 2)) > 10


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_expressions_differ_for_every_sight(sight: str) -> None:
    seen = {name: lab(SIGHT[sight] @ linear(COLOURS[name])) for name in EXPRESSIONS}
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(seen, 2)) > 10


@pytest.mark.parametrize("page", [LIGHT, DARK])
@pytest.mark.parametrize("name", charts.LINES)
def test_lines_stand_out_from_light_and_dark_pages(name: str, page: str) -> None:
    assert contrast(charts.LINES[name], page) >= 3


def test_abstentions_are_grey() -> None:
    red, green, blue = (int(charts.ABSTAINED[i : i + 2], 16) for i in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) < 32
    assert red < blue, "if it leans anywhere, then not to red"


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_expression_has_a_letter_of_its_own(language: str) -> None:
    say = Speaker(language)
    letters = [charts.letter(say, name) for name in (*EXPRESSIONS, "abstained")]
    assert len(set(letters)) == len(letters)
    scale = charts.timeline(say, "#000000")["layer"][0]["encoding"]["color"]["scale"]
    assert [name[0] for name in scale["domain"]] == letters
    assert len(scale["range"]) == len(letters)


@pytest.mark.parametrize("language", LANGUAGES)
def test_lines_differ_by_dash_and_shape_too(language: str) -> None:
    for spec in (charts.valence_arousal(Speaker(language)), charts.throughput(Speaker(language))):
        for channel in ("color", "strokeDash", "shape"):
            scale = spec["encoding"][channel]["scale"]
            assert len({str(value) for value in scale["range"]}) == len(scale["domain"])
