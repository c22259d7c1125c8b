"""The front end of text: tokens, and how much of each text can be judged."""

import re
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import model_serving.text.net  # noqa: F401 - registers ``mean_bert``
from model_serving.card import ModelCard
from model_serving.front_end import Inputs, Prepared, rows_with_payload
from model_serving.text.emoticons import say_faces
from model_serving.text.language import (
    EMOJI,
    Language,
    drop_decoration,
    language_share,
    load_identifier,
    name_emoji,
)
from model_serving.text.reading import text_for_model
from model_serving.text.spelling import respell
from schemas.errors import QualityCode

NET_CLASS = AutoModelForSequenceClassification
MAX_TOKENS = 64
_LONG_TEXT = 2048  # characters: a piece of the shipped vocabularies has at most 16
_MOST_READ = 8 * _LONG_TEXT  # of which white space and what is not seen is left out
_WORDS = re.compile(r"[^\s,;:/|&，、；：\-]")  # what is no mere separator of placeholders
_VOCABULARIES: Final = ("tokenizer.json", "vocab.txt", "vocab.json", "bpe.codes", "tekken.json")
_NO_VOCABULARY: Final = (
    "no tokenizer is there (tokenizer.json, vocab.txt or a SentencePiece file): save the one that "
    "the model was trained with beside it, by its `save_pretrained`"
)
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
_NO_TOKEN = -1  # an id that no text has, so that all its tokens count
_DOUBT = 0.6  # below this the code of what is wrong is given


class Reader:
    """Puts what a tokenizer has no piece for, in a text for models, into words that it has.

    Emoji become their names, and words drawn out or with digits for letters known ones.
    """

    def __init__(self, tokenizer: Any) -> None:
        ids = tokenizer(list(EMOJI), add_special_tokens=False)["input_ids"]
        unknown = tokenizer.unk_token_id
        self._unknown = {emoji for emoji, own in zip(EMOJI, ids, strict=True) if unknown in own}
        self._words = {piece.lstrip("▁Ġ") for piece in tokenizer.get_vocab() if piece[:1] in "▁Ġ"}

    def read(self, text: str) -> str:
        """Return the text with known words, and no more of it than can be read."""
        words = respell(say_faces(_truncate(text)), self._words)
        return name_emoji(words, self._unknown)[:_LONG_TEXT]

    def read_all(self, texts: Sequence[str]) -> list[str]:
        """Return texts as they were written as the pipeline reads them."""
        return [self.read(t) for t in text_for_model(pa.array(texts, pa.string())).to_pylist()]


class TextFrontEnd:
    """Tokenises text, at most 64 tokens a row; emoji that it has no piece for become their names.

    It reads what ``text_for_model`` leaves; a text of which that is nothing can't be judged.
    Where the card names ``languages``, neither can one in others. Of a long text only the
    beginning is read, and its quality falls once that is less than half of it.
    """

    column = "text"
    chunk_rows = 8192
    micro_batch = 24  # of similar lengths: 64 pad more and take 1.3 to 2.2 times the CPU time

    def __init__(self, tokenizer: Any, languages: Sequence[Language] = ()) -> None:
        self.pads = tokenizer.pad_token is not None
        self._tokenizer = tokenizer
        self._languages = languages
        self._reader = Reader(tokenizer)
        if languages:
            load_identifier()  # before workers are forked, which then share its memory

    def prepare(self, column: pa.Array) -> Prepared:
        rows, failures = rows_with_payload(column)
        whole = column.take(pa.array(rows))
        if not len(whole):
            return Prepared(rows, rows, lambda _: {}, failures)
        started = text_for_model(pc.utf8_slice_codeunits(whole, 0, _MOST_READ)).to_pylist()
        if "en" in self._languages:
            started = [drop_decoration(t) for t in started]
        texts = [self._reader.read(t) for t in started]
        sizes = pc.utf8_length(whole).to_numpy()
        sizes = np.where(sizes > _MOST_READ, sizes, [len(t) for t in started])
        limit = min(MAX_TOKENS, self._tokenizer.model_max_length)
        tokens = self._tokenizer(texts, truncation=True, max_length=limit)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]])
        quality, codes = self._judge(sizes, texts, tokens.encodings, lengths >= limit)

        def collate(picked: np.ndarray) -> Inputs:
            chosen = {name: [values[i] for i in picked] for name, values in tokens.items()}
            if not self.pads:
                return {name: torch.tensor(values) for name, values in chosen.items()}
            return dict(self._tokenizer.pad(chosen, return_tensors="pt"))

        return Prepared(rows, lengths, collate, failures, quality, codes)

    def _judge(
        self, sizes: np.ndarray, texts: list[str], encodings: Any, full: np.ndarray
    ) -> tuple[np.ndarray, tuple[QualityCode | None, ...]]:
        """Return what share of each text can be judged, and what is wrong if much.

        ``sizes`` are the characters of the whole texts; ``full`` marks rows that may have been
        cut; ``encodings`` are None of a tokenizer in Python.
        """
        read = np.minimum(sizes, _LONG_TEXT) / np.maximum(sizes, 1)
        for row in np.flatnonzero(full) if encodings else ():
            end = max(stop for _, stop in encodings[row].offsets)
            read[row] *= end / max(len(texts[row]), 1)
        length = np.clip(2 * read, 0.0, 1.0)
        known = np.ones(len(texts))
        there = np.array([_WORDS.search(text) is not None for text in texts])
        if self._languages:
            known = np.array([language_share(text, self._languages) for text in texts])
        codes = tuple(
            QualityCode.EMPTY
            if not some
            else None
            if min(long, ours) >= _DOUBT
            else QualityCode.TOO_LONG
            if long < ours
            else QualityCode.OTHER_LANGUAGE
            for some, long, ours in zip(there, length, known, strict=True)
        )
        return there * length * known, codes


