"""What the pages name exists: files, other pages and their headings, tests, commands, targets of make, decisions."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import click
import pytest

from periodic_client.cli import cli as periodic
from periodicd import __version__
from periodicd.cli import periodicd

ROOT = Path(__file__).parent.parent
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/*/README.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts
)
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
MADE_BY_RUNNING = {"demo/bucket", "tests/oss/node_modules"}
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def headings(page: Path) -> set[str]:
    """As a link within the page names them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@cache
def all_tests() -> dict[str, str]:
    """Every test, and the file that it is in."""
    return {
        name: path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@cache
def sources() -> list[str]:
    """Every Python file, from a slash before its path on."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [f"/{path.relative_to(ROOT).as_posix()}" for folder in folders for path in folder.rglob("*.py")]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not heading or heading in headings(path), target


@each_page
def test_the_tests_that_it_names_exist(page: Path) -> None:
    """Where it says that they are: `tests/...::test_name`, or `test_name` (`tests/...`)."""
    found = re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`(?: \(`(tests/[\w/.]+)`\))?", page.read_text())
    for before, name, behind in found:
        assert name in all_tests(), name
        assert all_tests()[name].startswith(before or behind), f"{name} is in {all_tests()[name]}"


@each_page
def test_the_files_that_it_names_exist(page: Path) -> None:
    """Of this project, which is told by where their path begins."""
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    text = page.read_text()
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)(?:::\w+)?`", text):
        assert (ROOT / name).exists() or name in MADE_BY_RUNNING, name
    for name in re.findall(r"`([\w./]+\.py)`", text):
        assert any(source.endswith(f"/{name}") for source in sources()), name


@each_page
def test_the_modules_and_commands_that_it_names_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"python -m ((?:tests|rig|bench|demo|periodic\w+|image_workers)[\w.]*)", text):
        path = ROOT / name.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in re.findall(r"(?:^    |`)make ([a-z]+)\b", text, re.MULTILINE):
        assert name in targets, name


@each_page
def test_the_extras_that_it_names_exist(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"periodicd\[([\w,]+)\]", page.read_text()):
        assert set(names.split(",")) <= set(extras), names


@each_page
def test_the_commands_that_it_shows_can_be_given_so(page: Path) -> None:
    text = page.read_text()
    shown = re.findall(r"^    (periodicd? .+)$|`(periodicd? [^`]+)`", text, re.MULTILINE)
    for line in (indented or quoted for indented, quoted in shown):
        program, *words = shlex.split(line.removesuffix(" ..."), comments=True)
        command: click.Command = {"periodic": periodic, "periodicd": periodicd}[program]
        while True:
            _, words, _ = command.make_parser(click.Context(command)).parse_args(words)
            if not (isinstance(command, click.Group) and words):
                break
            assert words[0] in command.commands, line
            command, *words = command.commands[words[0]], *words[1:]


def test_the_parts_that_a_message_passes_exist() -> None:
    """`part.method` and `Class.method` in what architecture.md says of a message."""
    text = (ROOT / "docs" / "architecture.md").read_text().split("\nA message, followed")[1].split("\n### ")[0]
    found = re.findall(r"`(\w+)\.(\w+)`", text)
    assert len(found) > 8
    for part, name in found:
        files = [ROOT / source[1:] for source in sources() if source.startswith("/periodicd/")]
        if any(path.stem == name and path.parent.name == part for path in files):
            continue
        homes = [path for path in files if path.stem == part or f"class {part}:" in path.read_text()]
        assert any(re.search(rf"^\s*(def|class) {name}\b", path.read_text(), re.MULTILINE) for path in homes), (
            part,
            name,
        )


def test_every_decision_is_listed_by_its_heading() -> None:
    decisions = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    expected = []
    for number, path in enumerate(decisions, 1):
        heading = path.read_text().split("\n", 1)[0]
        assert path.name.startswith(f"{number:04}-"), path.name
        assert heading.startswith(f"# {number}. "), heading
        expected.append((path.name, heading.partition(". ")[2]))
    rows = re.findall(r"^\| \[\d+\]\((.*?)\) \| (.*?) \| .+ \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert rows == expected


def test_parity_has_all_its_rows_and_counts_them() -> None:
    text = (ROOT / "docs" / "parity.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    verdicts = {row[0]: row[1] for row in rows if re.fullmatch(r"w?\d+", row[0])}
    for letter, kind, count in (("", "features", 94), ("w", "weak points", 30)):
        ours = [verdicts.pop(f"{letter}{number}") for number in range(1, count + 1)]
        counts = [ours.count(each) for each in ("same", "better", "different", "not there")]
        assert [kind, *map(str, counts)] in rows, (kind, counts)
        assert sum(counts) == count
    assert not verdicts
    assert all("`tests/" in row[-1] for row in rows if row[1] in {"same", "better", "different"} and row[0])


def test_the_changelog_begins_with_the_version() -> None:
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1].rstrip(",") == __version__
