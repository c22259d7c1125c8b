"""Shows what a little data of their own gives five people with ten labelled lines each.

``python examples/five_users.py`` compares, by 5-fold cross-validation in which every fold holds
two lines of each person:

* *none*: the shipped text model as it is;
* *transfer*: a small correction on top of it, learnt from the training lines of all five;
* *per user*: the same, and a further correction of each person's own.

The correction is a linear map of the model's embedding, added to its log-probabilities, under a
penalty that keeps it near zero: with no data it is the shipped model. It writes the learning curve
as a picture and shows a positive line with its probability.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import torch
import yaml
from torch.nn import functional

from model_serving.calibration import softmax
from model_serving.loader import load_recogniser
from model_serving.metrics import accuracy
from model_serving.recogniser import Recogniser
from schemas.vocabularies import EXPRESSIONS

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent / "model_serving" / "weights" / "text-compact"
FOLDS = 5
SHARED_PENALTY, USER_PENALTY = 30.0, 10.0  # of squared corrections: weaker ones forget the model
COUNTS = (0, 2, 4, 6, 8)
POSITIVE = "I'm so glad you are here, this is the best day of the year!"


@dataclass(frozen=True, slots=True)
class Lines:
    """Labelled lines: text, whose it is, and what it shows, as indices."""

    texts: list[str]
    users: np.ndarray
    labels: np.ndarray
    names: list[str]


@dataclass(frozen=True, slots=True)
class Correction:
    """Linear corrections (33, 7): one for everybody, one for each person."""

    shared: np.ndarray
    own: np.ndarray


def read_lines(path: Path = HERE / "five_users.yaml") -> Lines:
    """Read the lines of all people."""
    people = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = [
        (text, user, label)
        for user, own in enumerate(people.values())
        for line in own
        for label, text in line.items()
    ]
    return Lines(
        [text for text, _, _ in rows],
        np.array([user for _, user, _ in rows]),
        np.array([EXPRESSIONS.index(label) for _, _, label in rows]),
        list(people),
    )


def features(model: Recogniser, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities (n, 7) and embeddings (n, 33), whose last column is one."""
    found = model.estimate(pa.record_batch({"text": pa.array(texts)}))
    lengths = np.linalg.norm(found.embeddings, axis=1, keepdims=True)
    embeddings = found.embeddings / np.maximum(lengths, 1e-9)
    return np.log(found.scores + 1e-6), np.hstack([embeddings, np.ones((len(texts), 1))])


def fold_of(lines: Lines, seed: int = 0) -> np.ndarray:
    """Return the fold of each line: two lines of every person in each."""
    rng = np.random.default_rng(seed)
    found = np.zeros(len(lines.texts), int)
    for user in np.unique(lines.users):
        rows = np.flatnonzero(lines.users == user)
        # Sorted by label before they are dealt out, so that folds hold different expressions.
        rows = rng.permutation(rows)
        rows = rows[np.argsort(lines.labels[rows], kind="stable")]
        found[rows] = np.arange(len(rows)) % FOLDS
    return found


