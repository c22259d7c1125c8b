import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model_serving.card import Calibration, ModelCard, read_card, write_card
from model_serving.fusion import SHIPPED, Fusion, load_fusion
from model_serving.fusion_net import AttentionFusion, AttentionFusionConfig
from model_serving.training.common import save_model
from model_serving.training.heads import SHARED, card_labels, id2label, label_maps
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support.properties import examples

LABELS = card_labels((SHARED,))
CARD = ModelCard(
    name="test",
    version="1",
    modality="fusion",
    licence="open",
    labels=LABELS,
    calibration=Calibration(temperature=1.3, threshold=0.4),
)


@pytest.fixture(scope="module")
def fusion():
    """An untrained net: what is tested here must hold for any weights."""
    torch.manual_seed(7)
    net = AttentionFusion(AttentionFusionConfig(**label_maps(id2label((SHARED,)))))
    return Fusion(net.double().eval(), CARD)


def _windows(count, rng):
    counts = rng.integers(0, 4, (count, 4))
    scores = rng.dirichlet(np.ones(7), (count, 4)).astype(np.float32)
    confidence = scores.max(axis=2)
    missing = counts == 0
    return counts, np.where(missing[:, :, None], 0, scores), np.where(missing, 0, confidence)


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_attention_sums_to_one_over_the_modalities_that_are_there(fusion, seed, count):
    counts, scores, confidence = _windows(count, np.random.default_rng(seed))
    fused = fusion.fuse(counts, scores, confidence)
    some = (counts > 0).any(axis=1)
    assert np.array_equal(fused.attention > 0, counts > 0)
    assert np.allclose(fused.attention.sum(axis=1), some, atol=1e-6)
    assert np.allclose(fused.scores.sum(axis=1), 1.0, atol=1e-6)
    assert np.array_equal(fused.confidence, fused.scores.max(axis=1))
    assert np.array_equal(fused.abstained, ~some | (fused.confidence < np.float32(0.4)))


def test_a_row_depends_on_itself_alone(fusion):
    counts, scores, confidence = _windows(300, np.random.default_rng(1))
    together = fusion.fuse(counts, scores, confidence)
    for row in range(0, 300, 7):
        alone = fusion.fuse(*(part[row : row + 1] for part in (counts, scores, confidence)))
        assert np.abs(alone.scores[0] - together.scores[row]).max() < 1e-6
        assert np.abs(alone.attention[0] - together.attention[row]).max() < 1e-6


def test_cells_of_missing_modalities_are_never_looked_at(fusion):
    counts, scores, confidence = _windows(200, np.random.default_rng(2))
    rubbish = np.where((counts == 0)[:, :, None], np.float32(np.nan), scores)
    noise = np.where(counts == 0, np.float32(np.nan), confidence)
    found, expected = fusion.fuse(counts, rubbish, noise), fusion.fuse(counts, scores, confidence)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.attention, expected.attention)


def test_a_window_without_any_modality_is_uniform_and_abstains(fusion):
    fused = fusion.fuse(np.zeros((2, 4), int), np.zeros((2, 4, 7)), np.zeros((2, 4)))
    assert np.allclose(fused.scores, 1 / 7)
    assert fused.abstained.all()
    assert not fused.attention.any()


def test_no_windows_give_no_rows(fusion):
    fused = fusion.fuse(np.zeros((0, 4), int), np.zeros((0, 4, 7)), np.zeros((0, 4)))
    assert fused.scores.shape == (0, 7)
    assert fused.attention.shape == (0, 4)


