"""Which output of a model says what: the names of its configuration, matched with its card's.

Names decide, after case, white space and width of letters are folded; the position of a label on a
card means nothing. The card has each name of the model once, and no other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np

from model_serving.card import ModelCard
from model_serving.folders.names import GENERIC, fold_name, propose_labels
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS, VALUES

_MEASURES: Final = {*VALUES, "dominance"}
"""Outputs that measure something, and are no answer beside the expressions."""
_PROBLEM_TYPES: Final = (
    "",
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
_SHOWN = 12  # names that a message lists: some models have hundreds


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the outputs of a model mean: the (labels, 7) matrix to expressions, and its values.

    ``values`` are the places of valence and arousal, where the model gives both. ``others``
    (labels,) marks the answers of the same head that stand for no expression: "none of these".
    With ``multi_label`` each output is a probability of its own.
    """

    matrix: np.ndarray
    others: np.ndarray
    values: tuple[int, ...] = ()
    multi_label: bool = False


def read_outputs(card: ModelCard, config: Any) -> Outputs:
    """Match the card's labels with the outputs of a model's configuration.

    Raises AffectstreamError, in a sentence that says what to write, where they do not fit.
    """
    names = output_names(card.model_id, config)
    targets = _targets(card, names)
    values = _values(card, names, targets)
    if all(target is None or target in VALUES for target in targets):
        _refuse(card, "maps no label to an expression", f"map one to {' or '.join(EXPRESSIONS)}")
    matrix = np.zeros((len(targets), len(EXPRESSIONS)))
    for row, target in enumerate(targets):
        if target in EXPRESSIONS:
            matrix[row, EXPRESSIONS.index(target)] = 1.0
    _check_bias(card, names, int(matrix.sum()))
    return Outputs(matrix, _others(names, targets), values, _is_multi_label(card, config))


def check_choice(card: ModelCard, config: Any, outputs: Outputs) -> None:
    """Refuse a head that measures, or that has one answer only, which softmax makes certain.

    Raises AffectstreamError.
    """
    if outputs.multi_label:
        return
    if getattr(config, "problem_type", None) == "regression":
        _refuse(
            card,
            "maps outputs to expressions that its model measures (`problem_type` is regression)",
            "use a model that classifies, or write `multi_label: true` where each output is the "
            "logit of one expression",
        )
    if int(outputs.matrix.any(axis=1).sum() + outputs.others.sum()) == 1:
        _refuse(
            card,
            "has one answer only, of which the model would always be certain",
            "use a model with an output for each expression, or write `multi_label: true` where "
            "the output is the logit of that expression",
        )


def _is_multi_label(card: ModelCard, config: Any) -> bool:
    if card.multi_label is not None:
        return card.multi_label
    kind = getattr(config, "problem_type", None) or ""
    if kind not in _PROBLEM_TYPES:
        _refuse(
            card,
            f"does not say whether each output is a probability of its own, and `problem_type` in "
            f"its model's config.json is {kind!r}, which transformers does not know",
            "write `multi_label` on the card, true or false",
        )
    if kind:
        return bool(kind == "multi_label_classification")
    return getattr(config, "function_to_apply", None) == "sigmoid"


def _others(names: list[str], targets: list[str | None]) -> np.ndarray:
    """Mark the outputs without an expression that answer in the head of those with one.

    Further heads, of a corpus with a vocabulary of its own, are named ``corpus:label``.
    """
    heads = [fold_name(name).rpartition(":")[0] for name in names]
    asked = {head for head, target in zip(heads, targets, strict=True) if target in EXPRESSIONS}
    return np.array(
        [
            target is None and head in asked and fold_name(name) not in _MEASURES
            for name, head, target in zip(names, heads, targets, strict=True)
        ]
    )


def output_names(model: str, config: Any) -> list[str]:
    """Return what a configuration calls its outputs, in their order, as it spells them.

    Raises AffectstreamError where that is not one name for each output.
    """
    given = {place: str(name) for place, name in (config.id2label or {}).items()}
    if sorted(given) != list(range(len(given))) or not given:
        message = (
            f"config.json of {model} numbers its labels {sorted(given)}: give its `id2label` a "
            "name for each output, counted from 0"
        )
        raise AffectstreamError(message)
    names = [given[place] for place in range(len(given))]
    if twice := _find_duplicate(names):
        message = (
            f"config.json of {model} names two outputs {twice!r}: give each a name of its own in "
            "`id2label`"
        )
        raise AffectstreamError(message)
    _check_reverse(model, names, getattr(config, "label2id", None) or {})
    return names


