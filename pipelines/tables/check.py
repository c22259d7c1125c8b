"""Great Expectations on the landed tables: one verdict a table, and its data docs as HTML."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from deltalake import DeltaTable
from great_expectations.data_context.types.base import ProgressBarsConfig
from rich.console import Console
from rich.table import Table

from schemas.errors import AffectstreamError
from schemas.suites import Suite, columns_of, expectation_name, load_suite
from schemas.table import Root
from schemas.tables import TABLES
from transforms.landing.features import check_readable


@dataclass(frozen=True, slots=True)
class TableVerdict:
    """What Great Expectations found in one table; ``failed`` names expectations, not rows."""

    table: str
    rows: int
    ok: bool
    failed: tuple[str, ...]


def check_tables(root: Root, docs: Path | None) -> list[TableVerdict]:
    """Run each table's suite on what has landed under ``root``; tables that are absent are left.

    With ``docs``, the data docs are written there: ``docs/index.html`` is where they start. Of a
    table only the columns that its suite names are read, so no vector is.

    Raises:
        AffectstreamError: there is no table under ``root``.
    """
    paths = {
        name: f"{root}/{name}" for name in TABLES if DeltaTable.is_deltatable(f"{root}/{name}")
    }
    if not paths:
        message = f"no tables under {root}: run `affectstream replay` first, or name another root"
        raise AffectstreamError(message)
    context = _context(docs)
    verdicts = [_verdict(context, name, path) for name, path in paths.items()]
    if docs is not None:
        context.build_data_docs()
    return verdicts


def _context(docs: Path | None) -> Any:
    """Return a context in memory that sends no analytics and shows no progress bars."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        context.add_data_docs_site(
            "tables",
            {
                "class_name": "SiteBuilder",
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(docs.resolve()),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
    return context


def _frame(path: str, suite: Suite) -> pd.DataFrame:
    used = {column for entry in suite["expectations"] for column in columns_of(entry["kwargs"])}
    table = DeltaTable(path)
    check_readable(table)
    return table.to_pyarrow_table(columns=sorted(used)).to_pandas()


def _verdict(context: Any, name: str, path: str) -> TableVerdict:
    suite = load_suite(f"tables/{name}")
    frame = _frame(path, suite)
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = gx.ValidationDefinition(
        name=name,
        data=asset.add_batch_definition_whole_dataframe("landed"),
        suite=context.suites.add(gx.ExpectationSuite(**suite)),
    )
    definition = context.validation_definitions.add(definition)
    result = definition.run(batch_parameters={"dataframe": frame}, result_format="BASIC")
    failed = tuple(
        expectation_name(outcome.expectation_config.type, outcome.expectation_config.kwargs)
        for outcome in result.results
        if not outcome.success
    )
    return TableVerdict(name, len(frame), bool(result.success), failed)


def print_verdicts(verdicts: list[TableVerdict], console: Console) -> None:
    """Print one line per table, with the expectations that failed."""
    table = Table("table", "rows", "expectations", title="expectations on the tables")
    for verdict in verdicts:
        found = "all hold" if verdict.ok else "[red]failed[/]\n" + "\n".join(verdict.failed)
        table.add_row(verdict.table, f"{verdict.rows:,}", found)
    console.print(table)
