"""How a reply can come out."""

from typing import Literal

Outcome = Literal["made", "help", "refused", "rejected", "unfitting", "nothing", "late", "failed"]
"""``made``: a model's text. ``help``: the fixed help text, since the person's words tell of harm to
themselves; a person should look at it. ``refused``: the person's words ask for what no reply may be
made to. ``rejected``: the filter passed no candidate. ``unfitting``: it did, but none that suits
the strategy. ``nothing``, ``late`` and ``failed``: the model gave none, not in time, or an error.
"""
