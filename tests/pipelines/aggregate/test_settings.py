"""Absurd settings are refused in one sentence before anything is asked."""

from typing import Any

import pytest

from pipelines.config import load_config
from schemas.errors import AffectstreamError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epsilon": 0}, "`aggregates.epsilon` is 0: input should be greater than or equal"),
        ({"epsilon": -1}, "`aggregates.epsilon` is -1"),
        ({"epsilon": float("nan")}, "`aggregates.epsilon` is nan"),
        ({"epsilon": float("inf")}, "`aggregates.epsilon` is inf"),
        ({"epsilon": 50, "budget_epsilon": 60}, "less than or equal to 10"),
        ({"epsilon": "1"}, "`aggregates.epsilon` is '1'"),
        ({"epsilon": True}, "`aggregates.epsilon` is True"),
        ({"delta": 0}, "`aggregates.delta` is 0"),
        ({"delta": 0.5}, "`aggregates.delta` is 0.5"),
        ({"min_subjects": 19}, "`aggregates.min_subjects` is 19: input should be greater than"),
        ({"min_subjects": 20.5}, "`aggregates.min_subjects` is 20.5"),
        ({"max_groups": 0}, "`aggregates.max_groups` is 0"),
        ({"max_windows": -5}, "`aggregates.max_windows` is -5"),
        ({"max_windows": 10**30}, "less than or equal to 100000"),
        ({"audiences": []}, "name at least one audience"),
        ({"audiences": ["a b"]}, "name at least one audience"),
        ({"epsilon": 2, "budget_epsilon": 1}, "`epsilon` (2) is more than `budget_epsilon` (1)"),
        ({"budget_delta": 1e-9}, "`delta` (1e-08) is more than `budget_delta` (1e-09)"),
        ({"budget": 3}, "`aggregates.budget` is not a setting: did you mean `aggregates."),
        ({"ledger": ""}, "`aggregates.ledger`: an empty text"),
    ],
)
def test_what_protects_nobody_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AffectstreamError) as refused:
        load_config(tables="t", keys="k", aggregates=given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
