"""Replies are learnt on the replies alone; a short training lowers their perplexity."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model_serving.corpora.dialogues import SHOWN_IN, read_empathetic
from model_serving.reply.card import read_adapter_card
from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.weights import load_causal
from model_serving.training.harness import Run
from model_serving.training.recipe import Recipe, read_recipe
from model_serving.training.reply.data import (
    NOTHING,
    Example,
    collate,
    evaluation_item,
    examples,
    split_of,
    strategy_of,
    training_items,
)
from model_serving.training.reply.train import ReplyLoss, train
from schemas.errors import AffectstreamError
from tests.support.model_folders import tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EmpatheticDialogues in small: 60 dialogues that all get the same answers."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "reply" / "empatheticdialogues"
    folder.mkdir(parents=True)
    for situation in (name for names in SHOWN_IN.values() for name in names):
        with (folder / f"{situation}.csv").open("w", newline="") as lines:
            rows = csv.writer(lines)
            rows.writerow(["Dialog_ID", "Type", "Actor", "Text"])
            for number in range(60 if situation == "proud" else 0):
                said = [("situation", "none", "x"), ("utterance", "speaker", f"I won  {number}")]
                said += [("utterance", "listener", "Wow!"), ("utterance", "listener", "Great!")]
                said += [("utterance", "speaker", "Yes"), ("utterance", "listener", "My cat too")]
                rows.writerows([f"hit:{number}_conv:1", *row] for row in said)
    return root


def test_dialogues_are_read_as_turns_that_alternate(data: Path) -> None:
    found = read_empathetic(data)
    assert len(found) == 60
    assert (found[3].expression, found[3].group) == ("joy", "hit:3")
    assert found[3].turns == (
        Turn("I won 3", True),
        Turn("Wow! Great!", False),
        Turn("Yes", True),
        Turn("My cat too", False),
    )


def test_groups_stay_on_one_side_of_the_split() -> None:
    parts = [split_of(f"hit:{number}") for number in range(4000)]
    assert 0.91 < parts.count("train") / 4000 < 0.95
    assert 0.01 < parts.count("dev") / 4000 < 0.03
    assert 0.04 < parts.count("test") / 4000 < 0.06


@pytest.mark.parametrize(
    ("reply", "expression", "strategy"),
    [
        ("Good luck, you can do it", "fear", "encourage"),
        ("That's great, congrats!", "joy", "celebrate"),
        ("That's great, oh no", "sadness", "comfort"),
        ("Maybe talk to her", "anger", "suggest"),
        ("When was that?", "anger", "ask"),
        ("I see.", "anger", "acknowledge"),
    ],
)
def test_how_a_reply_answers_is_read_off_it(reply: str, expression: str, strategy: str) -> None:
    assert strategy_of(reply, expression) == strategy


def test_the_targets_are_the_replies_that_tell_of_no_life_of_one_s_own(
    data: Path, base: Path
) -> None:
    _, tokenizer = load_causal(str(base))
    items = training_items(read_empathetic(data), "en", tokenizer, seed=1)
    assert len(items) == 60
    assert any("My cat too" in tokenizer.decode(item.ids) for item in items.rows)
    for item in items.rows:
        learnt = tokenizer.decode(item.targets[item.targets != NOTHING])
        assert learnt == "Wow! Great!</s>"
        assert (item.ids == item.targets)[item.targets != NOTHING].all()
        assert len(item.ids) <= 128


def test_an_evaluated_reply_is_the_only_target(data: Path, base: Path) -> None:
    _, tokenizer = load_causal(str(base))
    row = next(examples(read_empathetic(data), "en"))
    assert row == Example(Cue("en", "joy", "celebrate"), (Turn("I won 0", True),), "Wow! Great!")
    item = evaluation_item(row, tokenizer)
    text = tokenizer.decode(item.ids)
    assert text.endswith("user:I won 0 [joy; celebrate]</s>\nassistant:Wow! Great!</s>")
    assert tokenizer.decode(item.targets[item.targets != NOTHING]) == "Wow! Great!</s>"


def test_the_loss_is_that_of_the_whole_net(data: Path, base: Path) -> None:
    net, tokenizer = load_causal(str(base))
    rows = list(examples(read_empathetic(data), "en"))[:3]
    batch = collate([evaluation_item(row, tokenizer) for row in rows])
    with torch.inference_mode():
        found = ReplyLoss(net)(**batch).logits
        chances = net(input_ids=batch["ids"]).logits.log_softmax(-1)
    for number, (nats, count) in enumerate(found.tolist()):
        places = [p for p, token in enumerate(batch["targets"][number]) if token != NOTHING]
        each = [chances[number, p - 1, batch["targets"][number, p]].item() for p in places]
        assert count == len(places)
        assert nats == pytest.approx(-sum(each), rel=1e-4)


def recipe(base: Path, **changed: object) -> Recipe:
    found = read_recipe("reply-research")
    few = {"epochs": 4, "evaluations": 2, "learning_rate": 2e-2, "batch": 8}
    net = found.net | {"base": str(base), "rank": 4, "dev_rows": 100}
    schedule = found.schedule.model_copy(update=few)
    return found.model_copy(update={"schedule": schedule, "net": net} | changed)


def test_a_training_writes_an_adapter_that_lowers_the_perplexity(
    data: Path, base: Path, tmp_path: Path
) -> None:
    chosen = recipe(base)
    card = train(chosen, data, tmp_path / "out", Run(folder=tmp_path / "run", quiet=True))
    assert card == read_adapter_card(tmp_path / "out").model_copy(update={"sha256": {}})
    assert (card.licence, card.language) == ("research", "en")
    net, tokenizer = load_causal(str(base))
    dev = [found for found in read_empathetic(data) if split_of(found.group) == "dev"]
    rows = [row for row in examples(dev, "en") if "Wow" in row.reply]
    batch = collate([evaluation_item(row, tokenizer) for row in rows])

    def perplexity(given: object) -> float:
        with torch.inference_mode():
            nats, tokens = ReplyLoss(given)(**batch).logits.sum(0).tolist()
        return math.exp(nats / tokens)

    before = perplexity(net)
    after = perplexity(load_causal(str(base), adapter=tmp_path / "out")[0])
    assert after < 0.8 * before
    assert after == pytest.approx(card.figures[0].value, rel=0.01)
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float16)}


def test_a_corpus_for_research_makes_no_open_adapter(
    data: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(AffectstreamError, match="EmpatheticDialogues may be used for research"):
        train(recipe(base, licence="open"), data, tmp_path, Run(folder=tmp_path))
    with pytest.raises(AffectstreamError, match="not cross-validated"):
        train(recipe(base), data, tmp_path, Run(folder=tmp_path, folds=3))