def find_outputs(names: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return the output that bears each wanted name, None where there is none."""
    places = {fold_name(name): place for place, name in enumerate(names)}
    return [places.get(fold_name(name)) for name in wanted]


def order_by_name(logits: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Return (n, wanted) logits by the names of the outputs, NaN where one is not given."""
    found = np.full((len(logits), len(wanted)), np.nan, np.float32)
    for column, place in enumerate(find_outputs(names, wanted)):
        if place is not None:
            found[:, column] = logits[:, place]
    return found


def _targets(card: ModelCard, names: list[str]) -> list[str | None]:
    """Return what each output stands for by the card: an expression, a value or nothing."""
    if twice := _find_duplicate(card.labels):
        _refuse(card, f"names {twice!r} twice", "leave one of them out")
    given = {fold_name(name): target for name, target in card.labels.items()}
    own = {fold_name(name): name for name in names}
    odd = [name for name in card.labels if fold_name(name) not in own]
    absent = [name for key, name in own.items() if key not in given]
    if absent and all(GENERIC.fullmatch(key) for key in own):
        first = names[0]
        _refuse(
            card,
            f"does not say what {_list_names(absent)} mean, and its model has no other names "
            "for them",
            f'write what each stands for in `labels`, such as "{first}": "{EXPRESSIONS[0]}"',
        )
    if odd:
        _refuse(
            card,
            f"names {odd[0]}, which its model does not",
            f"name the model's own labels ({_list_names(names)})" + _compare(card, names),
        )
    if absent:
        _refuse(
            card,
            f"does not name {_list_names(absent)}, which its model gives",
            "map every label of the model, to null what is no expression" + _compare(card, names),
        )
    return [given[fold_name(name)] for name in names]


def _compare(card: ModelCard, names: list[str]) -> str:
    """Return both lists of names side by side, and what to write for those of the model."""
    own = {fold_name(name): name for name in names}
    written = {fold_name(name): name for name in card.labels}
    keys = list(dict.fromkeys([*own, *written]))
    pairs = [("the model", "the card")] + [(own.get(k, "-"), written.get(k, "-")) for k in keys]
    wide = max(len(left) for left, _ in pairs[:_SHOWN])
    rows = [f"  {left:<{wide}}  {right}" for left, right in pairs[:_SHOWN]]
    more = [f"  ... and {len(pairs) - _SHOWN} more"] if len(pairs) > _SHOWN else []
    given = {fold_name(name): target for name, target in card.labels.items()}
    proposed = propose_labels(names)
    labels = {name: given.get(key, proposed[name]) for key, name in own.items()}
    some = json.dumps(dict(list(labels.items())[:_SHOWN]), ensure_ascii=False)
    return "\n".join(["", *rows, *more, f'  for example "labels": {some}'])


def _values(card: ModelCard, names: list[str], targets: list[str | None]) -> tuple[int, ...]:
    """Return the outputs that are valence and arousal, by their own name or by the card's map."""
    found = []
    for value in VALUES:
        places = [i for i, target in enumerate(targets) if target == value]
        named = [i for i, name in enumerate(names) if fold_name(name) == value]
        if len(set(places) | set(named)) > 1:
            _refuse(card, f"maps two labels to {value}", "a model gives it once")
        if named and targets[named[0]] not in {None, value}:
            wrong = f"maps {names[named[0]]} to {targets[named[0]]}"
            _refuse(card, wrong, f"map it to null or {value}: it is read as that")
        found += places or named
    return tuple(found) if len(found) == len(VALUES) else ()


def _check_bias(card: ModelCard, names: list[str], mapped: int) -> None:
    """Refuse a bias that may be meant for other labels: it has no names of its own."""
    bias = card.calibration.bias
    if not bias:
        return
    if len(bias) != mapped:
        message = (
            f"the card of {card.model_id} has a bias of {len(bias)} values for {mapped} labels "
            "that map to an expression: give one each"
        )
        raise AffectstreamError(message)
    if [fold_name(name) for name in card.labels] != [fold_name(name) for name in names]:
        _refuse(
            card,
            "has a bias, whose values have no names, and lists its labels in another order than "
            "the model",
            f"write labels and bias in the model's order ({_list_names(names)})",
        )


def _check_reverse(model: str, names: list[str], reverse: Mapping[str, Any]) -> None:
    """Refuse a configuration whose two tables of names contradict each other."""
    try:
        places = {fold_name(str(name)): int(place) for name, place in reverse.items()}
    except (AttributeError, TypeError, ValueError) as error:
        message = f"`label2id` in config.json of {model} gives no number for each name: write it so"
        raise AffectstreamError(message) from error
    if set(places) != {fold_name(name) for name in names}:  # often a default that nobody reads
        return
    wrong = next((i for i, name in enumerate(names) if places[fold_name(name)] != i), None)
    if wrong is not None:
        message = (
            f"config.json of {model} calls output {wrong} {names[wrong]} in `id2label` and output "
            f"{places[fold_name(names[wrong])]} so in `label2id`: write there what the model learnt"
        )
        raise AffectstreamError(message)


def _find_duplicate(names: Sequence[str] | Mapping[str, Any]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if fold_name(name) in seen:
            return name
        seen.add(fold_name(name))
    return None


def _list_names(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _refuse(card: ModelCard, wrong: str, write: str) -> NoReturn:
    message = f"the card of {card.model_id} {wrong}: {write}"
    raise AffectstreamError(message)
