"""`image-workers sweep`: what a crash orphaned is listed, and removed on request; nothing else is."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from click.testing import CliRunner

from image_workers.cli import command
from image_workers.stores.folder import FolderStore
from periodic_client import Client, NewJob
from rig.daemon import Daemon

CONFIG = """
root: images
enable-remove: elsewhere
resizes: [{func: resize-64, width: 64, suffix: _fw64.jpg}]
"""
OLD_S = 2 * 24 * 3600
JOBS = [
    ("remove", "planned.jpg"), ("upload-next-compress", "read.jpg"), ("save", "saved.jpg"),
    ("resize-64", "resized.jpg"), ("upload-next-remove", "guetzli/compared_fw64.jpg"), ("finished", "a/open.jpg"),
]  # fmt: skip
KEPT = [
    "planned.jpg", "read.jpg", "saved.jpg", "resized.jpg", "resize-image/compared_fw64.jpg", "young.jpg",
    "a/open.jpg", "resize-image/a/open_fw64.jpg", "guetzli/a/open_fw64.jpg",
]  # fmt: skip


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


def sweep(folder: Path, daemon_url: str, *arguments: str, config: str = CONFIG) -> subprocess.CompletedProcess[str]:
    (folder / "config.yml").write_text(config)
    return subprocess.run(
        [sys.executable, "-m", "image_workers", "sweep", *arguments],
        cwd=folder, env=os.environ | {"PERIODIC_URL": daemon_url}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def write(path: Path, age_s: float = OLD_S) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1234")
    os.utime(path, (time.time() - age_s,) * 2)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def images(tmp_path: Path, daemon: Daemon) -> Path:
    """The root folder, with files that some job needs, two that none does, and content without a name."""

    async def submit() -> None:
        async with Client(daemon.url) as client:
            await client.submit_batch(NewJob(func, name, delay_ms=3_600_000) for func, name in JOBS)

    trio.run(submit)
    images = tmp_path / "images"
    for name in (*KEPT, "a/orphan.jpg", "resize-image/orphan_fw64.jpg", ".incoming/left"):
        write(images / name, 60 if name == "young.jpg" else OLD_S)
    write(tmp_path / "bucket" / ".incoming" / "left")
    write(tmp_path / "bucket" / ".incoming" / "going-on", 60)
    write(tmp_path / "bucket" / "published.jpg")
    return images


def test_orphans_are_listed_and_left_and_then_removed(tmp_path: Path, daemon: Daemon, images: Path) -> None:
    before = files(tmp_path)
    listed = sweep(tmp_path, daemon.url)
    assert listed.returncode == 3
    assert sorted(listed.stdout.splitlines()) == [
        "4 orphans, 16 bytes; image-workers sweep --remove removes them",
        "found in bucket: .incoming/left, 4 bytes, 2 days old: it never got its name: who wrote it was killed",
        "found in root: .incoming/left, 4 bytes, 2 days old: it never got its name: who wrote it was killed",
        "found in root: a/orphan.jpg, 4 bytes, 2 days old: no job reads it, and none removes it",
        "found in root: resize-image/orphan_fw64.jpg, 4 bytes, 2 days old: no job reads it, and none removes it",
    ]
    assert files(tmp_path) - before <= {"config.yml"}
    removed = sweep(tmp_path, daemon.url, "--remove")
    assert removed.returncode == 0
    assert removed.stdout.count("removed in ") == 4
    assert files(images) == set(KEPT)
    assert files(tmp_path / "bucket") == {".incoming/going-on", "published.jpg"}
    again = sweep(tmp_path, daemon.url)
    assert (again.returncode, again.stdout) == (0, "0 orphans, 0 bytes\n")


@pytest.mark.usefixtures("images")
def test_where_nobody_removes_files_they_are_no_orphans(tmp_path: Path, daemon: Daemon) -> None:
    listed = sweep(tmp_path, daemon.url, config=CONFIG.replace("elsewhere", "false"))
    assert listed.stdout.count("never got its name") == 2
    assert "2 orphans" in listed.stdout


def test_a_disk_that_fails_meanwhile_ends_it_with_75(
    tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> NoReturn:
        raise OSError(5, "Input/output error")

    (tmp_path / "config.yml").write_text(CONFIG.replace("images", str(tmp_path / "images")))
    monkeypatch.setenv("PERIODIC_URL", daemon.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FolderStore, "listed", failing)
    ended = CliRunner().invoke(command, ["sweep", "--remove"])
    assert ended.exit_code == 75
    assert "image-workers: what was not listed yet is not known: [Errno 5] Input/output error" in ended.output


def test_without_a_daemon_nothing_is_called_an_orphan(tmp_path: Path) -> None:
    write(tmp_path / "images" / "x.jpg")
    ended = sweep(tmp_path, f"unix://{tmp_path}/none.sock", "--remove")
    assert ended.returncode == 5
    assert ended.stdout == ""
    assert files(tmp_path / "images") == {"x.jpg"}


def test_a_configuration_without_a_command_is_to_run(tmp_path: Path) -> None:
    for arguments in (["other.yml"], ["run", "other.yml"]):
        ended = subprocess.run(
            [sys.executable, "-m", "image_workers", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (
            2, "image-workers: other.yml: cannot be read: No such file or directory\n",
        )  # fmt: skip
