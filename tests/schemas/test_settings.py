"""The settings' own form: documented, light to import, and only as good as they can be used."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pipelines.config import Config
from schemas.settings import Decisions, Kafka, Live, Media, Windows
from schemas.strict import fields_of

UNITS = {
    "_s": ("second",),
    "_mb": ("MB",),
    "_bytes": ("byte",),
    "_days": ("day",),
    "_rows": ("rows",),
    ".port": ("Port",),
    "epsilon": ("ε",),
    "delta": ("Probability",),
}


@pytest.mark.parametrize("name", [name for name, _, _ in fields_of(Config)])
def test_every_setting_is_described_with_its_unit(name: str) -> None:
    field = {known: field for known, field, _ in fields_of(Config)}[name]
    assert field.description
    assert field.description[0].isupper() or field.description[0] == "`"
    assert field.description[-1] != "."
    for ending, units in UNITS.items():
        if name.endswith(ending):
            assert any(unit in field.description for unit in units)
            return
    if field.annotation is float:  # a figure without a unit is a share
        assert "0 to 1" in field.description
    if field.annotation is int:
        assert field.description.startswith("Number of")


def test_importing_them_loads_neither_beam_nor_torch() -> None:
    heavy = "{'apache_beam', 'torch', 'transformers', 'pyarrow', 'numpy'}"
    code = f"import sys, schemas.settings; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (Windows, {"length_s": 0}),
        (Windows, {"length_s": float("inf")}),
        (Windows, {"lateness_s": -1}),
        (Windows, {"lateness_s": float("nan")}),
        (Windows, {"shards": 0}),
        (Windows, {"shards": 1025}),
        (Windows, {"shards": 1.5}),
        (Decisions, {"follow": 0}),
        (Decisions, {"margin": 1.1}),
        (Decisions, {"forget_s": 0}),
        (Decisions, {"smoothing": 1}),
        (Media, {"places": ["ftp://media.example/"]}),
        (Media, {"places": ["https://media.example/clips"]}),
        (Media, {"max_bytes": 0}),
        (Kafka, {"username": "me"}),
        (Kafka, {"password_file": "password"}),
        (Kafka, {"delay_s": -1}),
        (Live, {"java_environment": "PODMAN"}),
        (Live, {"tries": 0}),
        (Live, {"commit_s": 1.5}),
        (Windows, {"length_s": 86_401}),
        (Windows, {"lateness_s": 604_801}),
        (Windows, {"lateness_s": True}),
        (Windows, {"lateness_s": "60"}),
        (Windows, {"shards": True}),
        (Windows, {"shards": "8"}),
        (Decisions, {"forget_s": 31_536_001}),
        (Decisions, {"valid_s": 31_536_001}),
        (Decisions, {"follow": True}),
        (Media, {"max_bytes": 1_000_000_001}),
        (Media, {"timeout_s": 3_601}),
        (Kafka, {"delay_s": 604_801}),
        (Kafka, {"idle_s": 604_801}),
        (Kafka, {"clock_offset_s": 1e11}),
        (Kafka, {"clock_offset_s": -1e11}),
        (Kafka, {"group": ""}),
        (Kafka, {"bootstrap": " "}),
        (Live, {"parallelism": 1025}),
        (Live, {"workers": 1025}),
        (Live, {"checkpoint_s": 0.009}),
        (Live, {"checkpoint_s": 86_401}),
        (Live, {"commit_s": 86_401}),
        (Live, {"commit_s": True}),
        (Live, {"tries": 1_001}),
        (Live, {"least_free_mb": 10**9 + 1}),
    ],
)
def test_what_no_stage_can_use_is_refused(make: type, given: dict) -> None:
    with pytest.raises(ValidationError):
        make(**given)


def test_their_limits_are_allowed() -> None:
    assert Windows(length_s=0.001, lateness_s=0, shards=1024).shards == 1024
    assert Windows(length_s=86_400, lateness_s=604_800).length_s == 86_400
    assert Decisions(follow=1, margin=0, drift=0, max_change=1).margin == 0
    assert Decisions(forget_s=31_536_000, valid_s=31_536_000).valid_s == 31_536_000
    assert Live(checkpoint_s=0.01, commit_s=86_400, parallelism=1024).checkpoint_s == 0.01
    assert Kafka(username="me", password_file="password").username == "me"
    assert Media(places=("file:///media/", "http://h/")).places[0] == "file:///media/"


def test_they_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Windows().shards = 9
