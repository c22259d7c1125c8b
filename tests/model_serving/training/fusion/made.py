"""Made corpora in the shape of CMU-MOSI, MELD and CPED, a few dialogues each."""

from pathlib import Path

import numpy as np
import pandas as pd

GOOD = ("i loved it", "what a great film", "so funny and warm", "a wonderful cast")
BAD = ("i hated it", "what an awful film", "so dull and cold", "a terrible cast")


def write_mosi(data: Path, videos: int = 12, utterances: int = 6) -> None:
    """Write both splits: text tells the label mostly, voice and face do not."""
    folder = data / "fusion" / "mosi_poria17"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays, lines = {}, []
    for split, first in (("train", 0), ("test", videos)):
        labels = np.arange(videos * utterances) % 2
        ids = [
            f"v_{first + row // utterances}_{row % utterances + 1}" for row in range(len(labels))
        ]
        noise = rng.standard_normal((len(labels), 4))
        arrays[f"{split}_id"] = np.array(ids)
        arrays[f"{split}_y"] = labels.astype(np.int8)
        arrays[f"{split}_text"] = (noise + 2 * labels[:, None]).astype(np.float32)
        arrays[f"{split}_audio"] = rng.standard_normal((len(labels), 3)).astype(np.float32)
        arrays[f"{split}_video"] = rng.standard_normal((len(labels), 2)).astype(np.float32)
        said = [rng.choice(GOOD if label else BAD).upper() for label in labels]
        lines += [f'"{i}","{text}","0","{y}"' for i, text, y in zip(ids, said, labels, strict=True)]
    np.savez(folder / "mosi_poria17.npz", **arrays)
    (folder / "transcripts.csv").write_text("\n".join(lines) + "\n")


def write_conversations(data: Path, dialogues: int = 12) -> None:
    """Write MELD's dev and test split and a CPED whose dialogues are of one expression each."""
    rows = [(name, place) for name in range(dialogues) for place in range(4)]
    shown = ["joy" if name % 2 else "anger" for name, _ in rows]
    said = [(GOOD if name % 2 else BAD)[place] for name, place in rows]
    meld = data / "text" / "meld"
    meld.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["Dialogue_ID", "Utterance_ID"])
    for split in ("dev", "test"):
        table.assign(Utterance=said, Emotion=shown).to_csv(meld / f"{split}_sent_emo.csv")
    cped = data / "text" / "cped"
    cped.mkdir(parents=True)
    many = [(f"{name:02}_{number:03}", place) for number in range(12) for name, place in rows]
    table = pd.DataFrame(many, columns=["Dialogue_ID", "Utterance_ID"])
    happy = ["happy" if name[1] in "13579" else "angry" for name in table["Dialogue_ID"]]
    text = ["真开心" if emotion == "happy" else "气死我了" for emotion in happy]
    table.assign(Utterance=text, Emotion=happy).to_csv(cped / "valid_split.csv", index=False)
