"""CloudEvents attributes of events: one row each, which decoding and the batches follow.

A new one is a row here, a property in ``json/attributes.v1.schema.json`` (noted in
``json/compatibility.json``) and its expectations in ``expectations/shared/attributes.json``. If it
goes on to windows it is a column of tables, too: a field of ``_CONTEXT`` in ``tables``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute or extension, and what is done with it.

    ``name`` is the name on the wire, without the ``ce_`` prefix. ``column`` is its column in EVENT
    batches as decoded; None where they have none. ``carried`` says how far this column goes as it
    is: with the event, or with the context of the session to its windows; None where its schema
    names it, since it is typed, replaced by a reference, or for media alone. Attributes with
    ``aliases`` are read by the table of other spellings.

    Attributes with a ``checksum_power`` make an event another one where they differ: the content
    checksum has the CRC-32 of each, times 31 to this power. A new one takes a power that no other
    has; events without it keep their checksum, since nothing is added for them.
    """

    name: str
    column: str | None = None
    carried: Literal["event", "window"] | None = None
    aliases: bool = False
    checksum_power: int | None = None


ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType(
    {
        attribute.name: attribute
        for attribute in (
            Attribute(name="id"),
            Attribute(name="source"),
            Attribute(name="type", column="event_type"),
            Attribute(name="subject", column="subject"),
            Attribute(name="time", column="event_time"),
            Attribute(name="dataschema"),
            Attribute(name="sessionid", column="session_id", checksum_power=5),
            Attribute(name="sceneid", column="scene_id", carried="window"),
            Attribute(
                name="scenario", column="scenario", carried="window", aliases=True, checksum_power=3
            ),
            Attribute(
                name="purpose", column="purpose", carried="window", aliases=True, checksum_power=2
            ),
            Attribute(
                name="region", column="region", carried="window", aliases=True, checksum_power=1
            ),
            Attribute(
                name="ageband", column="age_band", carried="window", aliases=True, checksum_power=0
            ),
            Attribute(name="noticeid", column="notice_id", carried="event", checksum_power=4),
            Attribute(name="dataref", column="media_ref"),
            Attribute(name="signature"),
        )
    }
)
"""Name on the wire → attribute. The ids of events come from ``id``, ``source``, ``subject`` and
``time``, see ``decoding.event_ids``."""

COLUMN_OF: Mapping[str, str] = MappingProxyType(
    {name: each.column for name, each in ATTRIBUTES.items() if each.column is not None}
)
"""Attribute → the column of EVENT batches that holds it."""
