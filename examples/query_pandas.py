"""What scenes showed, in pandas: ``python -m examples.query_pandas TABLES``.

``affectstream.query`` runs SQL in the engine of the command line, so views, ``as_of`` and
``changes_since`` work, and what comes into memory is the result alone.
"""

import sys

import pandas as pd

import affectstream


def main(tables: str, zone: str = "Europe/Berlin") -> pd.DataFrame:
    """Return the mean valence of each scene and local hour, of windows that did not abstain."""
    sql = "SELECT scene_id, window_start, valence FROM expressions WHERE NOT abstained"
    frame = affectstream.query(tables, sql)
    frame["hour"] = frame["window_start"].dt.tz_convert(zone).dt.floor("h")
    return frame.pivot_table(index="hour", columns="scene_id", values="valence", aggfunc="mean")


if __name__ == "__main__":
    print(main(sys.argv[1]).round(3))
