"""What the documents name exists: files of the repository, and links between documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.parent.name != "benchmarks"  # dated: they keep the names of their day
]
ROOMS = "pipelines|transforms|model_serving|schemas|infra|tests|examples|docs"
_NAMED = re.compile(rf"`((?:{ROOMS})/[\w./-]+)`")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = _NAMED.findall(page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", ROOT.glob("*.md"), ids=lambda page: page.name)
def test_every_link_of_the_front_door_leads_somewhere(page: Path) -> None:
    links = [link.strip() for link in _LINK.findall(page.read_text(encoding="utf-8"))]
    assert not [link for link in links if not (ROOT / link).exists()]
