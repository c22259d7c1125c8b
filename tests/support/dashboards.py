"""The dashboard as a user starts it, and a real Chromium that looks at it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from infra.processes import HOST, ROOT, Process, free_ports, need

CHROMIUM = "/usr/bin/chromium"
SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Flags for WebGL without a graphics card."""
REVIEWER = "dana"


NO_METRICS = "http://127.0.0.1:9/metrics"


@contextmanager
def dashboard(folder: Path, root: Path, metrics: str = NO_METRICS, *more: str) -> Iterator[str]:
    """Serve the page over the tables under ``root`` and give its address."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "pipelines.cli.main", "dashboard", "--tables", str(root)]
    settings = folder / "access.yaml"
    settings.write_text(f"access: {{audit: {folder / 'audit'}}}\n")
    command += ["--port", str(port), "--metrics", metrics, "--reviewer", REVIEWER]
    command += ["--config", str(settings), *more]
    server = Process("dashboard", folder, command, port, {"PYTHONPATH": str(ROOT)})
    server.start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.stop()


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Open Debian's Chromium without a window, with these flags."""
    need("chromium")
    with sync_playwright() as playwright:
        given = ["--no-sandbox", *flags]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=given)
        yield browser
        browser.close()


@dataclass(slots=True)
class Visit:
    """One viewer's page, what its console called an error, and the hosts that it asked."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def heading(self, name: str) -> None:
        """Wait until a heading of this name is there."""
        self.page.get_by_role("heading", name=name, exact=True).wait_for()

    def go(self, view: str, heading: str | None = None) -> None:
        """Choose a view in the navigation and wait for its heading."""
        self.page.get_by_role("link", name=view, exact=True).click()
        self.heading(heading or view)

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a select box."""
        self.page.get_by_role("combobox", name=label, exact=True).click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def shows(self, text: str) -> None:
        """Wait until a text stands somewhere on the page."""
        self.page.get_by_text(text).first.wait_for()

    def metric(self, label: str, value: str) -> None:
        """Wait until a figure has this value."""
        figures = self.page.get_by_test_id("stMetric").filter(has_text=label)
        figures.filter(has_text=value).first.wait_for()

    def cell(self, text: str) -> None:
        """Wait until a table has a cell with exactly this text."""
        cells = self.page.locator("[data-testid=stDataFrame] td")
        cells.get_by_text(text, exact=True).first.wait_for(state="attached")


def profile(browser: Browser, **given: Any) -> BrowserContext:
    """Return a browser's profile of its own: English and light, unless told otherwise."""
    usual = {"locale": "en-US", "viewport": {"width": 1280, "height": 1400}}
    made = browser.new_context(**(usual | given))
    made.set_default_timeout(10_000)
    return made


def visit(viewer: BrowserContext, address: str) -> Visit:
    """Open the page in a new tab, which is a new session."""
    opened = viewer.new_page()
    found = Visit(opened)
    opened.on("console", lambda m: found.errors.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: found.errors.append(str(error)))
    opened.on("request", lambda request: found.hosts.add(urlsplit(request.url).netloc))
    opened.goto(address)
    opened.locator("h1").wait_for()
    return found
