"""Free fields of events: what a client may write anything into, before any of it can land.

A scene that is not listed as public, and a notice whose id is no plain code, go on as keyed
pseudonyms, by which rows can still be grouped. A context field that is no plain code goes on as
null, as free text does (docs/adr/0016 and 0020).
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import CONTEXT_FIELDS
from schemas.stages import kind_of
from transforms.gating.legible import are_legible
from transforms.pseudonymising.codes import are_plain_codes, names_any

Keyed = Callable[[str, pa.Array], pa.Array]
"""Makes 32 hex digits of each value of a column by the secret key; the name says what they are."""

DIGITS: Final = 16
"""Hex digits of a pseudonym, 64 bits: of a billion scenes two share one with a chance of 3 %."""
_CACHE_LIMIT: Final = 100_000  # judgements held a process: about 30 MB


@dataclass(slots=True)
class FreeFields:
    """Replaces what may not land; ``public_scenes`` are names, or patterns such as ``level-*``."""

    public_scenes: tuple[str, ...] = ()
    _codes: dict[str, bool] = field(default_factory=dict)
    _nameless: dict[tuple[str, ...], bool] = field(default_factory=dict)

    def replace(self, events: pa.RecordBatch, keyed: Keyed) -> dict[str, pa.Array]:
        """Return the columns of an EVENT batch, with the raw ids still in it, that are replaced."""
        kind, subject = kind_of(events), events["subject"]
        scene = events["scene_id"]
        shown = self._are_plain(self._public(scene), subject)
        columns = {"scene_id": pc.coalesce(shown, _name("scene", scene, keyed))}
        if kind == "consent":
            notice = events["notice_id"]
            notice = pc.if_else(are_legible(notice), notice, None)
            shown = self._are_plain(notice, subject)
            columns["notice_id"] = pc.coalesce(shown, _name("notice", notice, keyed))
        if kind == "context":
            own = (subject, events["session_id"])
            columns |= {name: self._are_plain(events[name], *own) for name in CONTEXT_FIELDS}
            columns["details"] = self._details(events["details"], *own)
        return columns

    def _public(self, scene: pa.Array) -> pa.Array:
        """Return the scenes that are listed as public, null for the others."""
        if not self.public_scenes:
            return pa.nulls(len(scene), pa.string())
        listed = re.compile("|".join(translate(pattern) for pattern in self.public_scenes))
        coded = scene.dictionary_encode()
        named = [name if listed.match(name) else None for name in coded.dictionary.to_pylist()]
        return pa.array(named, pa.string()).take(coded.indices)

    def _are_plain(self, column: pa.Array, *own: pa.Array) -> pa.Array:
        """Return the values that are plain codes, null for the others."""
        if column.null_count == len(column):
            return column
        self._judge(column.unique().drop_null().to_pylist())
        rows = zip(column.to_pylist(), *(ids.to_pylist() for ids in own), strict=True)
        kept = [value if self._is_plain(value, *ids) else None for value, *ids in rows]
        return pa.array(kept, pa.string())

    def _judge(self, values: Iterable[str]) -> None:
        """Judge the values that are not known yet, all at once."""
        if len(self._codes) >= _CACHE_LIMIT:
            self._codes.clear()
        if new := [value for value in values if value not in self._codes]:
            self._codes.update(zip(new, are_plain_codes(new), strict=True))

    def _is_plain(self, value: str | None, *own: str | None) -> bool:
        """Tell whether a judged value is a plain code, and none of these raw ids is in it."""
        if value is None or not self._codes[value]:
            return False
        asked = (value, *filter(None, own))
        if (known := self._nameless.get(asked)) is None:
            if len(self._nameless) >= _CACHE_LIMIT:
                self._nameless.clear()
            known = self._nameless[asked] = not names_any(value, asked[1:])
        return known

    def _details(self, column: pa.Array, *own: pa.Array) -> pa.Array:
        """Return the JSON of each row's other fields, without those that are no plain codes."""
        if column.null_count == len(column):
            return column
        fields = [None if told is None else json.loads(told) for told in column.to_pylist()]
        self._judge({value for named in fields if named for value in named.values()})
        rows = zip(fields, *(ids.to_pylist() for ids in own), strict=True)
        kept = [self._plain_fields(named, *ids) if named else None for named, *ids in rows]
        return pa.array(kept, pa.string())

    def _plain_fields(self, named: dict[str, str], *own: str | None) -> str | None:
        plain = {name: code for name, code in named.items() if self._is_plain(code, *own)}
        return json.dumps(plain, separators=(",", ":")) if plain else None


def _name(what: str, column: pa.Array, keyed: Keyed) -> pa.Array:
    """Return pseudonyms such as ``scene-`` and 16 hex digits; a null has none."""
    digits = pc.binary_slice(keyed(what, column).cast(pa.binary()), 0, DIGITS).cast(pa.string())
    return pc.binary_join_element_wise(what, digits, "-")
