"""The tables on Spark: maintenance and backfill past what one process can do."""
