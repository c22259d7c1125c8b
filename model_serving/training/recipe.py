"""Recipes: everything that a training hangs on, in one committed YAML file a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml

RECIPES = Path(__file__).resolve().parent / "recipes"


class Schedule(Frozen):
    """Epochs of AdamW with linear warm-up and cosine decay.

    ``patience`` counts evaluations on dev without a better score before the training stops;
    ``head_learning_rate`` is that of parameters that start at random, where it differs.
    """

    epochs: float = Field(default=3, gt=0)
    batch: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float | None = None
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: float = Field(default=0.06, ge=0, lt=1)
    evaluations: int = Field(default=4, ge=1)
    patience: int = Field(default=3, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weight_power: float = Field(default=0.0, ge=0, le=1)
    accumulate: int = Field(default=1, ge=1)


class Distil(Frozen):
    """The teachers, by the names of their folders (see ``find_model``), and their part of the loss.

    The rest of the loss is the labels'. ``unlabelled`` names texts that only the teachers answer.
    """

    teachers: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    share: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)


class Recipe(Frozen):
    """One model: what it learns from, how, and what it may be used for.

    ``corpora`` maps the name of a corpus to how often its rows stand in an epoch; ``net`` holds
    the settings of the modality's own network, ``notes`` what its card says.
    """

    name: str
    modality: Literal["text", "voice", "face", "motion"]
    licence: Literal["open", "research"]
    seed: int = 13
    corpora: dict[str, int] = Field(default_factory=dict)
    coverage: float = Field(default=0.9, gt=0, le=1)
    schedule: Schedule = Schedule()
    distil: Distil | None = None
    net: dict[str, Any] = Field(default_factory=dict)
    notes: str = ""

    def changed(self, seed: int | None, without: Sequence[str]) -> "Recipe":
        """Return the recipe with another seed, or without some corpora, under a name that says so.

        A recipe that leaves a corpus out has no teacher: its teacher saw that corpus.
        """
        unknown = sorted(set(without) - set(self.corpora))
        if unknown:
            message = f"recipe {self.name} has no corpora {unknown}: {sorted(self.corpora)}"
            raise AffectstreamError(message)
        update: dict[str, Any] = {}
        name = self.name
        if seed is not None and seed != self.seed:
            update["seed"] = seed
            name = f"{name}-seed{seed}"
        if without:
            left = {corpus: n for corpus, n in self.corpora.items() if corpus not in without}
            update |= {"corpora": left, "distil": None}
            name += "-without-" + "-".join(corpus.lower().replace(" ", "_") for corpus in without)
        return self.model_copy(update=update | {"name": name})


def read_recipe(name: str) -> Recipe:
    """Read a shipped recipe by name, or any by the path of its file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(found.stem for found in RECIPES.glob("*.yaml")))
        message = f"no recipe at {path}: name one of {shipped}, or a YAML file"
        raise AffectstreamError(message)
    return read_yaml(path, Recipe, "a recipe")
