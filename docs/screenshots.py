"""Makes the pictures of both pages: ``python -m docs.screenshots``, after ``make demo``."""

import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from examples.avatar.decisions import page_data, read_decisions
from examples.avatar.packages import fetch
from examples.avatar.server import HOST, Page
from tests.support.dashboards import SOFTWARE, Visit, chromium, dashboard, profile, visit

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "docs" / "assets"
_VIEWPORT = {"width": 1180, "height": 1280}
_HEAD = {"width": 720, "height": 660}
_COLOURS = 64
"""A picture of a page has few colours; with 64 it takes a third of the bytes."""
_SETTLED_MS = 1_500


def main(tables: Path) -> None:
    """Write ``docs/assets/*.png`` from these tables, of which a copy is shown."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "tables"
        shutil.copytree(tables, root)
        with dashboard(Path(made), root) as address, chromium() as browser:
            _take_all(browser, address)
    with chromium(*SOFTWARE) as browser:
        take_head(browser, tables)


def take_head(browser: Browser, tables: Path) -> None:
    """Write ``docs/assets/avatar.png``: the head where it smiles most."""
    fetch()
    events = read_decisions(str(tables))
    data = page_data(events)
    moving = [event for event in data["faces"][0]["events"] if "avatar" in event["data"]]
    most = max(moving, key=lambda event: event["data"]["avatar"]["weights"]["happy"])
    page = Page(0, data)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    viewer = profile(browser, viewport=_HEAD)
    shown = visit(viewer, f"http://{HOST}:{page.server_port}/?still")
    shown.page.locator("body[data-ready]").wait_for()
    shown.page.evaluate("time => window.avatar.stopAt(Date.parse(time) + 2000)", most["time"])
    _save(shown, "avatar")
    page.shutdown()


def _take_all(browser: Browser, address: str) -> None:
    english = profile(browser, viewport=_VIEWPORT)
    _show(english, address, "Expression timeline", "live")
    shown = visit(english, address)
    shown.go("Decisions")
    shown.choose("Scene", "helpdesk-1")
    shown.heading("Why this decision")
    heading = shown.page.get_by_role("heading", name="Why this decision")
    heading.evaluate("heading => heading.scrollIntoView()")
    _save(shown, "dashboard-explanation")
    shown.go("Review queue")
    shown.heading("Why this decision")
    shown.page.get_by_role("button", name="Store").scroll_into_view_if_needed()
    _save(shown, "dashboard-reviews")
    chinese = profile(browser, viewport=_VIEWPORT, locale="zh-CN", color_scheme="dark")
    _show(chinese, address, "表情时间线", "chinese-dark")


def _show(viewer: BrowserContext, address: str, heading: str, name: str) -> None:
    shown = visit(viewer, address)
    shown.heading(heading)
    _save(shown, f"dashboard-{name}")


def _save(shown: Visit, name: str) -> None:
    shown.page.mouse.move(0, 0)
    shown.page.wait_for_timeout(_SETTLED_MS)  # until pictures and tables are drawn
    picture = Image.open(io.BytesIO(shown.page.screenshot()))
    small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    small.save(ASSETS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "demo" / "tables")
