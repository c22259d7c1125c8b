import numpy as np
import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
)

from model_serving.motion.net import MotionMlp, MotionMlpConfig
from model_serving.training.heads import SHARED, id2label, label_maps
from model_serving.voice.net import VoiceStatistics, VoiceStatisticsConfig

RATE = 16_000
ID2LABEL = id2label((SHARED,))


@pytest.fixture(scope="module")
def extractor():
    return Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=RATE, do_normalize=True, return_attention_mask=True
    )


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    config = VoiceStatisticsConfig(hidden=32, encoder=True, **label_maps(ID2LABEL))
    net = VoiceStatistics(config)
    net.perceptron.spread.fill_(5.0)
    return net.eval()


def _heard(net, extractor, waves):
    batch = extractor(waves, sampling_rate=RATE, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return net(**batch)


def test_scores_depend_neither_on_padding_nor_on_the_batch(net, extractor):
    rng = np.random.default_rng(1)
    lengths = [1, 200, 1023, 1024, 1343, 1344, 9_000, 16_001, 47_999, 80_000]
    waves = [rng.standard_normal(n).astype(np.float32) for n in lengths]
    together = _heard(net, extractor, waves)
    for row, wave in enumerate(waves):
        alone = _heard(net, extractor, [wave])
        assert torch.allclose(alone.logits[0], together.logits[row], atol=1e-3)
        assert torch.allclose(
            alone.hidden_states[-1][0], together.hidden_states[-1][row], atol=1e-3
        )
    assert together.logits.std(dim=0).max() > 1e-3  # rows do differ


def test_what_stands_in_the_padding_is_never_heard(net):
    wave = torch.randn(1, 20_000)
    mask = (torch.arange(20_000) < 12_000).long().unsqueeze(0)
    with torch.inference_mode():
        quiet = net(wave * mask, attention_mask=mask).logits
        alone = net(wave[:, :12_000]).logits
    assert torch.allclose(quiet, alone, atol=1e-3)


def test_loudness_is_normalised_away(net, extractor):
    wave = np.random.default_rng(2).standard_normal(16_000).astype(np.float32)
    loud, soft = _heard(net, extractor, [wave, 0.05 * wave]).logits
    assert torch.allclose(loud, soft, atol=1e-3)


def test_voice_net_survives_a_round_trip_in_half_precision(net, extractor, tmp_path):
    waves = [np.random.default_rng(3).standard_normal(12_345).astype(np.float32)]
    half = VoiceStatistics(net.config)
    half.load_state_dict(net.state_dict())
    half.half().save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(
        tmp_path, use_safetensors=True, dtype=torch.float32
    ).eval()
    again = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded, VoiceStatistics)
    assert isinstance(again, Wav2Vec2FeatureExtractor)
    assert again.return_attention_mask
    assert loaded.config.id2label == ID2LABEL
    assert next(loaded.parameters()).dtype == torch.float32
    expected = _heard(net, extractor, waves).logits
    assert torch.allclose(_heard(loaded, again, waves).logits, expected, atol=0.02)


def test_motion_net_survives_a_round_trip(tmp_path):
    net = MotionMlp(MotionMlpConfig(**label_maps(ID2LABEL))).eval()
    net.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, use_safetensors=True).eval()
    frames = torch.rand(5, 55)
    with torch.inference_mode():
        expected = net(motion_values=frames)
        found = loaded(motion_values=frames)
    assert isinstance(loaded, MotionMlp)
    assert torch.equal(found.logits, expected.logits)
    assert found.logits.shape == (5, 7)
    assert found.hidden_states[-1].shape[0] == 5


def test_both_nets_give_a_loss_that_falls_with_training():
    torch.manual_seed(0)
    net = MotionMlp(MotionMlpConfig(**label_maps(ID2LABEL), dropout=0.0))
    labels = torch.arange(7).repeat(8)
    frames = torch.nn.functional.one_hot(labels, 55).float()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    first = net(motion_values=frames, labels=labels).loss
    for _ in range(30):
        loss = net(motion_values=frames, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < first / 4
