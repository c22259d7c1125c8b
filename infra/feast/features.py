"""The feature repository: what Feast offers of the tables, for recommendations."""

from datetime import timedelta

from feast import Entity, FeatureView, ValueType

from pipelines.serve.feast.source import TableSource, fields
from schemas.settings import Decisions, Online
from schemas.tables import TABLES

PURPOSE = "recommendation"
"""People have consented to each row's own purpose, and to no other: one repository serves one."""

subject = Entity(
    name="subject",
    join_keys=["subject_ref"],
    value_type=ValueType.STRING,
    description="a person in one region, by pseudonym",
    owner="expression",
)
session = Entity(
    name="session",
    join_keys=["session_ref"],
    value_type=ValueType.STRING,
    description="a session of a person, by pseudonym",
    owner="expression",
)


def _view(name: str, table: str, entity: Entity, ttl_s: float, *, online: bool) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(seconds=ttl_s),
        source=TableSource(table=table, purpose=PURPOSE),
        schema=fields(table),
        online=online,
        description=f"{TABLES[table].description}, by {entity.name}",
        owner=TABLES[table].owner,
        tags={
            "purpose": PURPOSE,
            "table": table,
            "use": "never the only reason for a decision that matters to a person",
        },
    )


expression = _view("expression", "emotion_features", subject, Online().ttl_s, online=True)
decision = _view("decision", "expression_decisions", subject, Decisions().valid_s, online=True)
# The online store knows subjects. Their latest row names its session.
session_expression = _view(
    "session_expression", "emotion_features", session, Online().ttl_s, online=False
)
