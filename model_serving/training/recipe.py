"""Recipes: everything that a training depends on, in one committed YAML file for each model."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml

RECIPES = Path(__file__).resolve().parent / "recipes"
WITHOUT = "-without-"
"""The part of the name of a recipe, and of its model, before the corpora that it leaves out."""


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

    The rest of the loss is the labels'.
    """

    teachers: tuple[str, ...]
    share: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)


class Recipe(Frozen):
    """One model: what it learns from, how, and what it may be used for.

    ``corpora`` maps the name of a corpus to how often its rows occur in an epoch; ``net`` holds
    the settings of the modality's own network, ``notes`` what its card says. ``version`` rises
    with every change of what it makes. ``given`` is how the command line names it, where that is
    not by ``name`` alone.
    """

    name: str
    version: str = "1.0.0"
    modality: Literal["text", "voice", "face", "motion", "fusion", "reply"]
    licence: Literal["open", "research"]
    seed: int = 13
    corpora: dict[str, int] = Field(default_factory=dict)
    coverage: float = Field(default=0.9, gt=0, le=1)
    schedule: Schedule = Schedule()
    distil: Distil | None = None
    net: dict[str, Any] = Field(default_factory=dict)
    notes: str = ""
    given: str = ""

    @property
    def command(self) -> str:
        """The command that rebuilds the model."""
        return f"affectstream train {self.modality} --recipe {self.given or self.name} --data DATA"

    def body(self, *known: str) -> str:
        """Return which of the ``known`` networks the recipe is for."""
        body = str(self.net.get("body"))
        if body not in known:
            message = f"recipe {self.name}: net.body is {body}: name one of {', '.join(known)}"
            raise AffectstreamError(message)
        return body

    def changed(self, seed: int | None, without: Sequence[str]) -> "Recipe":
        """Return the recipe with another seed, or without some corpora, under a name that says so.

        A recipe that leaves a corpus out has no teacher: its teacher saw that corpus.
        """
        unknown = sorted(set(without) - set(self.corpora))
        if unknown:
            message = f"recipe {self.name} has no corpora {unknown}: {sorted(self.corpora)}"
            raise AffectstreamError(message)
        update: dict[str, Any] = {}
        name, given = self.name, self.given or self.name
        if seed is not None and seed != self.seed:
            update["seed"] = seed
            name, given = f"{name}-seed{seed}", f"{given} --seed {seed}"
        if without:
            left = {corpus: n for corpus, n in self.corpora.items() if corpus not in without}
            update |= {"corpora": left, "distil": None}
            name += WITHOUT + "-".join(corpus.lower().replace(" ", "_") for corpus in without)
            given += "".join(f" --without {shlex.quote(corpus)}" for corpus in without)
        return self.model_copy(update=update | {"name": name, "given": given})


def read_recipe(name: str) -> Recipe:
    """Read a shipped recipe by name, or any by the path of its file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(found.stem for found in RECIPES.glob("*.yaml")))
        message = f"no recipe at {path}: name one of {shipped}, or a YAML file"
        raise AffectstreamError(message)
    recipe = read_yaml(path, Recipe, "a recipe")
    return recipe.model_copy(update={"given": shlex.quote(Path(name).name)})
