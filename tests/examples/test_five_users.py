"""The example runs, its folds are fair, and its corrections do what they say."""

from pathlib import Path

import numpy as np
import pytest

from examples import five_users as example


def test_it_runs_and_a_few_lines_do_not_make_it_forget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = example.main(tmp_path, repeats=1)
    assert final["none"] > 0.5  # chance is 0.3
    assert final["transfer"] >= final["none"] - 0.1
    assert final["per user"] >= final["none"] - 0.1
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    shipped = float(said.split("shipped: joy ")[1].split("%")[0])
    assert shipped > 50
    assert said.count("adapted to") == 5


def test_every_fold_holds_two_lines_of_each_person() -> None:
    lines = example.read_lines()
    assert len(lines.texts) == 50
    folds = example.fold_of(lines)
    for fold in range(example.FOLDS):
        assert np.bincount(lines.users[folds == fold]).tolist() == [2] * 5


def test_without_data_nothing_moves_and_a_habit_is_learnt_by_its_owner_alone() -> None:
    rng = np.random.default_rng(0)
    state = 9 * np.hstack([np.eye(32)[rng.integers(0, 2, 40)], np.ones((40, 1))])
    given = np.log(np.full((40, 7), 1 / 7))
    labels = np.where(state[:, 0] > 0, 3, 4)
    users = np.repeat([0, 1], 20)
    labels[users == 1] = 7 - labels[users == 1]  # the second person means the opposite
    lines = example.Lines([""] * 40, users, labels, ["a", "b"])
    blank = example.learn(given, state, lines, np.zeros(0, int), personal=True)
    assert example.corrected(given, state, users, blank) == pytest.approx(1 / 7)
    both = example.learn(given, state, lines, np.arange(40), personal=True)
    shown = example.corrected(given, state, users, both).argmax(axis=1)
    assert (shown == labels).all()
    one = example.learn(given, state, lines, np.arange(40), personal=False)
    shown = example.corrected(given, state, users, one).argmax(axis=1)
    assert (shown == labels).mean() < 0.75
