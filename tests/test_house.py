"""The house rules, read from the source: who may import whom, who may wait or see a clock, how long a function is."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("periodic_client", "periodicd", "image_workers")

FUNCTION_LINES_MAX = 60
CLASS_LINES_MAX = 300
MODULE_LINES_MAX = 500

CORE = (
    "periodic_client.wire", "periodic_client.words", "periodicd.engine", "periodicd.job", "periodicd.methods",
    "periodicd.protocol", "periodicd.retry", "periodicd.scheduler", "periodicd.store.ops",
)  # fmt: skip
"""No I/O, no clock, no randomness."""
TRIO = ("periodicd.net", "periodicd.cli")
"""Of the daemon."""


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def floors() -> dict[str, int]:
    """Each module of the drawing in architecture.md, and the line that it stands on, counted from the top."""
    drawing = (ROOT / "docs" / "architecture.md").read_text().split("## The house")[1].split("\nA message, followed")[0]
    found: dict[str, int] = {}
    package = ""
    floor = 0
    for line in drawing.splitlines():
        names = re.match(r" {4,6}([a-z_][\w.]*(?:, ?[a-z_][\w.]*)*,?)(?:\s{2,}|$)", line)
        if names is None or "protocol.md" in line:
            continue
        first, *others = [name for name in re.split(r",\s*", names[1]) if name]
        if not line.startswith("      "):
            package, floor = first.split(".")[0], floor + 1
        for name in (first, *others):
            full = name if within(name, PACKAGES) else f"{package}.{name}"
            assert full not in found, f"{full} is drawn twice"
            found[full] = floor
    return found


FLOORS = floors()


def test_every_module_is_drawn_and_nothing_else() -> None:
    assert sorted(FLOORS) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    for other in imported(MODULES[name]):
        if within(other, PACKAGES):
            assert FLOORS[other] > FLOORS[name], f"{name} imports {other}, which does not stand below it"


def test_the_daemon_imports_little_of_the_library_and_the_pictures_import_only_it() -> None:
    shared = ("periodic_client.wire", "periodic_client.keepalive", "periodic_client.streams", "periodic_client.texts",
              "periodic_client.url", "periodic_client.words")  # fmt: skip
    for name, path in MODULES.items():
        others = {other for other in imported(path) if within(other, PACKAGES)}
        if within(name, ("periodicd",)):
            assert all(within(other, ("periodicd", *shared)) for other in others), name
        if within(name, ("image_workers",)):
            assert not any(within(other, ("periodicd",)) for other in others), name
        if within(name, ("periodic_client",)):
            assert all(within(other, ("periodic_client",)) for other in others), name


@pytest.mark.parametrize("name", MODULES)
def test_the_core_neither_waits_nor_looks_at_a_clock_nor_throws_dice(name: str) -> None:
    others = set(imported(MODULES[name]))
    if within(name, ("periodicd",)) and not within(name, TRIO):
        assert "trio" not in others
    if within(name, CORE):
        assert not others & {"time", "datetime", "random", "secrets", "uuid", "socket", "os", "threading", "asyncio"}
    assert "asyncio" not in others


def test_the_bare_client_needs_trio_and_msgpack_only() -> None:
    heavy = {"click", "rich", "msgspec", "sqlite_utils", "cronsim", "PIL", "yaml", "oss2"}
    for name, path in MODULES.items():
        if within(name, ("periodic_client",)) and not name.startswith(("periodic_client.cli", "periodic_client.words")):
            assert not (heavy | {"periodic_client.words"}) & set(imported(path)), name


@pytest.mark.parametrize("name", MODULES)
def test_a_module_begins_with_what_it_is(name: str) -> None:
    docstring = ast.get_docstring(tree(MODULES[name]))
    assert docstring, name
    assert len(docstring) > 30, name


@pytest.mark.parametrize("name", MODULES)
def test_a_function_fits_a_screen(name: str) -> None:
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name}.{node.name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_a_class_and_a_module_have_a_size(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX, name
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < CLASS_LINES_MAX, f"{name}.{node.name}"


@pytest.mark.parametrize("name", MODULES)
def test_no_leftovers(name: str) -> None:
    text = MODULES[name].read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), name
    assert not re.search(r"^\s*(print\(|breakpoint\()", text, re.MULTILINE), name


def test_packages_are_typed() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()


# -- tests stand on the product, never the other way ------------------------------------------------------------------

PRODUCT = (*PACKAGES, "rig", "bench", "demo", "examples")
SOURCES = {
    str(path.relative_to(ROOT)): path
    for folder in (*PRODUCT, "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
}


def named(path: Path) -> Iterator[str]:
    """What a file may import: each module, and each name in it, which may be a module too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_imports_a_test_module_or_a_command_of_the_tests(source: str) -> None:
    for name in named(SOURCES[source]):
        parts = name.split(".")
        if parts[0] == "tests":
            assert not any(part.startswith("test_") or part == "__main__" for part in parts), f"{source} imports {name}"


@pytest.mark.parametrize("source", [source for source in SOURCES if not source.startswith("tests/")])
def test_only_tests_know_of_tests(source: str) -> None:
    for name in named(SOURCES[source]):
        assert name.split(".")[0] != "tests", f"{source} imports {name}"
    for node in ast.walk(tree(SOURCES[source])):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.fullmatch(r"(\.{0,2}/)*tests(/\S*)?", node.value), f"{source} has the path {node.value}"


@pytest.mark.parametrize("source", SOURCES)
def test_only_benchmarks_and_their_tests_know_of_benchmarks_and_what_is_installed_stands_alone(source: str) -> None:
    folder = source.split("/")[0]
    foreign = set() if source.startswith(("bench/", "tests/bench/")) else {"bench"}
    if folder in PACKAGES or folder == "examples":
        foreign |= {"rig", "demo"}
    if folder == "rig":
        foreign |= {"demo", *PACKAGES}
    for name in named(SOURCES[source]):
        assert name.split(".")[0] not in foreign, f"{source} imports {name}"
