"""The demo: the built-in sample, the whole graph, its tables, its report."""

from pathlib import Path

from rich.console import Console

from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.sessionlogs.sample import ABOUT, SUBJECTS, write_sample
from pipelines.show.accuracy import GroundTruth
from pipelines.show.report import write_report
from pipelines.show.screen import show
from pipelines.tables.check import check_tables, print_verdicts
from schemas.keys import write_keys


def demo(out: Path, console: Console, progress: Console) -> None:
    """Write the sample and a key if they are missing, replay, show, check, report.

    The second run finds the same rows and adds none.
    """
    session, keys, tables = out / "session", out / "keys.yaml", out / "tables"
    if not session.exists():
        write_sample(session)
    if not keys.exists():
        write_keys(keys)
    truth = GroundTruth(session / "truth.parquet", keys)
    scenes = {"public_scenes": sorted({subject.scene for subject in SUBJECTS})}
    settings = load_config(None, log=session / "log", tables=tables, keys=keys, landing=scenes)
    done = replay(settings, progress)
    show(tables, console, truth)
    console.print(f"{ABOUT}\n")
    print_verdicts(check_tables(tables, out / "data_docs"), console)
    page = write_report(tables, out / "report.html", truth)
    console.print(
        f"\n{done.records:,} records in {done.seconds:.1f} s; report: {page}; "
        f"data docs: {out / 'data_docs'}"
    )
