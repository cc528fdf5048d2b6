"""The house rules, read from the source: who may import whom, who may wait or see a clock, how long a function is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("periodic_client", "periodicd", "image_workers")
FUNCTION_LINES_MAX = 60

CORE = (
    "ops", "job", "retry", "clock", "timers", "recent", "peers", "leases", "queues", "requests", "answers",
    "scheduler", "engine",
)  # fmt: skip

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # docs/architecture.md draws this table: each module, and what of the project it may import.
    "periodic_client.wire": ("periodic_client.wire",),
    "periodic_client.outcomes": (),
    "periodic_client.keepalive": (),
    "periodic_client.streams": (),
    "periodic_client": ("periodic_client",),
    "periodicd.clock": (),
    "periodicd.retry": (),
    "periodicd.timers": (),
    "periodicd.recent": (),
    "periodicd.job": ("periodicd.retry",),
    "periodicd.ops": ("periodicd.job",),
    "periodicd.answers": ("periodicd.job", "periodicd.ops"),
    "periodicd.leases": ("periodicd.job", "periodicd.peers", "periodicd.timers"),
    "periodicd.peers": ("periodic_client.wire", "periodicd.leases"),  # only for types
    "periodicd.queues": ("periodicd.job", "periodicd.ops"),
    "periodicd.requests": (
        "periodic_client.wire", "periodicd.job", "periodicd.ops", "periodicd.peers", "periodicd.retry",
    ),
    "periodicd.store": ("periodicd.job", "periodicd.ops", "periodicd.retry", "periodicd.store"),
    "periodicd.scheduler": (
        "periodic_client.wire", "periodicd.answers", "periodicd.clock", "periodicd.job", "periodicd.leases",
        "periodicd.ops", "periodicd.peers", "periodicd.queues", "periodicd.recent", "periodicd.requests",
        "periodicd.retry",
        "periodicd.timers",
    ),
    "periodicd.engine": (
        "periodic_client.wire", "periodicd.clock", "periodicd.ops", "periodicd.peers", "periodicd.requests",
        "periodicd.scheduler", "periodicd.store",
    ),
    "periodicd.config": ("periodicd.queues", "periodicd.scheduler"),
    "periodicd.line_writer": (),
    "periodicd.logs": ("periodicd.line_writer", "periodicd.peers", "periodicd.scheduler"),
    "periodicd.notify": (),
    "periodicd.__main__": ("periodic_client.streams", "periodicd"),
    "periodicd": ("periodic_client.wire", "periodic_client.keepalive", "periodicd"),
    "image_workers.errors": (),
    "image_workers.colour": ("image_workers.errors",),
    "image_workers.formats": ("image_workers.formats", "image_workers.colour", "image_workers.errors"),
    "image_workers": ("image_workers", "periodic_client"),
}  # fmt: skip
"""The longest name that fits a module counts."""


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    rule = max((rule for rule in MAY_IMPORT if within(name, (rule,))), key=len)
    for other in imported(MODULES[name]):
        if within(other, PACKAGES) and other not in PACKAGES:
            assert within(other, MAY_IMPORT[rule]), f"{name} imports {other}"


@pytest.mark.parametrize("name", MODULES)
def test_the_core_neither_waits_nor_looks_at_a_clock_nor_throws_dice(name: str) -> None:
    others = set(imported(MODULES[name]))
    if within(name, ("periodicd",)) and not within(name, ("periodicd.connection", "periodicd.server", "periodicd.cli")):
        assert "trio" not in others
    if within(name, ("periodic_client.wire", *(f"periodicd.{part}" for part in CORE))) and name != "periodicd.clock":
        assert not others & {"time", "datetime", "random", "secrets", "uuid", "socket", "os", "threading", "asyncio"}
    assert "asyncio" not in others


def test_the_bare_client_needs_trio_and_msgpack_only() -> None:
    heavy = {"click", "rich", "sqlite_utils", "PIL", "yaml", "oss2"}
    for name, path in MODULES.items():
        if within(name, ("periodic_client",)) and not name.startswith("periodic_client.cli"):
            assert not heavy & set(imported(path)), name


@pytest.mark.parametrize("name", MODULES)
def test_a_module_begins_with_what_it_is(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[name].read_text()))
    assert docstring, name
    assert len(docstring) > 30, name


@pytest.mark.parametrize("name", MODULES)
def test_a_function_fits_a_screen(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{name}.{node.name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_no_leftovers(name: str) -> None:
    text = MODULES[name].read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), name
    assert not re.search(r"^\s*(print\(|breakpoint\()", text, re.MULTILINE), name


def test_packages_are_typed() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
