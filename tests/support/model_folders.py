"""Tiny models with random weights, saved as folders with a card, and EVENT batches for them."""

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from model_serving.text.language import EMOJI
from pipelines.sessionlogs.sample_data import HEADS, head
from schemas.events import TOPIC_OF, pseudonymous_schema
from schemas.modalities import MOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS

LETTERS = "abcdefghijklmnopqrstuvwxyz"
START = dt.datetime(2026, 9, 1, 23, 59, 58, tzinfo=dt.UTC)


def rendered_faces(count: int, side: int = 48) -> np.ndarray:
    """Return grey faces (n, side, side) of all expressions and heads of the sample in turn."""
    cells = [(number % HEADS, number % len(EXPRESSIONS), 0) for number in range(count)]
    faces = [Image.fromarray(head(who)[expression, row]) for who, expression, row in cells]
    return np.stack([np.asarray(face.convert("L").resize((side, side))) for face in faces])


def write_card(folder: Path, modality: str, labels: dict[str, str | None], **more: Any) -> None:
    card = {"name": f"tiny-{modality}", "version": "0", "modality": modality, "licence": "open"}
    (folder / "card.json").write_text(json.dumps({**card, "labels": labels, **more}))


def tiny_text(folder: Path, **config: Any) -> Path:
    torch.manual_seed(0)
    vocabulary = {
        piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=128,
    ).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    labels = config.pop("id2label", {0: "NEG", 1: "POS", 2: "MAD"})
    settings = BertConfig(
        vocab_size=len(vocabulary),
        num_hidden_layers=2,
        initializer_range=0.5,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
        **sizes,
        **config,
    )
    BertForSequenceClassification(settings).save_pretrained(folder)
    write_card(folder, "text", {"NEG": "sadness", "POS": "joy", "MAD": "anger"})
    return folder


def picky_text(folder: Path) -> Path:
    """Make a text model whose tokenizer raises on a letter that is neither ASCII nor an emoji.

    It names an unknown token that its vocabulary has not.
    """
    pieces = ["[PAD]", *map(chr, range(128)), *EMOJI]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    labels = {0: "joy", 1: "sadness"}
    settings = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )
    BertForSequenceClassification(settings).save_pretrained(folder)
    write_card(folder, "text", {"joy": "joy", "sadness": "sadness"})
    return folder


def tiny_voice(folder: Path, *, norm: str = "layer") -> Path:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_stride=(8, 8),
        conv_kernel=(16, 8),
        num_feat_extract_layers=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=16,
        initializer_range=0.5,
        num_labels=2,
        id2label={0: "hap", 1: "sad"},
        label2id={"hap": 0, "sad": 1},
    )
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    write_card(folder, "voice", {"hap": "joy", "sad": "sadness"})
    return folder


def tiny_face(folder: Path, *, channels: int = 3) -> Path:
    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=channels,
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        num_labels=2,
        id2label={0: "smile", 1: "frown"},
        label2id={"smile": 0, "frown": 1},
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    mean = [0.5] * channels
    ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=mean, image_std=mean
    ).save_pretrained(folder)
    write_card(folder, "face", {"smile": "joy", "frown": "anger"})
    return folder


def events(kind: str, payloads: list[Any]) -> pa.RecordBatch:
    """One EVENT batch after Pseudonymise: a row a payload, two seconds apart."""
    column = {"text": "text", "voice": "media", "face": "media", "motion": "weights"}[kind]
    rows = [
        {
            "topic": TOPIC_OF[kind],
            "partition": 3,
            "offset": 100 + number,
            "event_id": f"event-{number}",
            "event_time": START + dt.timedelta(seconds=2 * number),
            "subject_ref": "subject",
            "session_ref": "session",
            "scene_id": "scene",
            "scenario": "social",
            "purpose": "avatar_mirroring",
            "region": "US",
            "age_band": "adult",
            "notice_id": "notice",
            column: payload,
        }
        for number, payload in enumerate(payloads)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=pseudonymous_schema(kind))


def tone(seconds: float, *, rate: int = 16_000, file: str = "WAV", hertz: float = 220) -> bytes:
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    out = io.BytesIO()
    subtype = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "OPUS"}[file]
    soundfile.write(out, wave, rate, format=file, subtype=subtype)
    return out.getvalue()


def image(shade: int, *, size: int = 40, file: str = "PNG", mode: str = "RGB") -> bytes:
    grid = np.add.outer(np.arange(size), np.arange(size)) * 3 + shade
    out = io.BytesIO()
    Image.fromarray((grid % 256).astype(np.uint8)).convert(mode).save(out, file)
    return out.getvalue()


def motion(weight: float) -> list[float]:
    return [weight] * len(MOTION_FEATURES)


def tiny_causal(folder: Path) -> Path:
    """Make a causal language model over single characters, without a chat template."""
    torch.manual_seed(0)
    pieces = ["</s>", "<?>", *map(chr, range(32, 127)), "\n"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<?>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<?>"
    ).save_pretrained(folder)
    settings = LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(settings).save_pretrained(folder)
    return folder