def test_folder_round_trip_and_what_a_broken_one_says(fusion, tmp_path):
    folder = tmp_path / "fusion"
    net = AttentionFusion(fusion.net.config)
    net.load_state_dict(fusion.net.float().state_dict())
    fusion.net.double()
    save_model(folder, net, None, CARD)
    loaded = load_fusion(folder)
    assert load_fusion(folder) is loaded
    windows = _windows(50, np.random.default_rng(3))
    found = loaded.fuse(*windows).scores
    assert np.abs(found - fusion.fuse(*windows).scores).max() < 5e-3  # half precision on disk
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    folder = folder.rename(tmp_path / "lacking")
    (other / "model.safetensors").write_bytes(b"not what the card describes")
    with pytest.raises(AffectstreamError, match="not the file its card describes"):
        load_fusion(other)
    with pytest.raises(AffectstreamError, match="no model card"):
        load_fusion(tmp_path / "nowhere")
    weights = load_file(folder / "model.safetensors")
    del weights["correct.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    write_card(folder, CARD)
    with pytest.raises(AffectstreamError, match=r"lacks correct\.bias: train it again"):
        load_fusion(folder)
    motion = Path(SHIPPED).parent / "motion-compact"
    with pytest.raises(AffectstreamError, match="for motion by its card"):
        load_fusion(motion)


def _relabelled(fusion, folder, order, names, labels):
    """Write the net as one that was trained on the vocabulary in another order."""
    net = AttentionFusion(AttentionFusionConfig(**label_maps(dict(enumerate(names)))))
    net.double().load_state_dict(fusion.net.state_dict())
    weights = net.state_dict()
    weights["embed.weight"][:, :7] = weights["embed.weight"][:, order]
    for name in ("correct.weight", "correct.bias"):
        weights[name][:] = weights[name][order]
    net.load_state_dict(weights)
    net.float().save_pretrained(folder)
    write_card(folder, CARD.model_copy(update={"labels": labels}))
    return load_fusion(folder)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("generic", [False, True])
def test_names_decide_what_a_fusion_s_outputs_are(fusion, tmp_path, seed, generic):
    rng = np.random.default_rng(seed)
    order = rng.permutation(7)
    shown = [EXPRESSIONS[place] for place in order]
    names = [f"LABEL_{i}" for i in range(7)] if generic else [name.upper() for name in shown]
    pairs = list(zip(names, shown, strict=True))
    rng.shuffle(pairs)
    found = _relabelled(fusion, tmp_path, order, names, dict(pairs))
    windows = _windows(50, rng)
    assert found.fuse(*windows).scores == pytest.approx(fusion.fuse(*windows).scores, abs=1e-5)


def test_a_fusion_whose_outputs_nobody_names_is_refused(fusion, tmp_path):
    names = [f"LABEL_{i}" for i in range(7)]
    with pytest.raises(AffectstreamError, match='such as "LABEL_0": "anger"'):
        _relabelled(fusion, tmp_path / "generic", np.arange(7), names, LABELS)
    merged = LABELS | {"disgust": "anger"}
    with pytest.raises(AffectstreamError, match="does not map one label to each expression"):
        _relabelled(fusion, tmp_path / "merged", np.arange(7), list(LABELS), merged)


@pytest.fixture(scope="module")
def shipped():
    return load_fusion()


def test_shipped_fusion_follows_a_single_modality(shipped):
    for place in range(4):
        counts = np.zeros((7, 4), int)
        counts[:, place] = 2
        scores = np.zeros((7, 4, 7), np.float32)
        scores[:, place] = np.eye(7) * 0.9 + 0.1 / 7
        fused = shipped.fuse(counts, scores, scores.max(axis=2))
        assert fused.scores.argmax(axis=1).tolist() == list(range(7)), place


def test_shipped_fusion_is_surer_where_modalities_agree(shipped):
    scores = np.tile((np.eye(7)[3] * 0.5 + 0.5 / 7).astype(np.float32), (1, 4, 1))
    confidence = scores.max(axis=2)
    alone = np.array([[2, 0, 0, 0]])
    together = np.array([[2, 2, 5, 20]])
    first = shipped.fuse(alone, scores, confidence)
    second = shipped.fuse(together, scores, confidence)
    assert second.scores[0].argmax() == first.scores[0].argmax() == 3
    assert second.confidence[0] > first.confidence[0]


def test_shipped_card_says_that_windows_are_simulated_and_what_they_gave():
    card = read_card(SHIPPED / "card.json")
    assert "simulated" in card.notes
    found = {(f.split, f.metric): f.value for f in card.figures}
    for size in ("2", "3", "4"):
        split = f"held-out windows, {size} modalities"
        fused = found[split, "fusion: accuracy"]
        assert fused > found[split, "plain average: accuracy"]
        assert fused > found[split, "most confident modality: accuracy"]


def test_a_modality_that_the_net_was_not_trained_on_has_no_part() -> None:
    known = AttentionFusion(AttentionFusionConfig(modalities=("motion", "text"))).double().eval()
    fusion = Fusion(known, CARD)
    counts = np.array([[1, 9, 0, 2], [0, 9, 9, 0]])
    scores = np.full((2, 4, 7), 1 / 7, np.float32)
    fused = fusion.fuse(counts, scores, np.full((2, 4), 0.5, np.float32))
    assert (fused.attention[0] > 0).tolist() == [True, False, False, True]
    assert fused.attention[0].sum() == pytest.approx(1)
    assert not fused.attention[1].any()
    assert fused.abstained.tolist()[1]
