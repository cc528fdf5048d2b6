"""Which build runs is said, and in a tree that people edit nobody runs an old one unknowingly."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from click.testing import CliRunner

import periodicd
from periodicd import BUILD, __version__, build
from periodicd.cli import periodicd as command


def build_in(tree: Path) -> "subprocess.CompletedProcess[str]":
    ask = [sys.executable, "-c", "from periodicd import BUILD; print(BUILD)"]
    return subprocess.run(ask, cwd=tree, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """With a core that counts as compiled, though nothing of it is ever imported."""
    folder = tmp_path / "periodicd"
    (folder / "scheduler").mkdir(parents=True)
    for module in (periodicd, build):
        shutil.copy(str(module.__file__), folder)
    (tmp_path / "setup.py").touch()
    source = folder / "scheduler" / "runs.py"
    source.touch()
    os.utime(source, (1_000, 1_000))
    compiled = source.with_name("runs" + EXTENSION_SUFFIXES[0])
    compiled.touch()
    os.utime(compiled, (1_001, 1_001))
    return tmp_path


def test_a_compiled_core_that_is_newer_than_its_source_is_used(tree: Path) -> None:
    assert build_in(tree).stdout == "compiled\n"


def test_a_compiled_core_that_is_older_than_its_source_is_refused(tree: Path) -> None:
    os.utime(tree / "periodicd/scheduler/runs.py", (1_002, 1_002))
    ended = build_in(tree)
    assert ended.returncode == 1
    assert "the compiled core is older than periodicd/scheduler/runs.py: `make compiled` builds it anew" in ended.stderr


def test_an_installation_is_not_looked_at(tree: Path) -> None:
    """Of which file a wheel was unpacked first says nothing."""
    (tree / "setup.py").unlink()
    os.utime(tree / "periodicd/scheduler/runs.py", (1_002, 1_002))
    assert build_in(tree).stdout == "compiled\n"


def test_without_anything_compiled_the_core_is_pure(tree: Path) -> None:
    for compiled in tree.rglob("*.so"):
        compiled.unlink()
    assert build_in(tree).stdout == "pure\n"


def test_the_version_says_which_it_is() -> None:
    assert CliRunner().invoke(command, ["--version"]).output == f"periodicd, version {__version__}, {BUILD}\n"
