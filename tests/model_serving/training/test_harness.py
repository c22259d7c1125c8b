"""The harness learns, stops, goes on after a kill as if nothing had been, and runs in processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from safetensors.torch import load_file

from model_serving.training.harness import ByLength, Run, fit, predict
from schemas.errors import AffectstreamError
from tests.model_serving.training.tiny_training import ROWS, problem, recipe

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).parent / "tiny_training.py"
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_it_learns_writes_tensorboard_and_keeps_the_best_state(tmp_path: Path) -> None:
    found, truth = problem()
    best = fit(found, recipe(), Run(folder=tmp_path, quiet=True))
    assert best > 0.9
    logits = predict(found.net, found.train, found.collate)
    assert (logits[:, :7].argmax(axis=1) == truth).mean() == pytest.approx(best)
    assert list((tmp_path / "tiny" / "tensorboard").glob("events*"))


def test_it_learns_in_half_precision_too(tmp_path: Path) -> None:
    found, _ = problem()
    dtypes = set()
    found.net.classifier.register_forward_hook(lambda *given: dtypes.add(given[2].dtype))
    assert fit(found, recipe(), Run(folder=tmp_path, quiet=True, precision="bf16")) > 0.9
    assert torch.bfloat16 in dtypes


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="fp16 needs a GPU: train with --precision bf16"):
        fit(problem()[0], recipe(), Run(folder=tmp_path, precision="fp16"))


def test_weights_and_biases_writes_offline_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_DIR"):
        monkeypatch.setenv(name, "")  # so that what the run sets is taken back
    found, _ = problem()
    fit(found, recipe(epochs=1, evaluations=1), Run(folder=tmp_path, quiet=True, wandb=True))
    wandb.finish()
    assert list((tmp_path / "tiny" / "wandb").glob("offline-run-*/*.wandb"))


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    found, _ = problem()
    scores = iter([0.5, 0.4, 0.3, 0.9, 0.9, 0.9])
    stuck = type(found)(**{**_fields(found), "score": lambda _: next(scores)})
    best = fit(stuck, recipe(evaluations=6, patience=2), Run(folder=tmp_path, quiet=True))
    assert best == 0.5
    assert next(scores) == 0.9  # the fourth evaluation never came


def test_patience_counts_on_after_a_kill(tmp_path: Path) -> None:
    scores = iter([0.5, 0.4, KeyboardInterrupt(), 0.3, 0.9, 0.9, 0.9])

    def score(_: object) -> float:
        found = next(scores)
        if isinstance(found, KeyboardInterrupt):
            raise found
        return found

    run = Run(folder=tmp_path, quiet=True)
    stuck = [type(p)(**_fields(p) | {"score": score}) for p in (problem()[0], problem()[0])]
    with pytest.raises(KeyboardInterrupt):
        fit(stuck[0], recipe(evaluations=6, patience=2), run)
    assert fit(stuck[1], recipe(evaluations=6, patience=2), run) == 0.5
    assert list(scores) == [0.9, 0.9, 0.9]  # none of them was asked for


def test_predictions_are_in_the_order_of_the_items() -> None:
    found, _ = problem()
    lengths = np.random.default_rng(0).permutation(ROWS).tolist()
    plain = predict(found.net, found.train, found.collate)
    sorted_ = predict(found.net, found.train, found.collate, batch=7, lengths=lengths)
    np.testing.assert_allclose(plain, sorted_, atol=1e-6)


def test_checkpoints_of_another_recipe_are_not_gone_on_from(tmp_path: Path) -> None:
    fit(problem()[0], recipe(epochs=1, evaluations=1), Run(folder=tmp_path, quiet=True))
    with pytest.raises(AffectstreamError, match="another recipe"):
        fit(problem()[0], recipe(epochs=2), Run(folder=tmp_path, quiet=True))
    fit(problem()[0], recipe(epochs=2), Run(folder=tmp_path, quiet=True, fresh=True))


def test_checkpoints_of_other_data_are_not_gone_on_from(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, quiet=True)
    fit(problem()[0], recipe(epochs=1, evaluations=1), run)
    fit(problem()[0], recipe(epochs=1, evaluations=1), run)
    found, _ = problem()
    found.train[0]["labels"][:7] = np.eye(7)[6]  # type: ignore[index]
    with pytest.raises(AffectstreamError, match="another recipe, seed or data"):
        fit(found, recipe(epochs=1, evaluations=1), run)


def test_accumulated_batches_are_averaged(tmp_path: Path) -> None:
    def state_after(**schedule: Any) -> dict[str, torch.Tensor]:
        found, _ = problem()
        found.net.body[2].p = 0.0  # type: ignore[index]
        settings = {"epochs": 1, "evaluations": 1, "learning_rate": 0.1, "warm_up": 0}
        name = f"batch-{schedule['batch']}"
        fit(found, recipe(**settings | schedule), Run(folder=tmp_path / name, quiet=True))
        return found.net.state_dict()

    whole, parts = state_after(batch=ROWS), state_after(batch=ROWS // 4, accumulate=4)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-4, rtol=0)


def test_batches_hold_similar_lengths_and_every_item_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 640)
    sampler = ByLength(640, lengths.tolist(), 32, seed=3)
    order = np.array(list(sampler))
    assert sorted(order) == list(range(640))
    spread = np.mean([np.ptp(lengths[part]) for part in order.reshape(-1, 32)])
    assert spread < 10 < np.ptp(lengths)
    sampler.set_epoch(1)
    assert list(sampler) != order.tolist()
    sampler.set_epoch(0)
    assert list(sampler) == order.tolist()


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, SCRIPT, whole, "0"], env=ENV, check=True, timeout=300)
    process = subprocess.Popen([sys.executable, SCRIPT, killed, "0.2"], env=ENV)
    deadline = time.monotonic() + 300
    while not list(killed.glob("tiny/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "final.safetensors").exists()
    (state,) = killed.glob("tiny/checkpoint-*/trainer_state.json")
    first = int(state.parent.name.rpartition("-")[2])
    (killed / "tiny" / f"checkpoint-{2 * first}").mkdir()  # as one that a kill cut short
    subprocess.run([sys.executable, SCRIPT, killed, "0"], env=ENV, check=True, timeout=300)
    expected = load_file(whole / "final.safetensors")
    found = load_file(killed / "final.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_two_processes_share_a_training(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--master-port", "0", "--standalone", str(SCRIPT), str(tmp_path), "0"),
    ]
    done = subprocess.run(
        command, env=ENV, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float((tmp_path / "score.txt").read_text()) > 0.9
    steps = sorted(int(p.name.split("-")[1]) for p in (tmp_path / "tiny").glob("checkpoint-*"))
    assert steps[-1] == 4 * ROWS // (16 * 2)
    own = [np.load(tmp_path / f"rows-{rank}.npy")[: ROWS // 2] for rank in (0, 1)]
    assert len(np.unique(np.concatenate(own))) == ROWS  # in an epoch each row is of one process


def _fields(found: object) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}  # type: ignore[attr-defined]
