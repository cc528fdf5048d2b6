"""What somebody has who installs the package: built as for PyPI, in a virtual environment without this tree.

Such an environment holds the packages that the wheel asks for, and no other that is installed here. They are linked
from this one, so nothing is downloaded.

The wheel is as the tree: pure, or after ``make compiled`` compiled, from what that has built.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import periodicd

ROOT = Path(__file__).parent.parent
IS_COMPILED = periodicd.BUILD == "compiled"
pytestmark = pytest.mark.timeout(300 if IS_COMPILED else 120)  # mypyc reads all of the core again
SOURCES = (
    "pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
    "protocol.md", "docs", "examples", "periodicd", "periodic_client", "image_workers",
)  # fmt: skip


class Installed:
    """A virtual environment in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self.packages = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        run(sys.executable, "-m", "venv", "--without-pip", folder)

    def install(self, wheel: Path) -> None:
        run(sys.executable, "-m", "pip", "--python", self._bin / "python", "install", "-q", "--no-deps", wheel)

    def link(self, requirements: list[Requirement]) -> None:
        """The packages that answer these, with all that they need."""
        wanted, seen = list(requirements), set[str]()
        while wanted:
            requirement = wanted.pop()
            if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            seen.add(requirement.name)
            found = distribution(requirement.name)
            wanted += map(Requirement, found.requires or ())
            for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                (self.packages / name).symlink_to(Path(str(found.locate_file(name))))

    def command(self, *arguments: str | Path) -> list[str | Path]:
        return [self._bin / arguments[0], *arguments[1:]]

    def run(self, folder: Path, *arguments: str, url: str = "") -> "subprocess.CompletedProcess[str]":
        return run(*self.command(*arguments), cwd=folder, env=environment(url), check=False)

    @contextmanager
    def daemon(self, folder: Path) -> Iterator[str]:
        """``periodicd``, until the end; its url."""
        url = f"unix://{folder}/periodic.sock"
        command = self.command("periodicd", "--listen", url, "--store", folder / "periodic.db")
        with subprocess.Popen(command, cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            said = []
            try:
                for line in process.stderr:
                    said.append(line)
                    if "listening on" in line:
                        yield url
                        process.terminate()
                        break
                assert process.wait(30) == 0, said
            finally:
                process.kill()


def run(
    *command: str | Path, check: bool = True, timeout: float = 60, **options: object
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=check, text=True, capture_output=True, timeout=timeout, **options)  # type: ignore[call-overload,no-any-return]


def environment(url: str = "") -> dict[str, str]:
    """Without what would lead to this tree or to another environment."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PERIODIC", "VIRTUAL"))}
    return ours | ({"PERIODIC_URL": url} if url else {})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, since building leaves things behind."""
    source = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, "build") if IS_COMPILED else SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source)
    run(*command, env=os.environ | {"PERIODICD_COMPILE": f"{IS_COMPILED:d}"}, timeout=300)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What PyPI and ``pip`` read; its payload is the page that PyPI shows."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def needs(metadata: Message) -> list[Requirement]:
    """What ``pip install`` installs with it, extras not asked for."""
    found = [Requirement(each) for each in metadata.get_all("Requires-Dist", [])]
    return [each for each in found if each.marker is None]


def test_the_wheel_has_all_that_is_not_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("periodicd", "periodic_client", "image_workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"periodicd/store/sqlite.sql", "periodicd/py.typed", "periodic_client/py.typed"} <= ours
    assert {name for name in names if ".dist-info/" not in name} == ours


def test_the_page_on_pypi_has_no_link_that_leads_nowhere(metadata: Message) -> None:
    page = metadata.get_payload()
    assert isinstance(page, str)
    assert "docs/operating.md" in page, "the names stay"
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https:")] == []
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_source_distribution_has_the_pages_that_the_readme_names(source: Path) -> None:
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    name = run(sys.executable, "-c", build, cwd=source).stdout.splitlines()[-1]
    with tarfile.open(source / "dist" / name) as archive:
        packed = {file.name.split("/", 1)[1] for file in archive if "/" in file.name}
    named = re.findall(r"\]\(([^):#]+)\)", (ROOT / "README.md").read_text())
    assert {"protocol.md", "docs/operating.md", "examples"} <= set(named)
    assert set(named) <= packed


def test_what_a_user_begins_with_is_printed_by_the_commands(
    wheel: Path, needs: list[Requirement], tmp_path: Path
) -> None:
    installed = Installed(tmp_path / "venv")
    installed.install(wheel)
    installed.link([*needs, Requirement("Pillow"), Requirement("PyYAML")])
    for command, option, file in (
        ("periodicd", "--systemd-unit", "periodicd/periodicd.service"),
        ("image-workers", "--example", "image_workers/example.yml"),
    ):
        printed = installed.run(tmp_path, command, option)
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout == (ROOT / file).read_text()
        version = installed.run(tmp_path, command, "--version")
        build = f", {periodicd.BUILD}" if command == "periodicd" else ""
        assert version.stdout == f"{command}, version {periodicd.__version__}{build}\n", version.stderr


def test_one_name_installs_a_daemon_and_the_command(wheel: Path, needs: list[Requirement], tmp_path: Path) -> None:
    installed = Installed(tmp_path / "venv")
    installed.install(wheel)
    installed.link(needs)
    place = installed.run(tmp_path, "python", "-c", "import periodicd; print(periodicd.__file__)").stdout
    assert Path(place).is_relative_to(installed.packages)
    with installed.daemon(tmp_path) as url:
        submitted = installed.run(
            tmp_path, "periodic", "submit", "greet", "world", "-w", "hello", "--in", "5m", url=url
        )
        assert (submitted.returncode, submitted.stdout) == (0, "created\n"), submitted.stderr
        shown = installed.run(tmp_path, "periodic", "get", "greet", "world", url=url)
        assert shown.returncode == 0, shown.stderr
        assert "waiting" in shown.stdout
        status = installed.run(tmp_path, "periodic", "status", url=url)
        assert status.returncode == 0, status.stderr
        assert "greet" in status.stdout


def test_the_library_alone_needs_trio_and_msgpack(wheel: Path, needs: list[Requirement], tmp_path: Path) -> None:
    """As docs/library.md says how to install it."""
    bare, whole = Installed(tmp_path / "bare"), Installed(tmp_path / "whole")
    bare.install(wheel)
    bare.link([each for each in needs if each.name in ("trio", "msgpack")])
    whole.install(wheel)
    whole.link(needs)
    (tmp_path / "program.py").write_text(PROGRAM)
    with whole.daemon(tmp_path) as url:
        ended = bare.run(tmp_path, "python", "program.py", url=url)
    assert (ended.returncode, ended.stdout) == (0, "created\nran world\n"), ended.stderr
    for command in ("periodicd", "periodic"):
        ended = bare.run(tmp_path, command, "--help")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.endswith("; pip install periodicd\n"), "which also installs what an installed one lacks"


PROGRAM = """
import trio
from periodic_client import Client, Job, NewJob, Worker

worker = Worker()


@worker.function("greet")
def greet(job: Job) -> None:
    print("ran", job.name)
    worker.stop()


async def main() -> None:
    async with Client() as client:
        print((await client.submit(NewJob("greet", "world"))).result)
    await worker.run()


trio.run(main)
"""
