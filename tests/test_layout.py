"""The rooms: which may import from which, and how large they may grow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("infra", "pipelines", "transforms", "model_serving", "schemas")
"""A module imports from its own room and from those that come after it."""
FOLDERS = sorted({path.parent for top in (*LAYERS, "tests") for path in (ROOT / top).rglob("*.py")})
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in LAYERS
    for path in (ROOT / top).rglob("*.py")
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of this project that a module imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{name.name}" for name in node.names]
            found = [name if name in MODULES else node.module for name in whole]
        else:
            continue
        yield from (name for name in found if name in MODULES)


GRAPH = {name: sorted(set(imports(path)) - {name}) for name, path in MODULES.items()}


def test_no_module_imports_from_a_room_before_its_own() -> None:
    upward = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if LAYERS.index(other.split(".")[0]) < LAYERS.index(name.split(".")[0])
    ]
    assert upward == []


def test_no_imports_go_in_a_circle() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above[above.index(name) :], name))
        if name not in done:
            for other in GRAPH[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_can_be_looked_over(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 16
    long = [path.name for path in modules if len(path.read_text().splitlines()) > 400]
    assert long == [], "carve it"
