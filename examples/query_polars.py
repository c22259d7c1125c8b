"""What scenes showed, in Polars: ``python -m examples.query_polars TABLES``.

``scan_delta`` reads the files that the table's log names, those columns alone that a query needs,
and skips files by their statistics. It knows no views: for these, take the result of a query.
"""

import sys

import polars as pl

from pipelines.tables.query import query
from schemas.vocabularies import EXPRESSIONS


def main(tables: str) -> pl.DataFrame:
    """Return the mean valence and probability of joy by scene, of windows that did not abstain."""
    features = pl.scan_delta(f"{tables}/emotion_features")
    joy = pl.col("scores").list.get(EXPRESSIONS.index("joy"))
    return (
        features.filter(~pl.col("abstained"))
        .group_by("scene_id")
        .agg(pl.len().alias("windows"), pl.col("valence").mean(), joy.mean().alias("p_joy"))
        .sort("scene_id")
        .collect()
    )


def latest(tables: str) -> pl.DataFrame:
    """Return the newest window of each subject and purpose: a view, as a Polars frame."""
    return pl.from_arrow(query(tables, "SELECT * FROM latest"))


if __name__ == "__main__":
    print(main(sys.argv[1]))
