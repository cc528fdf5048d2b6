"""Copies of a store's file: one taken beside the daemon, and one put in the place of the store.

A copy is what was on disk at one moment, in one file without a -wal. It gets its name when it is whole and on disk.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sqlite_utils

from periodicd.store import StoreError, file
from periodicd.store.schema import APPLICATION_ID, newer_than_this

IDS_PASSED_OVER = 10**9
BOOTS_PASSED_OVER = 1_000
"""By a store that takes the place of one that cannot be asked how far it was."""


class Numbers(NamedTuple):
    """No number from ``next_id`` on, and no boot after ``boot``, was ever given out."""

    boot: int
    next_id: int


class Restored(NamedTuple):
    jobs: int
    numbers: Numbers
    are_known: bool
    """The store that was replaced said how far it was; otherwise many numbers were passed over."""
    replaced: Path | None
    """What the store that was there is called now."""


def backup(store: Path, target: Path) -> int:
    """Copy the store as it is now, though a daemon writes to it; how many bytes the copy has.

    All pages are read in one step, which sees one state of the file: in several, each commit would begin it anew.
    Raises StoreError, also if ``target`` is there.
    """
    if target.exists():
        raise StoreError(f"{target} is there already; a backup overwrites nothing")
    if not store.exists():
        raise StoreError(f"there is no {store}")
    with opened(store) as source:
        look_at(store, source)
        _write_copy(source, target)
    return target.stat().st_size


def restore(copy: Path, store: Path) -> Restored:
    """Put a copy in the place of the store, which is kept under another name, and has no daemon.

    Ids, run numbers and boots go on above all that the replaced store ever gave out. Raises StoreError; then the store
    is as it was.
    """
    store = file.own_name(store)
    if not copy.exists():
        raise StoreError(f"there is no {copy}")
    held = file.hold(store)
    new = file.beside(store, f".restored-{os.getpid()}")
    try:
        with opened(copy) as source:
            look_at(copy, source)
            _check(copy, source)
            _write_copy(source, new)
        for path in (new, file.beside(store, ".lock")):
            _give_away(path, store if store.exists() else store.absolute().parent)
        last = _numbers_of(store)
        numbers, jobs = _set_numbers(new, last)
        replaced = _step_aside(store)
        new.replace(store)
        _sync_folder(store)
        return Restored(jobs, numbers, last is not None, replaced)
    finally:
        new.unlink(missing_ok=True)
        file.release(held)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Only read. Raises StoreError for whatever SQLite cannot do with it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            yield db
    except sqlite3.Error as error:
        raise StoreError(file.explain(path, error)) from error


def look_at(path: Path, db: sqlite3.Connection) -> None:
    """Raises StoreError if it is none of ours, or a newer one."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path} is no store of periodicd")
    newer = newer_than_this(sqlite_utils.Database(db))
    if newer:
        raise StoreError(f"{path} was written by a newer periodicd (it has {', '.join(newer)}); use that version")


def _check(path: Path, db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"{path} is damaged: {found}")


def _write_copy(source: sqlite3.Connection, target: Path) -> None:
    """For its owner only, and whole or not there."""
    partly = file.beside(target, f".part-{os.getpid()}")
    try:
        os.close(os.open(partly, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(partly, isolation_level=None)) as copy:
            source.backup(copy, pages=-1)
            # One file: who opens it next would make a -wal beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(partly)
        partly.replace(target)
        _sync_folder(target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        partly.unlink(missing_ok=True)


def _give_away(path: Path, like: Path) -> None:
    """To whose it is that the daemon runs as, if this is done by root."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _numbers_of(store: Path) -> Numbers | None:
    """How far it is, if it is there and can be read."""
    if not store.exists():
        return None
    try:
        with opened(store) as db:
            return Numbers(*db.execute("SELECT boot, next_id FROM daemon").fetchone())
    except (StoreError, TypeError):
        return None


def _set_numbers(new: Path, last: Numbers | None) -> tuple[Numbers, int]:
    """Those from which the copy goes on, and how many jobs it has."""
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")
            own = Numbers(*db.execute("SELECT boot, next_id FROM daemon").fetchone())
            if last is None:
                numbers = Numbers(own.boot + BOOTS_PASSED_OVER, own.next_id + IDS_PASSED_OVER)
            else:
                numbers = Numbers(max(own.boot, last.boot), max(own.next_id, last.next_id))
            db.execute("UPDATE daemon SET boot = ?, next_id = ?", numbers)
            return numbers, db.execute("SELECT count(*) FROM jobs").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {new}: {error}") from error


def _step_aside(store: Path) -> Path | None:
    """Give the store that is there a second name, under which it stays. Its -wal must not meet another file."""
    if not store.exists():
        return None
    aside = file.beside(store, f".replaced-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:
        pass  # it is damaged, so its -wal goes with it as it is
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            file.beside(store, suffix).rename(file.beside(aside, suffix))
    os.link(store, aside)
    return aside


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """So that its name is there after a power cut."""
    _sync(path.absolute().parent)