def load_front_end(card: ModelCard, model: str, net: Any, options: dict[str, Any]) -> TextFrontEnd:
    """Load the tokenizer of a model; ``options`` are those of ``from_pretrained``.

    Raises ValueError where it does not fit the net: transformers makes an empty one where the
    files are missing. Nets that answer at the last token look for it by the padding token.
    """
    tokenizer = _load_tokenizer(Path(model), options)
    if not 0.5 < len(tokenizer) / net.config.vocab_size <= 1:
        message = (
            f"its tokenizer has {len(tokenizer)} pieces, and the net {net.config.vocab_size}: save "
            "the one that it was trained with beside it"
        )
        raise ValueError(message if _has_vocabulary(Path(model)) else _NO_VOCABULARY)
    if getattr(net.config, "pad_token_id", None) is None:
        padding = tokenizer.pad_token_id
        net.config.pad_token_id = _NO_TOKEN if padding is None else padding
    return TextFrontEnd(tokenizer, card.languages)


def _load_tokenizer(folder: Path, options: dict[str, Any]) -> Any:
    """Load a tokenizer; ValueError names the package that a SentencePiece file needs.

    transformers asks for tiktoken instead where sentencepiece is missing, or is built for another
    protobuf.
    """
    files = [name for name in _SENTENCEPIECE if (folder / name).is_file()]
    only = bool(files) and not (folder / "tokenizer.json").is_file()
    message = (
        f"its tokenizer is the SentencePiece file {', '.join(files)}: pip install "
        "affectstream[sentencepiece], or save it as tokenizer.json where that is installed"
    )
    if only and find_spec("sentencepiece") is None:
        raise ValueError(message)
    try:
        return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        if only and "tiktoken" in str(error):
            raise ValueError(message) from error
        if not _has_vocabulary(folder):
            raise ValueError(_NO_VOCABULARY) from error
        raise


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*_VOCABULARIES, *_SENTENCEPIECE))


def probe() -> pa.RecordBatch:
    """Return rows that every text model has to answer: two of one length, and longer ones."""
    texts = ["yes no", "no, I don't think so", "no yes", "yes no " * 80]
    return pa.record_batch({"text": pa.array(texts)})


def _truncate(text: str) -> str:
    """Return as much of a visible text as 64 tokens can hold: a book takes no longer."""
    if len(text) > _LONG_TEXT:
        text = " ".join(text.split())[:_LONG_TEXT]
    plain = unicodedata.normalize("NFKC", text)  # one letter may unfold to eighteen
    return text if len(plain) <= _LONG_TEXT else plain[:_LONG_TEXT]
