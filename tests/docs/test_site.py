"""The documentation site builds without a warning and without the network."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipelines.config import Config
from pipelines.observe.catalogue import METRICS
from pipelines.tables.analyst_views import VIEWS
from schemas.errors import DeadLetterCode, QualityCode, RefusalCode
from schemas.logs.events import LogEvent
from schemas.media.formats import FormatCode
from schemas.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("demo", "replay", "live", "submit", "topics create", "publish", "record", "sessionlog"),
    *("query", "describe", "tables", "show", "report", "check", "train", "evaluate", "config"),
    *("maintain", "backfill", "feed"),
    *("trace", "serve", "tokens add", "tokens list", "tokens revoke"),
    *("dashboard", "review list", "review label", "review export", "explain", "aggregate"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning fails it. No proxy answers, so the network is away."""
    out = tmp_path_factory.mktemp("site")
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")}
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | nowhere | quiet,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def _codes_on(page: Path) -> set[str]:
    """Return what stands in code type on a page."""
    found = re.findall(r"<code>([^<]*)</code>", page.read_text(encoding="utf-8"))
    return {unescape(text) for text in found}


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*https?://[^>]*>", text), page


def test_every_column_of_tables_and_views_stands_on_their_page(site: Path) -> None:
    named = _codes_on(site / "reference" / "tables.html")
    described = (*TABLES.values(), *VIEWS.values())
    columns = {name for each in described for name in each.schema.names}
    assert columns <= named


def test_every_code_stands_on_its_page_with_what_to_do(site: Path) -> None:
    page = site / "reference" / "codes.html"
    codes = {*DeadLetterCode, *FormatCode, *RefusalCode, *QualityCode, *LogEvent}
    assert {str(code) for code in codes} <= _codes_on(page)
    text = re.sub(r"<[^>]+>", "", unescape(page.read_text(encoding="utf-8")))
    assert not [code for code in codes if code.cure.replace("`", "") not in text]


def test_every_metric_stands_on_its_page(site: Path) -> None:
    assert set(METRICS) <= _codes_on(site / "reference" / "metrics.html")


def test_every_setting_stands_on_the_page_of_the_configuration(site: Path) -> None:
    named = _codes_on(site / "reference" / "configuration.html")
    assert set(_settings(Config)) <= named


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_on_its_page(site: Path, command: str) -> None:
    assert f"affectstream {command}" in _codes_on(site / "reference" / "commands.html")


def test_every_page_of_the_navigation_is_listed_for_language_models(site: Path) -> None:
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): ", listed, re.M)
    assert len(links) > 20
    assert [link for link in links if not (site / link).is_file()] == []
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert "# For coding agents" in whole
    assert "window_end" in whole
