"""How well the language of chat texts is identified: ``python -m infra.bench.language CORPORA``.

English and Chinese are the test splits of the text corpora, other languages the dialogues of the
package chatterbot-corpus (BSD), which must be installed, without the lines that it left in English.
lingua-language-detector is measured beside where it is installed.
"""

import hashlib
import importlib.util
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from model_serving.corpora.text import CORPORA, EMOCONTEXT
from model_serving.text.language import language_share
from pipelines.show.markdown import markdown_table

LEAST_SHARE = 0.6  # under it the text's front end abstains
LATIN = ("dutch", "french", "german", "indonesian", "italian", "portuguese", "spanish", "swedish",
         "turkish", "yoruba")  # fmt: skip
LENGTHS = ("1-5", "6-20", "over 20")
_LETTER = re.compile(r"[^\W\d_]")
_NO_SPACES = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_EMOJI = "😂😭🥺❤😡🤢👍🙏🔥✨"
_SLANG = [
    "lol", "omg", "brb", "gg", "lmao", "ikr", "idk", "nvm", "afk", "wtf", "haha", "hahahahaha",
    "hmm", "ugh", "yay", "nope", "yup", "aww", "ty", "np", "pls", "thx", "k", "ok", "okay",
    "bruh", "yo", "sup", "wow", "damn", "rip", "noob", "ez", "glhf", "imo", "tbh", "sus", "pog",
    "noooooo", "yesss", "wyd", "ily", "smh", "jk", "rofl", "xd", "oof", "meh", "dunno", "gonna",
    "wanna", "cya", "gn", "gm", "aaaaargh", "cu",
]  # fmt: skip

IsKnown = Callable[[str], bool]
"""Whether a text is taken for English or Chinese."""


def length(text: str) -> str:
    """Return the class of a text by its words; two letters of scripts without spaces are one."""
    words = len(_NO_SPACES.findall(text)) / 2 + len(re.findall(r"\w+", _NO_SPACES.sub(" ", text)))
    return LENGTHS[0] if words <= 5 else LENGTHS[1] if words <= 20 else LENGTHS[2]


def own_texts(corpora: Path) -> dict[str, list[str]]:
    """Return the test texts of each language that the text model learns."""
    found: dict[str, list[str]] = {"English": [], "Chinese": []}
    for corpus in (*CORPORA, EMOCONTEXT):
        if "test" in corpus.splits:
            found[corpus.language] += corpus.splits["test"](corpora).texts
    return {name: [t for t in texts if _LETTER.search(t)] for name, texts in found.items()}


def other_texts() -> dict[str, list[str]]:
    """Return the half of the dialogues' lines, by language, that no threshold was chosen on."""
    spec = importlib.util.find_spec("chatterbot_corpus")
    if spec is None or spec.origin is None:
        sys.exit("the package chatterbot-corpus is missing: pip install --no-deps it")
    read = {path.name: _lines(path) for path in (Path(spec.origin).parent / "data").iterdir()}
    english = {line.casefold() for line in read["english"]}
    own = ("english", "chinese", "traditionalchinese", "hinglish")
    return {
        name: [t for t in lines if t.casefold() not in english and _is_test(t)]
        for name, lines in sorted(read.items())
        if name not in own
    }


def _lines(folder: Path) -> list[str]:
    lines: dict[str, None] = {}
    for path in sorted(folder.glob("*.yml")):
        try:
            dialogues = yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]
        except yaml.YAMLError:  # two of its files are not YAML
            continue
        texts = [line for dialogue in dialogues for line in dialogue or () if isinstance(line, str)]
        lines |= dict.fromkeys(text.strip() for text in texts if _LETTER.search(text))
    return list(lines)


def _is_test(text: str) -> bool:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()[0] % 2 == 1


def mixed_texts(own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return English and Chinese as chats mix them: both, with emoji, slang."""
    rng = random.Random(7)
    english = [t for t in own["English"] if length(t) == LENGTHS[0]]
    chinese = [t for t in own["Chinese"] if length(t) == LENGTHS[0]]
    pairs = [(rng.choice(english), rng.choice(chinese)) for _ in range(1000)]
    return {
        "Chinese, then English": [f"{zh} {en}" for en, zh in pairs],
        "English and emoji": [f"{en} {''.join(rng.choices(_EMOJI, k=3))}" for en, _ in pairs],
        "one English word": [rng.choice(en.split()) for en, _ in pairs],
        "slang": _SLANG,
    }


def shipped(text: str) -> bool:
    """Judge as the front end does."""
    return language_share(text, ("en", "zh")) >= LEAST_SHARE


def by_lingua(least: float) -> IsKnown:
    """Return lingua's judgement: all languages, English and Chinese together at least this sure."""
    from lingua import Language, LanguageDetectorBuilder  # noqa: PLC0415 - measured where installed

    detector = LanguageDetectorBuilder.from_all_languages().build()
    both = (Language.ENGLISH, Language.CHINESE)
    return lambda text: sum(detector.compute_language_confidence(text, x) for x in both) >= least


def row(is_known: IsKnown, texts: list[str]) -> list[str]:
    """Return the number of texts and the share taken for English or Chinese, by length."""
    kept = np.array([is_known(text) for text in texts])
    lengths = np.array([length(text) for text in texts])
    shares = [kept, *(kept[lengths == name] for name in LENGTHS)]
    return [f"{len(texts):,}", *("" if not len(s) else f"{s.mean():.2%}" for s in shares)]


def table(is_known: IsKnown, corpora: Path) -> str:
    """Return all figures of one way to tell as a Markdown table."""
    own, other = own_texts(corpora), other_texts()
    latin = [t for name in LATIN for t in other[name]]
    rest = [t for name, texts in other.items() if name not in LATIN for t in texts]
    groups = own | mixed_texts(own) | {"other, Latin letters": latin, "other scripts": rest}
    head = ["texts", "n", "taken for English or Chinese", *(f"{name} words" for name in LENGTHS)]
    rows = [[name, *row(is_known, texts)] for name, texts in groups.items()]
    start = time.process_time()
    for text in own["English"][:5000]:
        is_known(text)
    rate = 5000 / (time.process_time() - start)
    return f"{markdown_table(head, rows)}\n\n{rate:,.0f} English texts a CPU second.\n"


def main() -> None:
    """Print the tables."""
    corpora = Path(sys.argv[1])
    print(f"## As shipped\n\n{table(shipped, corpora)}")
    if importlib.util.find_spec("lingua"):
        print(f"## lingua, at least 2 % sure\n\n{table(by_lingua(0.02), corpora)}")


if __name__ == "__main__":
    main()
