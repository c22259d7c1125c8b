"""The probe refuses a net whose answers hang together, and shows what the net raises."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model_serving.folders.probe import check_answers
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.text.front_end import probe
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders


class _Changed:
    """A net of which something else is answered."""

    def __init__(self, net: Any, change: Any) -> None:
        self.net, self.change, self.config = net, change, net.config

    def __call__(self, **inputs: Any) -> Any:
        found = self.net(**inputs)
        logits = self.change(found.logits, inputs)
        return _Answer(logits=logits, hidden_states=found.hidden_states)


class _Answer(SimpleNamespace):
    def get(self, name: str) -> Any:
        return getattr(self, name)


def _beside_others(logits: torch.Tensor, _: Any) -> torch.Tensor:
    return logits + logits.mean(dim=0)


def _noisy(logits: torch.Tensor, _: Any) -> torch.Tensor:
    return logits + torch.rand(logits.shape)


def _by_padding(logits: torch.Tensor, inputs: Any) -> torch.Tensor:
    length = inputs["input_ids"].shape[1]
    return logits + length * torch.tensor([0.01, 0.0, 0.0])


def _raising(logits: torch.Tensor, inputs: Any) -> torch.Tensor:
    if len(logits) > 1:
        message = "Cannot handle batch sizes > 1 if no padding token is defined."
        raise ValueError(message)
    return logits


def _infinite(logits: torch.Tensor, _: Any) -> torch.Tensor:
    return logits / 0


def _for_each_token(logits: torch.Tensor, inputs: Any) -> torch.Tensor:
    return logits[:, None].expand(-1, inputs["input_ids"].shape[1], -1)


@pytest.fixture
def found(tmp_path: Path) -> NetRecogniser:
    loaded = load_recogniser("text", str(folders.tiny_text(tmp_path)), None, "cpu")
    assert isinstance(loaded, NetRecogniser)
    return loaded


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (_beside_others, "answers a row otherwise beside other rows"),
        (_noisy, "answers a row otherwise beside other rows"),
        (_raising, "ValueError: Cannot handle batch sizes > 1 if no padding token is defined"),
        (_infinite, "scores that are not finite"),
        (_for_each_token, r"it gives logits of \(1, "),
    ],
)
def test_a_net_whose_answers_hang_together_is_refused(
    change: Any, refusal: str, found: NetRecogniser
) -> None:
    changed = replace(found, net=_Changed(found.net, change))
    with pytest.raises(AffectstreamError, match=refusal):
        check_answers(changed, probe(), "folder x")


def test_where_padding_moves_the_answers_nothing_is_padded(found: NetRecogniser) -> None:
    changed = replace(found, net=_Changed(found.net, _by_padding))
    assert changed.front_end.pads
    check_answers(changed, probe(), "folder x")
    assert not changed.front_end.pads
