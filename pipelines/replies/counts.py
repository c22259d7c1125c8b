"""How the replies of this process came out, for its metrics."""

from collections import Counter
from typing import Final

from model_serving.reply.hazard import Hazard
from model_serving.reply.outcome import Outcome

OUTCOMES: Final[Counter[Outcome]] = Counter()
"""Replies by ``Outcome``: only what is ``made`` or ``help`` was sent, else the template stands."""
HAZARDS: Final[Counter[Hazard]] = Counter()
"""What the filter found, by kind."""