def learn(
    log_probabilities: np.ndarray,
    embeddings: np.ndarray,
    lines: Lines,
    rows: np.ndarray,
    *,
    personal: bool,
) -> Correction:
    """Fit the corrections on these rows by L-BFGS: the loss is convex."""
    people, width = len(lines.names), embeddings.shape[1]
    shared = torch.zeros(width, len(EXPRESSIONS), dtype=torch.float64, requires_grad=True)
    own = torch.zeros(people, width, len(EXPRESSIONS), dtype=torch.float64, requires_grad=personal)
    given = torch.from_numpy(log_probabilities[rows])
    state = torch.from_numpy(embeddings[rows])
    users = torch.from_numpy(lines.users[rows])
    truth = torch.from_numpy(lines.labels[rows])
    learnt = [shared, own] if personal else [shared]
    solver = torch.optim.LBFGS(learnt, max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        moved = given + state @ shared + torch.einsum("nw,nwk->nk", state, own[users])
        value = functional.cross_entropy(moved, truth, reduction="sum")
        value = value + SHARED_PENALTY * shared.square().sum() + USER_PENALTY * own.square().sum()
        value.backward()
        return value

    if len(rows):
        solver.step(loss)
    return Correction(shared.detach().numpy(), own.detach().numpy())


def corrected(
    log_probabilities: np.ndarray, embeddings: np.ndarray, users: np.ndarray, found: Correction
) -> np.ndarray:
    """Return the (n, 7) probabilities after the corrections."""
    moved = log_probabilities + embeddings @ found.shared
    moved = moved + np.einsum("nw,nwk->nk", embeddings, found.own[users])
    return softmax(moved)


def curve(model: Recogniser, lines: Lines, repeats: int) -> dict[str, np.ndarray]:
    """Return held-out accuracy by kind of adaptation, (repeats * folds, counts of lines each).

    Without adaptation nothing depends on the number of lines.
    """
    given, state = features(model, lines.texts)
    found: dict[str, list[list[float]]] = {"none": [], "transfer": [], "per user": []}
    for repeat in range(repeats):
        folds = fold_of(lines, repeat)
        for fold in range(FOLDS):
            held = np.flatnonzero(folds == fold)
            rest = np.random.default_rng([repeat, fold]).permutation(np.flatnonzero(folds != fold))
            for name, results in found.items():
                accuracies = []
                for count in COUNTS:
                    rows = _few(lines.users, rest, 0 if name == "none" else count)
                    learnt = learn(given, state, lines, rows, personal=name == "per user")
                    shown = corrected(given[held], state[held], lines.users[held], learnt)
                    accuracies.append(accuracy(lines.labels[held], shown.argmax(axis=1)))
                results.append(accuracies)
    return {name: np.array(results) for name, results in found.items()}


def _few(users: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first ``count`` of these rows of every person."""
    picked = [rows[users[rows] == user][:count] for user in np.unique(users)]
    return np.concatenate(picked)


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """Draw the learning curve: mean accuracy, and the standard error over folds."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, results in found.items():
        mean, error = results.mean(axis=0), results.std(axis=0) / np.sqrt(len(results))
        axes.plot(COUNTS, mean, label=name, marker="o")
        axes.fill_between(COUNTS, mean - error, mean + error, alpha=0.15)
    axes.set(xlabel="labelled lines of each person", ylabel="held-out accuracy", ylim=(0, 1))
    axes.legend(title="adaptation")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(out: Path, repeats: int = 3) -> dict[str, float]:
    """Run the comparison, print it, and return the accuracy by kind of adaptation."""
    model = load_recogniser("text", str(SHIPPED), None, "cpu")
    lines = read_lines()
    found = curve(model, lines, repeats)
    final = {name: float(results[:, -1].mean()) for name, results in found.items()}
    print(f"{len(lines.texts)} lines of {len(lines.names)} people, {FOLDS} folds, {repeats} times")
    for name, results in found.items():
        spread = results[:, -1].std() / np.sqrt(len(results))
        print(f"  {name:9} held-out accuracy {final[name]:.1%} ± {spread:.1%}")
    draw(found, out / "learning_curve.png")
    given, state = features(model, [POSITIVE])
    everything = np.arange(len(lines.texts))
    learnt = learn(*features(model, lines.texts), lines, everything, personal=True)
    joy = EXPRESSIONS.index("joy")
    print(f'"{POSITIVE}"\n  shipped: joy {np.exp(given[0, joy]):.1%}')
    for user, name in enumerate(lines.names):
        chance = corrected(given, state, np.array([user]), learnt)[0, joy]
        print(f"  adapted to {name}: joy {chance:.1%}")
    print(f"learning curve: {out / 'learning_curve.png'}")
    return final


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/five_users"))
    main(parser.parse_args().out)
