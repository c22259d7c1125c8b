"""The training harness of every recogniser: Hugging Face's Trainer over one ``Problem``.

It resumes from the last checkpoint of its run folder after a kill, writes TensorBoard's events,
stops early, and keeps the state with the best dev score. Under ``torchrun`` it trains in several
processes.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from model_serving.training.recipe import Recipe, Schedule
from schemas.errors import AffectstreamError

Batch = dict[str, Tensor]
Precision = Literal["fp32", "bf16", "fp16"]
TARGETS = ("labels", "teacher")
"""Entries of a batch that the loss sees and the net does not."""

_POOL = 50  # batches drawn at once and sorted by length: 40 % less padding
_STATE = "started_from.json"
_DESCRIPTIVE = {"version", "notes", "given"}  # settings of a recipe that change no weights


@dataclass(frozen=True, slots=True)
class Problem:
    """What is trained, on what, and how a state of it is judged.

    Items of ``train`` and ``dev`` are what ``collate`` makes a batch of: the net's inputs, and
    ``labels`` and ``teacher`` (see ``heads``). ``net(**inputs)`` gives an object with ``logits``.
    ``score`` gets the logits of each dev set in its order; higher is better. ``lengths`` of the
    training items make batches of similar length. ``heads`` are the names of parameters, by
    their beginning, that learn at ``head_learning_rate``. ``train`` holds arrays and
    no tensors, which pickle otherwise each time: a run goes on only with the data it began with.
    """

    net: nn.Module
    train: Dataset[Any]
    dev: Mapping[str, Dataset[Any]]
    collate: Callable[[list[Any]], Batch]
    loss: Callable[[Any, Batch], Tensor]
    score: Callable[[Mapping[str, np.ndarray]], float]
    lengths: Sequence[int] | None = None
    heads: tuple[str, ...] = ("classifier",)


@dataclass(frozen=True, slots=True)
class Run:
    """Where and how a training runs: nothing here changes what is learnt but ``precision``.

    ``folder`` is for checkpoints and TensorBoard and must be ignored by git; ``fresh`` deletes
    what is there; ``wandb`` writes Weights & Biases' files too, offline.
    """

    folder: Path = Path("build/training")
    fresh: bool = False
    wandb: bool = False
    precision: Precision = "fp32"
    quiet: bool = False
    folds: int = 0
    build: Path = Path("build")


def fit(problem: Problem, recipe: Recipe, run: Run) -> float:
    """Train ``problem.net`` in place to its best state on dev, and return that dev score.

    Raises AffectstreamError where the run's folder holds checkpoints of another recipe or data.
    """
    folder = run.folder / recipe.name
    last = _prepare(folder, problem, recipe, run)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    if run.wandb:
        os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder)}
    trainer = _Trainer(problem, recipe.schedule, _arguments(problem, recipe, run, folder))
    trainer.train(resume_from_checkpoint=last)
    return float(trainer.state.best_metric or 0.0)


def pass_batch_through(batch: Any) -> Batch:
    """Return a batch as the data set made it, as a whole, in ``__getitems__``."""
    made: Batch = batch
    return made


def rank() -> int:
    """Return which of ``torchrun``'s processes this is; 0 where it is the only one."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """True in the one process that writes the model folder."""
    return rank() == 0


def predict(
    net: nn.Module,
    items: Dataset[Any],
    collate: Callable[[list[Any]], Batch],
    *,
    batch: int = 64,
    lengths: Sequence[int] | None = None,
    title: str = "",
) -> np.ndarray:
    """Return the (n, outputs) logits of all items in their order, without dropout.

    With a ``title`` it shows how far it is.
    """
    count = len(_with_length(items))
    order = np.arange(count) if lengths is None else np.argsort(lengths, kind="stable")
    device = next(net.parameters()).device
    was = net.training
    net.eval()
    found = []
    with torch.inference_mode():
        parts = DataLoader(items, batch, sampler=order.tolist(), collate_fn=collate)
        for part in track(parts, description=title, disable=not title):
            inputs = {k: v.to(device) for k, v in part.items() if k not in TARGETS}
            found.append(net(**inputs).logits.float().cpu().numpy())
    net.train(was)
    return np.concatenate(found)[np.argsort(order)]


def _prepare(folder: Path, problem: Problem, recipe: Recipe, run: Run) -> str | None:
    """Make the run's folder and return its last checkpoint, if there is one to go on from."""
    state = folder / _STATE
    data = hashlib.blake2b(pickle.dumps(_drop_teacher(problem.train)), digest_size=16).hexdigest()
    asked = {"recipe": recipe.model_dump(mode="json", exclude=_DESCRIPTIVE), "data": data}
    if is_main() and run.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    began = json.loads(state.read_text()) if state.is_file() else None
    last = None if run.fresh else _last_complete(folder)
    if not run.fresh and began != asked and (began or last):
        message = f"{folder} holds checkpoints of another recipe, seed or data: go on with --fresh"
        raise AffectstreamError(message)
    folder.mkdir(parents=True, exist_ok=True)
    if is_main() and not state.is_file():
        part = state.with_suffix(".part")
        part.write_text(json.dumps(asked))
        part.replace(state)
    return last


