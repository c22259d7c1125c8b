"""The learnt part of the reply filter as it ships, and how its weights are packed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model_serving.reply.hazard_net import FOLDER, HazardNet, load_hazard_net, unpack
from model_serving.training.reply.filter import pack
from schemas.errors import AffectstreamError


@pytest.fixture(scope="module")
def net() -> HazardNet:
    return load_hazard_net()


def test_a_line_is_judged_alike_alone_and_among_others(net: HazardNet) -> None:
    texts = ["I want to be dead", "hello", "what a day, " * 5, "今天天气真好"]
    states, numbers = net.encoder.states(texts)
    assert numbers.tolist() == [0, 1, 2, 3]
    for row, text in zip(states, texts, strict=True):
        alone, _ = net.encoder.states([text])
        assert np.allclose(alone[0], row, atol=1e-4)


def test_what_cannot_be_seen_hides_nothing(net: HazardNet) -> None:
    plain, hidden = net.encoder.states(["i want to die", "i w\u200bant to d\u200bie"])[0]
    assert np.allclose(plain, hidden, atol=1e-4)
    assert net.encoder.states(["我 想 死"])[0] == pytest.approx(net.encoder.states(["我想死"])[0])


def test_harm_at_the_end_of_a_long_text_is_found(net: HazardNet) -> None:
    text = (
        "We had rice for lunch and then we walked home. " * 20
        + "I want to kill myself tonight. " * 3
    )
    assert net.find([text], "person") == ["self_harm"]
    assert net.find([text[:600]], "person") == [None]
    assert net.find([], "person") == []


def test_a_text_of_many_sentences_has_a_bound(net: HazardNet) -> None:
    states, numbers = net.encoder.states(["a. " * 3000, "hello there"])
    assert numbers.tolist() == [0] * 64 + [1]
    assert np.isfinite(states).all()


def test_a_few_letters_mean_nothing(net: HazardNet) -> None:
    assert net.find(["xyz", "", "!!!", "9 3 4"], "person") == [None] * 4


def test_the_filter_is_what_its_card_describes(tmp_path: Path) -> None:
    folder = tmp_path / "filter"
    shutil.copytree(FOLDER, folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(AffectstreamError, match="not the file its card describes"):
        load_hazard_net(folder)


def test_blocks_of_four_bits_come_out_as_they_went_in() -> None:
    torch.manual_seed(1)
    q = torch.randint(0, 16, (6, 32))
    q[:, 3] = 0  # the value furthest from 0
    scale = torch.rand(6, 1).half().float()
    scale[2] = 0
    values = ((q - 8) * scale).reshape(3, 64)
    state = {"dense.weight": values, "dense.bias": torch.tensor([0.5, -0.25, 1.0])}
    packed = pack(state)
    assert packed["dense.weight.q"].shape == (6, 16)
    found = unpack(packed, state)
    assert torch.equal(found["dense.weight"], values)
    assert torch.equal(found["dense.bias"], state["dense.bias"])
