"""Names that the policy does not list: no row keeps what a client wrote in their place."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.gating.policy import Policy

UNLISTED: Final = "unlisted"
"""Stands in a row for a purpose, scenario, region or age band that the policy does not know."""


def hide_unlisted(rows: pa.RecordBatch, policy: Policy) -> pa.RecordBatch:
    """Return rows of refusals or of the ledger with UNLISTED for names that no list has.

    A null stays, since it says that nothing was given. Other spellings were read before, and the
    ledger's ``*`` is no name of a client's.
    """
    listed: Mapping[str, frozenset[str]] = {
        "purpose": policy.purposes | {"*"},
        "scenario": policy.scenarios | policy.judged_as.keys(),
        "region": policy.regions,
        "age_band": policy.age_bands,
    }
    for name in listed.keys() & set(rows.schema.names):
        column = rows[name]
        known = pc.is_in(column, pa.array(sorted(listed[name]), pa.string()))
        if pc.all(pc.or_(known, column.is_null())).as_py() is False:
            shown = pc.if_else(pc.or_(known, column.is_null()), column, UNLISTED)
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), shown)
    return rows


def hide_subjects_elsewhere(rows: pa.RecordBatch, regions: frozenset[str]) -> pa.RecordBatch:
    """Return refusals with null for whose they are where the region is none of these.

    An erasure, which has to compute the references of each region, could not find them.
    """
    here = pc.or_kleene(
        pc.is_in(rows["region"], pa.array(sorted(regions))), rows["region"].is_null()
    )
    if pc.all(here).as_py() is not False:
        return rows
    for name in ("subject_ref", "session_ref", "scene_id"):
        place = rows.schema.get_field_index(name)
        column = pc.if_else(here, rows[name], pa.scalar(None, rows[name].type))
        rows = rows.set_column(place, rows.schema.field(place), column)
    return rows
