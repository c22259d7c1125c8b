"""Whether past days that Spark rebuilds from their observations are as the stream landed them."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from infra.spark import spark_jars
from pipelines.backfill import embedded
from pipelines.backfill.backfill import backfill
from pipelines.backfill.days import Days
from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.spark.backfill import rebuild
from pipelines.spark.session import spark_session
from schemas.keys import write_keys
from tests.support.live_runs import QUIET
from tests.support.midnights import FIRST, write_midnights

_MIDNIGHTS = 3


def measure(folder: Path) -> dict[str, float]:
    """Replay the sample session around some midnights, and rebuild all days by both engines.

    ``backfill_rows_differ`` counts the rows of both that are not as they landed.
    """
    log, keys = write_midnights(folder, _MIDNIGHTS, media=True), folder / "keys.yaml"
    write_keys(keys)
    config = load_config(None, log=log, tables=folder / "tables", keys=keys)
    replay(config, QUIET)
    days = Days(FIRST, FIRST + timedelta(days=_MIDNIGHTS))
    spark_jars.fetch()
    with spark_session(spark_jars.JARS) as session:
        by_spark = partial(rebuild, session, write=False)
        found = backfill(config, days, by_spark, QUIET, write=False)
    here = backfill(config, days, partial(embedded.rebuild, write=False), QUIET, write=False)
    differ = sum(result.differ for result in (*found.values(), *here.values()))
    return {"backfill_rows_differ": float(differ)}
