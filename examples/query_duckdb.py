"""What scenes showed, in DuckDB: ``python -m examples.query_duckdb TABLES``.

DuckDB's own reader of Delta tables is an extension that is downloaded. Without it, DuckDB reads the
files that the table's log names. Never give it the folder: there are also files of rows that were
replaced or erased. Rows that another engine deleted by a deletion vector would come back
too, so such a table is refused. Its functions of times with a zone are an extension as well: hours
are counted from ``epoch_us``.
"""

import sys

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.tables.query import query
from transforms.landing.features import check_readable

_SQL = """
    SELECT f.scene_id, make_timestamp(epoch_us(f.window_start) // 3600000000 * 3600000000) AS hour,
      count(*) AS windows, avg(f.valence) AS valence, count(DISTINCT l.subject_ref) AS newest_of
    FROM features f LEFT JOIN latest l USING (window_id)
    WHERE NOT f.abstained GROUP BY ALL ORDER BY ALL
"""


def main(tables: str) -> pa.Table:
    """Return the windows and mean valence of each scene and hour (UTC).

    ``newest_of`` is the number of subjects whose newest window is among them.
    """
    with duckdb.connect() as connection:
        connection.from_arrow(query(tables, "SELECT * FROM latest")).create_view("latest")
        files = live_files(f"{tables}/emotion_features")
        connection.read_parquet(files, hive_partitioning=True).create_view("features")
        return connection.sql(_SQL).to_arrow_table()


def live_files(place: str) -> list[str]:
    """Return the files that hold a table's rows now."""
    table = DeltaTable(place)
    check_readable(table)  # no deletion vectors, say, which a list of files knows nothing of
    return table.file_uris()


if __name__ == "__main__":
    print(main(sys.argv[1]).to_pandas())
