"""Models answer with one thread in every thread of a worker, whatever an import sets."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from model_serving import loader
from model_serving.fusion import load_fusion
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser, Recogniser
from model_serving.threads import THREADS
from tests.support import model_folders as folders

ROOT = Path(__file__).resolve().parents[2]
LOADS_VOICE = """
import sys
import pyarrow as pa
import torch
torch.set_num_threads(3)
from model_serving.loader import load_recogniser
from model_serving.voice.front_end import probe
load_recogniser("voice", "model_serving/weights/voice-compact", None, "cpu").estimate(probe())
print(torch.get_num_threads(), "silero_vad" in sys.modules)
"""


def seen_by(net: torch.nn.Module) -> list[int]:
    """Fill the list that is returned with the threads of each forward pass from now on."""
    seen: list[int] = []
    net.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    return seen


@pytest.fixture
def stray() -> Iterator[ThreadPoolExecutor]:
    """A thread that has computed with three threads, as a stray import set.

    It asks for the number first: torch gives a thread that never asked what was set last anywhere.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(torch.get_num_threads).result()
        pool.submit(torch.set_num_threads, 3).result()
        yield pool


def test_a_recogniser_computes_with_one_thread_and_leaves_others_theirs(
    tmp_path: Path, stray: ThreadPoolExecutor
) -> None:
    model = load_recogniser("text", str(folders.tiny_text(tmp_path)), None, "cpu")
    assert isinstance(model, NetRecogniser)
    seen = seen_by(model.net)
    batch = pa.record_batch({"text": pa.array(["hello", "world"])})
    stray.submit(model.estimate, batch).result()
    assert seen == [THREADS]
    assert stray.submit(torch.get_num_threads).result() == 3


def test_a_recogniser_is_loaded_with_one_thread(
    tmp_path: Path, stray: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, seen = loader._load, []

    def counting(*source: str) -> Recogniser:
        seen.append(torch.get_num_threads())
        return load(*source)

    monkeypatch.setattr(loader, "_load", counting)
    folder = str(folders.tiny_text(tmp_path))
    stray.submit(load_recogniser, "text", folder, None, "cpu").result()
    assert seen == [THREADS]


def test_a_fusion_computes_with_one_thread(stray: ThreadPoolExecutor) -> None:
    fusion = load_fusion()
    seen = seen_by(fusion.net)
    scores = np.full((1, 4, 7), 1 / 7)
    stray.submit(fusion.fuse, np.ones((1, 4)), scores, scores.max(axis=2)).result()
    assert seen == [THREADS]
    assert stray.submit(torch.get_num_threads).result() == 3


def test_a_voice_model_does_not_change_the_threads_of_the_process() -> None:
    command = [sys.executable, "-c", LOADS_VOICE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]
