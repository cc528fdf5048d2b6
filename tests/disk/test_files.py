"""Files that somebody or something has changed: damaged, cut short, newer, read-only, full, deleted under the daemon.

What can be noticed ends in a refusal (exit code 3, or 5 once it runs) that names the file. What SQLite cannot notice,
the lost end of a WAL, must leave everything before it whole.
"""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rig.daemon import Daemon, DidNotStart
from tests.disk.submits import MANY, WELL, Submits, check_end, check_recovery

PAGE_BYTES = 4096
JOBS = 300


def stopped(daemon: Daemon, jobs: int = WELL) -> Submits:
    """Leaves a store with jobs, all in one file."""
    submits = Submits(daemon.url)
    submits.some(jobs)
    assert daemon.stop() == 0
    return submits


def refusal(daemon: Daemon) -> str:
    """What it says when it does not start for its store's sake."""
    with pytest.raises(DidNotStart) as refused:
        daemon.start()
    assert refused.value.code == 3
    assert str(daemon.store) in str(refused.value)
    assert "Traceback" not in str(refused.value)
    return str(refused.value)


def root_page(store: Path, table_or_index: str) -> int:
    with sqlite3.connect(store) as db:
        found = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table_or_index,)).fetchone()
    db.close()
    return int(found[0])


def damage(store: Path, page: int) -> bytes:
    """Write rubbish over a page, counted from 1. Returns what was there."""
    with store.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        before = file.read(PAGE_BYTES)
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)
    return before


def heal(store: Path, page: int, before: bytes) -> None:
    with store.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(before)


# -- damaged -----------------------------------------------------------------------------------------------------------


def test_a_damaged_first_page(daemon: Daemon) -> None:
    submits = stopped(daemon)
    before = damage(daemon.store, 1)
    assert "is not a SQLite database" in refusal(daemon)
    heal(daemon.store, 1, before)
    check_recovery(daemon, submits)


@pytest.mark.parametrize("index", ["jobs_waiting", "jobs_behind"])
def test_a_damage_that_is_seen_at_the_start(daemon: Daemon, index: str) -> None:
    submits = stopped(daemon, JOBS)
    page = root_page(daemon.store, index)
    before = damage(daemon.store, page)
    said = refusal(daemon)
    assert "is damaged" in said
    assert "restore it from a backup" in said
    heal(daemon.store, page, before)
    check_recovery(daemon, submits)


@pytest.mark.parametrize("table_or_index", ["jobs", "jobs_identity"])
def test_a_damage_that_is_met_later(daemon: Daemon, table_or_index: str) -> None:
    submits = stopped(daemon, JOBS)
    page = root_page(daemon.store, table_or_index)
    before = damage(daemon.store, page)
    daemon.start()
    submits.until_lost()
    check_end(daemon, "database disk image is malformed")
    heal(daemon.store, page, before)
    check_recovery(daemon, submits)


# -- the WAL -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut off", "rubbish"])
def test_the_lost_end_of_a_wal_leaves_what_is_before_it(daemon: Daemon, how: str) -> None:
    submits = Submits(daemon.url)
    names = submits.one_by_one(WELL)
    daemon.kill()
    wal = daemon.store.with_name("periodic.db-wal")
    written = len(wal.read_bytes().rstrip(b"\0"))  # what was laid out beforehand follows
    middle = written * 2 // 3
    if how == "cut off":
        os.truncate(wal, middle)
    else:
        with wal.open("r+b") as file:
            file.seek(middle)
            file.write(b"\xa5" * 100)
    daemon.start()
    left = submits.listed()
    assert 0 < len(left) < WELL
    assert left == set(names[: len(left)])
    submits.answered = left
    assert daemon.stop() == 0
    check_recovery(daemon, submits)


# -- refused -----------------------------------------------------------------------------------------------------------


def migrated(store: Path, statement: str) -> None:
    with sqlite3.connect(store) as db:
        db.execute(statement)
    db.close()


def test_a_file_of_a_newer_version(daemon: Daemon) -> None:
    submits = stopped(daemon)
    migrated(
        daemon.store,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('periodicd', 'holograms', '2030')",
    )
    assert "was written by a newer periodicd (it has holograms); use that version" in refusal(daemon)
    migrated(daemon.store, "DELETE FROM _sqlite_migrations WHERE name = 'holograms'")
    check_recovery(daemon, submits)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Root may write whatever the mode says, so for root the file is mounted over itself."""
    if os.geteuid() != 0:
        mode = path.stat().st_mode
        path.chmod(0o444)
        yield
        path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_file_that_may_not_be_written(daemon: Daemon) -> None:
    submits = stopped(daemon)
    with read_only(daemon.store):
        assert "cannot be written" in refusal(daemon)
    check_recovery(daemon, submits)


def test_a_file_of_two_names(daemon: Daemon, tmp_path: Path) -> None:
    submits = Submits(daemon.url)
    submits.some(WELL)
    daemon.kill()
    # Its -wal has only one of them: started by the other, it would be a store without what was submitted.
    other = tmp_path / "other.db"
    other.hardlink_to(daemon.store)
    said = refusal(daemon)
    assert "is one of 2 names of the same file (hard links)" in said
    assert f"find / -xdev -samefile {daemon.store}" in said
    other.unlink()
    check_recovery(daemon, submits)


def test_a_store_by_a_symlink_keeps_its_files_together(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "periodic.db").symlink_to(disk / "jobs.db")
    daemon = Daemon(tmp_path)
    daemon.start()
    with ExitStack() as stack:
        stack.callback(daemon.kill)
        submits = Submits(daemon.url)
        submits.some(WELL)
        daemon.kill()
        files = sorted(path.name for path in disk.iterdir())
        assert files == ["jobs.db", "jobs.db-shm", "jobs.db-wal", "jobs.db.lock"]
        daemon.start()
        assert submits.answered <= submits.listed()
        (disk / "jobs.db-wal").unlink()
        submits.until_lost()
        check_end(daemon, f"{disk / 'jobs.db-wal'} was deleted or replaced while the daemon ran")


# -- under the running daemon ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["periodic.db", "periodic.db-wal", "periodic.db.lock"])
def test_a_file_that_is_deleted(daemon: Daemon, name: str) -> None:
    submits = Submits(daemon.url)
    submits.some(WELL)
    daemon.store.with_name(name).unlink()
    answered = set(submits.answered)
    submits.until_lost()
    assert submits.answered == answered
    check_end(daemon, f"{daemon.store.with_name(name)} was deleted or replaced while the daemon ran")
    if name == "periodic.db":
        # Nothing brings it back; the new store is empty, and nobody was told otherwise.
        submits.answered.clear()
    check_recovery(daemon, submits)


def test_a_store_that_is_replaced(daemon: Daemon) -> None:
    submits = Submits(daemon.url)
    submits.some(WELL)
    backup = daemon.store.with_name("backup.db")
    with sqlite3.connect(daemon.store) as db, sqlite3.connect(backup) as copy:
        db.backup(copy)
    db.close()
    copy.close()
    backup.rename(daemon.store)
    submits.until_lost()
    check_end(daemon, f"{daemon.store} was deleted or replaced while the daemon ran")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system to fill")
def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk), ExitStack() as stack:
        daemon = Daemon(disk)
        daemon.start()
        stack.callback(daemon.kill)
        submits = Submits(daemon.url)
        submits.until_lost(MANY * 10)
        check_end(daemon, "database or disk is full")
        assert "database or disk is full" in refusal(daemon)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        check_recovery(daemon, submits)
