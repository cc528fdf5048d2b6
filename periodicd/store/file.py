"""The store's file: found, held against a second daemon, made or migrated, and watched. Knows no jobs."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Literal

import sqlite_utils

from periodicd.store import StoreError
from periodicd.store.schema import APPLICATION_ID, migrations, newer_than_this, pending

log = logging.getLogger("periodicd.store")

WAL_BYTES = 24 * 2**20
"""What is laid out of the WAL: it seldom grows longer between two checkpoints."""
INCREMENTAL = 2
"""Of ``PRAGMA auto_vacuum``: pages that nothing uses can be given back to the file system, when asked to."""
LOOK_S = 1.0
"""The files' names are looked at so often though nothing tells of a change."""
_WRITE_LOCK = 120
"""The byte of the -shm file that whoever writes has locked; https://www.sqlite.org/walformat.html, section 2.3.3."""


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def own_name(path: Path) -> Path:
    """The file's own name, behind all symlinks: its lock and its -wal lie beside that.

    Of hard links none is the own name. Each would have a lock and a -wal of its own, and a -wal loses or damages what
    was written through another. So a file with several is refused.
    """
    own = Path(os.path.realpath(path))  # Path.resolve() raises at links in a circle; SQLite has an error for them.
    try:
        found = own.stat()
    except OSError:
        return own
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StoreError(
            f"{own} is one of {found.st_nlink} names of the same file (hard links), each of which would have a -wal of"
            f" its own; remove all but the one beside the -wal (find / -xdev -samefile {own} shows them)"
        )
    return own


def hold(path: Path) -> int:
    """Hold the store's lock file for as long as this process lives."""
    lock_path = beside(path, ".lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {lock_path}: {error.strerror}; choose another place with --store") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise StoreError(
            f"{path} is in use by another periodicd{f' (process {holder})' if holder else ''}; stop it first"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def release(held: int) -> None:
    """What ``hold`` has returned."""
    os.close(held)


def writer(path: Path) -> str:
    """Who writes to the file, in words.

    Asking for the lock itself would need another descriptor of the file, and closing that would drop our own locks.
    """
    with contextlib.suppress(OSError, ValueError):
        inode = beside(path, "-shm").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            _, _, _, kind, process, file, first, last = line.replace("-> ", "").split()
            if kind == "WRITE" and file.endswith(f":{inode}") and first == last == str(_WRITE_LOCK):
                name = Path(f"/proc/{process}/comm").read_text().strip()
                return f"process {process} ({name}), which writes to it"
    return "another program, which writes to it"


def open_(path: Path, durability: Literal["full", "relaxed"]) -> sqlite3.Connection:
    if path.is_dir():
        raise StoreError(f"{path} is a directory; --store names a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"{path} cannot be written; it must belong to the user that periodicd runs as")
    make(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path} is a database of another program; choose another file with --store")
        if db.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
            # Known from a file's birth only; an older one is written anew, once.
            db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
            if tables:
                db.execute("VACUUM")
        db.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the WAL at each commit: what was acknowledged survives a power cut. NORMAL syncs at checkpoints.
        db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA cache_size = -16384")
        db.execute("PRAGMA trusted_schema = OFF")
        # Debian's SQLite writes each freed page once more, with zeros. A workload of 20 MB is not deleted in that time.
        db.execute("PRAGMA secure_delete = FAST")
        migrate(path, db)
        # After a failed sync the kernel may show frames of the WAL that are not on disk: nothing may come to lie
        # behind them.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        lay_out(beside(path, "-wal"))
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db


def lay_out(wal: Path) -> None:
    """Fill the empty WAL with zeros, which are no frames to SQLite.

    A file that grows costs each sync a change of its length.
    """
    if not wal.exists() or wal.stat().st_size:
        return
    try:
        with wal.open("r+b") as file:
            # That it is empty must be on disk first: old frames of which a power cut leaves only the first would be
            # taken for the latest state of their pages.
            os.fsync(file.fileno())
            for _ in range(WAL_BYTES // 2**20):
                file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(wal, 0)  # the disk is nearly full: then it grows


def make(path: Path) -> None:
    """A new file, for its owner only: workloads may be private. SQLite gives its -wal and -shm the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = 0
        with contextlib.suppress(OSError):  # a link in a circle, of which SQLite will tell
            mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            log.warning("%s can be read by others (mode %o); chmod 600 it and its -wal if they should not", path, mode)
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}; choose another place with --store") from error


def migrate(path: Path, db: sqlite3.Connection) -> None:
    wrapped = sqlite_utils.Database(db)
    newer = newer_than_this(wrapped)
    if newer:
        raise StoreError(f"{path} was written by a newer periodicd (it has {', '.join(newer)}); use that version")
    older = pending(wrapped)
    if older and "jobs" not in older:
        _keep_copy(beside(path, f".before-{older[0]}"), db)
    migrations.apply(wrapped)


def _keep_copy(copy: Path, db: sqlite3.Connection) -> None:
    """What the file was, for the way back. Without room for it the new version is started all the same."""
    try:
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db.execute("VACUUM INTO ?", (os.fspath(copy),))
    except FileExistsError:
        pass  # of a start that did not come to its end
    except (OSError, sqlite3.Error) as error:
        copy.unlink(missing_ok=True)
        log.warning("the store is brought up to date, and no copy of what it was could be made: %s", error)
    else:
        log.info("the store is brought up to date; what it was is %s", copy)


def explain(path: Path, error: sqlite3.Error) -> str:
    text = str(error)
    if "not a database" in text:
        return f"{path} is not a SQLite database; choose another file with --store"
    if "malformed" in text:
        return f"{path} is damaged ({text}); restore it from a backup, see docs/operating.md"
    return f"cannot open {path}: {text}"


def sizes(path: Path) -> tuple[int, int, int | None]:
    """Bytes of the file, of its -wal, and free on their disk for the daemon; what cannot be seen is 0, or None.

    Nothing fails for the sake of a figure: what is wrong with the file is told by who uses it.
    """
    free_bytes = None
    with contextlib.suppress(OSError):
        disk = os.statvfs(path)
        free_bytes = disk.f_bavail * disk.f_frsize
    return _bytes(path), _bytes(beside(path, "-wal")), free_bytes


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Watched:
    """The files of a store, which must keep their names for as long as it is open.

    A name that comes or goes changes its folder, so one look at that serves for all; the files themselves are looked at
    when it has changed, and each second, since its clock is coarse.
    """

    def __init__(self, path: Path) -> None:
        files = map(os.fspath, (path, beside(path, "-wal"), beside(path, ".lock")))
        self._files = [(file, _inode(file)) for file in files]
        self._folder = os.fspath(path.absolute().parent)
        self._changed_ns = 0
        self._look_s = 0.0

    def lost(self) -> str | None:
        """One that was deleted or replaced."""
        changed_ns, now_s = _changed_ns(self._folder), time.monotonic()
        if changed_ns == self._changed_ns and now_s < self._look_s:
            return None
        self._changed_ns, self._look_s = changed_ns, now_s + LOOK_S
        return next((file for file, inode in self._files if _inode(file) != inode), None)


def _changed_ns(folder: str) -> int:
    """When a name in it last came or went; 0 if it is gone itself."""
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def _inode(path: str) -> tuple[int, int] | None:
    """Which file has this name now, if any. Called at each commit, where pathlib would be felt."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino
