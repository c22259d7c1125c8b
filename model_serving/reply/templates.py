"""The fixed texts of replies: templates by their id, and the help text."""

import functools
from pathlib import Path
from typing import Final

from model_serving.reply.prompt import Language
from schemas.strict import Frozen, read_yaml

_FILE: Final = Path(__file__).with_name("templates.yaml")


class FixedTexts(Frozen):
    """Texts by language: ``help`` for a person in danger, ``templates`` by the id of a reply."""

    help: dict[Language, str]
    templates: dict[str, dict[Language, str]]


@functools.cache
def read_fixed_texts() -> FixedTexts:
    """Read the texts that ship."""
    return read_yaml(_FILE, FixedTexts, "the fixed texts of replies")
