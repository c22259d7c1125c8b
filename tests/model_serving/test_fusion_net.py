"""What holds for the network of fusion whatever its weights are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_serving.fusion_net import AttentionFusion, AttentionFusionConfig, Context
from tests.support.properties import examples

_WIDTHS = {"text": 6, "face": 3}
_MODALITIES = ("text", "voice", "face")


def _net(context: Context) -> AttentionFusion:
    """An untrained net of feature vectors and of one score vector, in three classes."""
    torch.manual_seed(3)
    config = AttentionFusionConfig(
        width=8, modalities=_MODALITIES, num_labels=3, features=_WIDTHS, gated=True, context=context
    )
    return AttentionFusion(config).double().eval()


NETS = {context: _net(context) for context in ("none", "past", "whole")}


def _windows(count: int, seed: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.dirichlet(np.ones(3), (count, 3)))
    dialogue = rng.integers(0, 3, count)
    return {
        "counts": torch.from_numpy(rng.integers(0, 3, (count, 3))),
        "scores": scores,
        "confidence": scores.amax(dim=2),
        "features": torch.from_numpy(rng.standard_normal((count, 9))),
        "dialogue": torch.from_numpy(dialogue),
        "position": torch.from_numpy(rng.permutation(count)),
    }


def _weak_net() -> AttentionFusion:
    """A net in which voice and face are worth nothing, and all that is learnt is far from 0."""
    torch.manual_seed(4)
    worth = {"text": 1.0, "voice": 1e-6, "face": 1e-7}
    config = AttentionFusionConfig(
        width=8, modalities=_MODALITIES, num_labels=3, gated=True, context="whole", worth=worth
    )
    return AttentionFusion(config).double().eval()


def _logits(context: str, windows: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = NETS[context](**windows).logits
    return logits


@pytest.mark.parametrize("context", list(NETS))
def test_there_is_a_score_for_each_class_and_attention_for_what_is_there(context: str) -> None:
    windows = _windows(20, 1)
    output = NETS[context](**windows)
    assert output.logits.shape == (20, 3)
    assert torch.isfinite(output.logits).all()
    (attention,) = output.attentions
    assert torch.equal(attention > 0, windows["counts"] > 0)
    some = (windows["counts"] > 0).any(dim=1)
    assert torch.allclose(attention.sum(dim=1), some.double())


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), context=st.sampled_from(sorted(NETS)))
def test_what_is_missing_is_never_read(seed: int, context: str) -> None:
    windows = _windows(12, seed)
    missing = windows["counts"] == 0
    blind = dict(windows)
    blind["scores"] = windows["scores"].masked_fill(missing.unsqueeze(2), torch.nan)
    blind["confidence"] = windows["confidence"].masked_fill(missing, torch.nan)
    columns = torch.cat([missing[:, [0]].expand(-1, 6), missing[:, [2]].expand(-1, 3)], dim=1)
    blind["features"] = windows["features"].masked_fill(columns, torch.nan)
    assert torch.equal(_logits(context, blind), _logits(context, windows))


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), context=st.sampled_from(sorted(NETS)))
def test_the_order_of_a_batch_does_not_matter(seed: int, context: str) -> None:
    windows = _windows(12, seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(12))
    moved = {name: values[order] for name, values in windows.items()}
    assert torch.allclose(_logits(context, moved), _logits(context, windows)[order], atol=1e-12)


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), now=st.integers(0, 11))
def test_the_past_does_not_see_what_comes_after(seed: int, now: int) -> None:
    windows, other = _windows(12, seed), _windows(12, seed + 1)
    later = windows["position"] > now
    changed = dict(windows)
    for name in ("counts", "scores", "confidence", "features"):
        wide = later.view(-1, *[1] * (windows[name].ndim - 1))
        changed[name] = torch.where(wide, other[name], windows[name])
    before, after = _logits("past", windows), _logits("past", changed)
    assert torch.allclose(after[~later], before[~later], atol=1e-12)


def test_whole_dialogue_sees_what_comes_after_and_no_other_dialogue() -> None:
    windows = _windows(6, 5)
    windows["counts"] = torch.ones(6, 3, dtype=torch.int64)
    windows["dialogue"] = torch.tensor([0, 0, 0, 1, 1, 1])
    windows["position"] = torch.tensor([0, 1, 2, 0, 1, 2])
    changed = dict(windows)
    changed["features"] = windows["features"].clone()
    changed["features"][2] += 1  # the last of the first dialogue
    moved = (_logits("whole", changed) - _logits("whole", windows)).abs().amax(dim=1)
    assert (moved[:3] > 1e-6).all()
    assert (moved[3:] == 0).all()


@examples(30)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_modality_worth_nothing_alone_keeps_its_order_and_tells_no_neighbour(seed: int) -> None:
    windows = {name: of for name, of in _windows(12, seed).items() if name != "features"}
    windows["counts"] = torch.tensor([[0, 1, 0]] * 12)
    net = _weak_net()
    with torch.inference_mode():
        logits = net(**windows).logits
        alone = net(**{**windows, "dialogue": torch.arange(12)}).logits
    kept = windows["scores"][:, 1].clamp(min=1e-4)
    assert torch.equal(logits.argsort(dim=1), kept.argsort(dim=1))
    assert torch.allclose(logits, alone, atol=1e-3)


@pytest.mark.parametrize(
    "worth", [{"text": 1.0}, {"text": 1.0, "voice": 0.0}, {"text": 1.0, "voice": 1.5}]
)
def test_worth_is_a_share_of_the_best_for_every_modality(worth: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give each of text, voice a number above 0 up to 1"):
        AttentionFusionConfig(modalities=("text", "voice"), worth=worth)


def test_a_modality_worth_nothing_has_no_weight_beside_another() -> None:
    windows = {name: of for name, of in _windows(12, 7).items() if name != "features"}
    windows["counts"] = torch.ones(12, 3, dtype=torch.int64)
    (attention,) = _weak_net()(**windows).attentions
    assert (attention[:, 0] > 0.999).all()


def test_a_window_without_anything_says_what_its_dialogue_says() -> None:
    windows = _windows(3, 6)
    windows["counts"] = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 0, 0]])
    windows["dialogue"] = torch.tensor([0, 0, 1])
    windows["position"] = torch.tensor([0, 1, 0])
    found = _logits("past", windows)
    assert torch.isfinite(found).all()
    assert not torch.allclose(found[1], found[2])
    assert torch.equal(_logits("none", windows)[1], _logits("none", windows)[2])


def test_scores_without_confidence_are_refused() -> None:
    with pytest.raises(ValueError, match="needs scores and confidence, or features"):
        NETS["none"](counts=torch.ones(1, 3))
