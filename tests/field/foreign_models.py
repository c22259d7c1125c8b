"""Model folders as other people save them: tiny, with random weights, of many architectures.

With ``says`` the head answers that label whatever is asked: its weights are 0 and its bias is not,
so that the right answer of a row is known.
"""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    ConvNextImageProcessorPil,
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz',."
_TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 130,
}
_WAVE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16, 16),
    "conv_stride": (8, 8),
    "conv_kernel": (16, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("text", _TEXT),
    "roberta": ("text", {**_TEXT, "pad_token_id": 0}),
    "xlm-roberta": ("text", {**_TEXT, "pad_token_id": 0}),
    "camembert": ("text", {**_TEXT, "pad_token_id": 0}),
    "electra": ("text", {**_TEXT, "embedding_size": 16}),
    "albert": ("text", {**_TEXT, "embedding_size": 16}),
    "deberta-v2": ("text", {**_TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "modernbert": ("text", {**_TEXT, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}),
    "distilbert": (
        "text",
        {"vocab_size": 64, "dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    ),
    "gpt2": ("text", {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}),
    "llama": ("text", {**_TEXT, "num_key_value_heads": 2}),
    "mistral": ("text", {**_TEXT, "num_key_value_heads": 2}),
    "qwen2": ("text", {**_TEXT, "num_key_value_heads": 2}),
    "xlnet": ("text", {"vocab_size": 64, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}),
    "wav2vec2": ("voice", {**_WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wav2vec2-base": ("voice", {**_WAVE, "feat_extract_norm": "group"}),
    "hubert": ("voice", {**_WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "whisper": (
        "voice",
        {
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 32,
            "vocab_size": 64,
            "classifier_proj_size": 16,
            "pad_token_id": 0,
        },
    ),
    "vit": (
        "face",
        {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 32,
            "patch_size": 16,
        },
    ),
    "convnext": ("face", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
}
"""Name → modality and the sizes of a tiny one."""

_NETS = {
    "text": AutoModelForSequenceClassification,
    "voice": AutoModelForAudioClassification,
    "face": AutoModelForImageClassification,
}


def make_folder(folder: Path, send: dict[str, Any]) -> str:
    """Save the model of a row in a folder, with what stands beside it; return its modality."""
    torch.manual_seed(0)
    modality, sizes = ARCHITECTURES[send["architecture"]]
    names = send["labels"]
    config = AutoConfig.for_model(
        send["architecture"].removesuffix("-base"),
        **(sizes | send.get("config", {})),
        initializer_range=0.5,
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
    )
    net = _NETS[modality].from_config(config)
    if "says" in send:
        _answer(net, names, send["says"])
    if send.get("adapter"):
        _save_adapter(folder, net, send["adapter"])
    else:
        net.save_pretrained(folder)
    _save_front_end(folder, modality, send)
    for name, text in send.get("beside", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if "prefix" in send:
        path = folder / "model.safetensors"
        held = {send["prefix"] + name: weights for name, weights in load_file(path).items()}
        save_file(held, path, metadata={"format": "pt"})
    for name in send.get("without", []):
        (folder / name).unlink()
    for name, change in send.get("change", {}).items():
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | change))
    if "card" in send:
        card = {"name": "theirs", "version": "1", "modality": modality, "licence": "research"}
        (folder / "card.json").write_text(json.dumps(card | send["card"]))
    return modality


def _answer(net: nn.Module, names: list[str], says: str | list[str]) -> None:
    """Make the last layer answer these labels, and no others, whatever it is given."""
    heads = [m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features == len(names)]
    head = heads[-1]
    assert head.bias is not None
    wanted = [says] if isinstance(says, str) else says
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([4.0 if name in wanted else -4.0 for name in names]))


def _save_adapter(folder: Path, net: Any, send: dict[str, Any]) -> None:
    """Save a LoRA adapter with the head of ``net``, and the base where ``send`` says."""
    base = folder / send.get("base", "base")
    head = "score" if hasattr(net, "score") else "classifier"
    tuned = get_peft_model(
        net,
        LoraConfig(
            task_type="SEQ_CLS", r=2, target_modules=send["targets"], modules_to_save=[head]
        ),
    )
    with torch.no_grad():
        for name, weights in tuned.named_parameters():
            if "lora_" in name:
                weights.normal_()
    tuned.peft_config["default"].base_model_name_or_path = send.get("named", str(base))
    tuned.save_pretrained(folder, save_embedding_layers=False)
    if not send.get("without_base"):
        plain = tuned.unload()
        plain.config.num_labels = send.get("base_labels", plain.config.num_labels)
        type(plain)(plain.config).save_pretrained(base)


def _save_front_end(folder: Path, modality: str, send: dict[str, Any]) -> None:
    if modality == "voice" and send["architecture"] == "whisper":
        WhisperFeatureExtractor().save_pretrained(folder)
    elif modality == "voice":
        masks = send["architecture"] != "wav2vec2-base"
        Wav2Vec2FeatureExtractor(return_attention_mask=masks).save_pretrained(folder)
    elif modality == "face" and send["architecture"] == "convnext":
        ConvNextImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(folder)
    elif modality == "face":
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    else:
        _TOKENIZERS[send.get("tokenizer", "words")](folder, send.get("tokenizer_options", {}))


def _save_words(folder: Path, options: dict[str, Any]) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS]
    tokenizer = Tokenizer(
        models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    given = {"pad_token": "[PAD]", "unk_token": "[UNK]", **options}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given).save_pretrained(folder)


def _save_bytes(folder: Path, options: dict[str, Any]) -> None:
    """Save a byte-level BPE tokenizer, as GPT-2 and RoBERTa have, without a padding token."""
    pieces = ["<|endoftext|>", *LETTERS, "Ġ", "Ġa", "Ġt"]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("Ġ", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", **options},
    ).save_pretrained(folder)


def _save_sentencepiece(folder: Path, options: dict[str, Any]) -> None:
    """Save nothing but the SentencePiece file, as old repositories have it.

    It is a message of protobuf: pieces (1) of text (1), score (2) and kind (3), and the trainer's
    settings (2), of which only the type of the model (3) is written: 1, unigram.
    """
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(piece, -3.0, 1) for piece in ("▁", *LETTERS)]
    written = b""
    for text, score, kind in pieces:
        name = text.encode()
        piece = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", score)
        piece += b"\x18" + bytes([kind])
        written += b"\x0a" + bytes([len(piece)]) + piece
    (folder / options.get("file", "spiece.model")).write_bytes(written + b"\x12\x02\x18\x01")


def _save_vocabulary(folder: Path, options: dict[str, Any]) -> None:
    """Save nothing but vocab.txt and its settings, as BERT's first folders have it."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "##a", "##e", "##s"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


_TOKENIZERS = {
    "words": _save_words,
    "bytes": _save_bytes,
    "sentencepiece": _save_sentencepiece,
    "vocabulary": _save_vocabulary,
}