def _drop_teacher(train: Dataset[Any]) -> Dataset[Any]:
    """Return the items without a teacher's answers, whose last bits depend on the processor."""
    given: Any = train
    return train if getattr(given, "teacher", None) is None else replace(given, teacher=None)


def _last_complete(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, which is the trainer's state."""
    states = folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")
    whole = [state.parent for state in states if _is_json(state)]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _arguments(problem: Problem, recipe: Recipe, run: Run, folder: Path) -> TrainingArguments:
    schedule = recipe.schedule
    cpu = not torch.cuda.is_available()
    if cpu and run.precision == "fp16":
        message = "fp16 needs a GPU: train with --precision bf16 or fp32"
        raise AffectstreamError(message)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rows = schedule.batch * schedule.accumulate * world
    every = max(
        1, round(schedule.epochs * len(_with_length(problem.train)) / rows / schedule.evaluations)
    )
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=every * schedule.evaluations,
        per_device_train_batch_size=schedule.batch,
        gradient_accumulation_steps=schedule.accumulate,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=schedule.warm_up,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # patience counts on after a kill
        load_best_model_at_end=True,
        metric_for_best_model="eval_score",
        greater_is_better=True,
        logging_steps=min(50, every),
        report_to=["tensorboard", "wandb"] if run.wandb else ["tensorboard"],
        run_name=recipe.name,
        seed=recipe.seed,
        bf16=run.precision == "bf16",
        fp16=run.precision == "fp16",
        use_cpu=cpu,
        ddp_backend="gloo" if world > 1 and cpu else None,
        ddp_find_unused_parameters=False,  # every output is a column of one head
        remove_unused_columns=False,
        disable_tqdm=run.quiet,
        dataloader_pin_memory=not cpu,
    )


class ByLength(Sampler[int]):
    """The items of an epoch in random order, where lengths are known in runs of similar ones.

    The order depends on seed and epoch alone, so a run that continues after a kill sees the same.
    """

    def __init__(self, count: int, lengths: Sequence[int] | None, batch: int, seed: int) -> None:
        self._count = count
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(self._count)
        if self._lengths is None:
            yield from order.tolist()
            return
        size = self._batch * _POOL
        for start in range(0, self._count, size):
            pool = order[start : start + size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            for part in rng.permutation(-(-len(pool) // self._batch)):
                yield from pool[part * self._batch : (part + 1) * self._batch].tolist()


class _Trainer(Trainer):
    """Hugging Face's loop with the problem's own loss, order of items and dev score."""

    def __init__(self, problem: Problem, schedule: Schedule, args: TrainingArguments) -> None:
        self._problem = problem
        super().__init__(
            model=problem.net,
            args=args,
            train_dataset=problem.train,
            eval_dataset=problem.train,  # ``evaluate`` below scores the dev sets
            data_collator=problem.collate,
            optimizers=(_optimiser(problem, schedule), None),
            callbacks=[EarlyStoppingCallback(schedule.patience)],
        )
        # Else a net that takes any keyword gets the sum of accumulated losses, not their mean.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows = self.args.train_batch_size
        count = len(_with_length(self._problem.train))
        return ByLength(count, self._problem.lengths, rows, self.args.seed)

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, **_: Any
    ) -> Any:
        output = model(**{name: v for name, v in inputs.items() if name not in TARGETS})
        loss = self._problem.loss(output, inputs)
        return (loss, output) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        del eval_dataset, ignore_keys
        problem = self._problem
        found = {
            name: predict(problem.net, items, problem.collate)
            for name, items in problem.dev.items()
        }
        metrics = {f"{metric_key_prefix}_score": problem.score(found)}
        self.log(metrics)
        control: Any = self.callback_handler.on_evaluate(
            self.args,
            self.state,
            self.control,  # type: ignore[has-type]
            metrics,
        )
        self.control = control
        return metrics


def _optimiser(problem: Problem, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW; no decay on biases, norms and word vectors, which it would pull to zero unseen."""
    vectors = {
        id(module.weight) for module in problem.net.modules() if isinstance(module, nn.Embedding)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in problem.net.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim < 2 or id(parameter) in vectors
        rate = schedule.learning_rate
        if schedule.head_learning_rate and name.startswith(problem.heads):
            rate = schedule.head_learning_rate
        groups.setdefault((rate, 0.0 if plain else schedule.weight_decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": rate, "weight_decay": w} for (rate, w), p in groups.items()]
    )


def _with_length(items: Dataset[Any]) -> Sized:
    if not isinstance(items, Sized):
        message = "a data set without a length can't be trained on"
        raise TypeError(message)
    return items
