"""Makes the pictures of the page: ``python -m docs.screenshots``, after ``make demo``."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from tests.support.dashboards import Visit, chromium, dashboard, profile, visit

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "docs" / "assets"
_VIEWPORT = {"width": 1180, "height": 1280}
_COLOURS = 64
"""A picture of a page has few colours; with 64 it takes a third of the bytes."""
_SETTLED_MS = 1_500


def main(tables: Path) -> None:
    """Write ``docs/assets/dashboard-*.png`` from these tables, of which a copy is shown."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "tables"
        shutil.copytree(tables, root)
        with dashboard(Path(made), root) as address, chromium() as browser:
            _take_all(browser, address)


def _take_all(browser: Browser, address: str) -> None:
    english = profile(browser, viewport=_VIEWPORT)
    _show(english, address, "Expression timeline", "live")
    shown = visit(english, address)
    shown.go("Decisions")
    shown.choose("Scene", "helpdesk-1")
    shown.heading("Why this decision")
    heading = shown.page.get_by_role("heading", name="Why this decision")
    heading.evaluate("heading => heading.scrollIntoView()")
    _save(shown, "explanation")
    shown.go("Review queue")
    shown.heading("Why this decision")
    shown.page.get_by_role("button", name="Store").scroll_into_view_if_needed()
    _save(shown, "reviews")
    chinese = profile(browser, viewport=_VIEWPORT, locale="zh-CN", color_scheme="dark")
    _show(chinese, address, "表情时间线", "chinese-dark")


def _show(viewer: BrowserContext, address: str, heading: str, name: str) -> None:
    shown = visit(viewer, address)
    shown.heading(heading)
    _save(shown, name)


def _save(shown: Visit, name: str) -> None:
    shown.page.mouse.move(0, 0)
    shown.page.wait_for_timeout(_SETTLED_MS)  # until pictures and tables are drawn
    picture = Image.open(io.BytesIO(shown.page.screenshot()))
    small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    small.save(ASSETS / f"dashboard-{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "demo" / "tables")
