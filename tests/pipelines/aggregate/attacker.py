"""An attacker on answers: knows everybody but one person, and asks whether that one is there."""

import pyarrow as pa

from pipelines.aggregate.bound import GRID, Sums
from pipelines.aggregate.noise import Plan, discrete_gaussian, release
from pipelines.aggregate.settings import Aggregates


def advantage(
    worlds: tuple[Sums, Sums], plan: Plan, settings: Aggregates, trials: int, answers: int = 1
) -> float:
    """Return how often the attacker says rightly that the target is there, less how often wrongly.

    ``worlds`` are the sums without and with the target, who shows a valence of 1, of a question for
    valence alone. In each trial the attacker sees so many answers, each with noise of its own,
    weighs what they show by its noise, and says yes above the middle of what both worlds would give
    without noise: no attacker does better against Gaussian noise.
    """
    middle = sum(_score(release(each, plan, settings, lambda v, _: v), plan) for each in worlds) / 2
    said_yes = []
    for world in worlds:
        totals = (
            sum(
                _score(release(world, plan, settings, discrete_gaussian), plan)
                for _ in range(answers)
            )
            for _ in range(trials)
        )
        said_yes.append(sum(total > middle * answers for total in totals))
    return (said_yes[1] - said_yes[0]) / trials


def _score(answer: pa.Table, plan: Plan) -> float:
    (row,) = answer.to_pylist()
    estimated = row["subjects"] * (1 - row["share_abstained"])
    seen = {
        "subjects": row["subjects"],
        "estimated": estimated * GRID,
        "valence": row["valence"] * estimated * GRID,
    }
    target = {"subjects": 1, "estimated": GRID, "valence": GRID}
    return float(sum(seen[name] * target[name] / plan.scales[name] ** 2 for name in seen))
