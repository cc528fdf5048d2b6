"""Jobs in one SQLite file: prepared statements on one connection, one transaction a step.

The connection has one user at a time: ``apply`` on the daemon's loop, then ``commit`` or ``checkpoint`` in a thread
while the loop leaves it alone. Listings run on a second, read-only connection that sqlite-utils owns, under its own
lock.

The statements run on the loop on purpose: in a thread beside a busy loop each step of SQLite waits for the interpreter
lock, which was measured to be hundreds of times slower; only COMMIT, which waits for the disk, leaves the loop.
"""

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import sqlite_utils

from periodicd import ops, retry
from periodicd.job import Job, State
from periodicd.ops import READS, Op, Result
from periodicd.store import Locked, StoreError
from periodicd.store.counts import Counts
from periodicd.store.schema import APPLICATION_ID, MIGRATION_NAMES, migrations

log = logging.getLogger("periodicd.store")

INLINE_BYTES = 4096
"""Workloads up to this size live in the job's row; a page of SQLite is as large."""

CHECKPOINT_WEIGHT = 4000
"""Ops and commits after which the WAL is worth a checkpoint: some 10 to 50 MB."""

COUNT_LOOKS = 2_000
"""A page of functions ends after so many looks at an index, each of some microseconds."""

LISTING_CHUNK = 10_000
LISTING_S = 0.25

_COLUMNS = (
    "id, func, name, due_at_ms, submitted_at_ms, workload, workload_bytes, priority, lease_ms, retry, state, attempt,"
    " failures, crashes, suspect, reason, ended_at_ms, handle, lease_until_at_ms, headers, restarts, dated"
)
_COLUMNS_WITHOUT_WORKLOAD = _COLUMNS.replace(" workload,", " NULL,")

_INSERT = (
    "INSERT INTO jobs"
    " (id, func, name, state, priority, due_at_ms, submitted_at_ms, lease_ms, retry, workload_bytes, workload, headers,"
    " dated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_INSERT_WORKLOAD = "INSERT INTO workloads VALUES (?, ?)"
_DELETE = "DELETE FROM jobs WHERE id = ?"
_WRITE_LOCK = 120
"""The byte of the -shm file that whoever writes has locked; https://www.sqlite.org/walformat.html, section 2.3.3."""

_OF_RUN = "id = ? AND handle IS coalesce(?, handle)"
"""The job, if its run has this handle; NULL stands for any."""
_DELETE_RUN = f"DELETE FROM jobs WHERE {_OF_RUN}"
_PROMOTE = (
    "UPDATE jobs SET state = 0, due_at_ms = max(due_at_ms, :at), dated = dated AND due_at_ms > :at WHERE id = :id"
)
_SHIFT = "UPDATE jobs SET due_at_ms = max(0, due_at_ms - ?) WHERE state IN (0, 3) AND NOT dated"
_FRONT = "SELECT id, state, workload_bytes FROM jobs WHERE func = ? AND name = ? AND state <> 3"
_CLAIM = "UPDATE jobs SET state = 1, handle = ?, attempt = ?, lease_until_at_ms = ? WHERE id = ? AND state = 0"
_EXTEND = "UPDATE jobs SET lease_until_at_ms = ? WHERE id = ? AND state = 1"
_RELEASE = (
    "UPDATE jobs SET state = 0, lease_until_at_ms = NULL, dated = 0, due_at_ms = ?, handle = ?, attempt = ?,"
    f" failures = ?, crashes = ?, restarts = ?, suspect = ?, reason = ? WHERE {_OF_RUN}"
)
_BURY = (
    "UPDATE jobs SET state = 2, lease_until_at_ms = NULL, ended_at_ms = ?, handle = ?, attempt = ?, failures = ?,"
    f" crashes = ?, restarts = ?, reason = ? WHERE {_OF_RUN}"
)
_REQUEUE = (
    "UPDATE jobs SET id = ?, state = 0, due_at_ms = ?, attempt = 0, failures = 0, crashes = 0, restarts = 0,"
    " suspect = 0, dated = 0, reason = NULL, ended_at_ms = NULL, handle = NULL WHERE id = ?"
)
_HANDLE = "SELECT handle FROM jobs WHERE id = ?"
_BY_ID = f"SELECT {_COLUMNS} FROM jobs WHERE id = ?"
_BY_ID_WITHOUT_WORKLOAD = f"SELECT {_COLUMNS_WITHOUT_WORKLOAD} FROM jobs WHERE id = ?"
_RUNNING = f"SELECT {_COLUMNS_WITHOUT_WORKLOAD} FROM jobs WHERE state = 1 ORDER BY id"
_NEXT_PRIORITY = "SELECT min(priority) FROM jobs WHERE func = ? AND state = 0 AND priority > ?"
_FIRST_DUE = "SELECT due_at_ms FROM jobs WHERE func = ? AND state = 0 AND priority = ? ORDER BY due_at_ms LIMIT 1"
_PAGE = (
    f"SELECT {_COLUMNS} FROM jobs WHERE func = ? AND state = 0 AND priority = ? AND (due_at_ms, id) > (?, ?)"
    " ORDER BY due_at_ms, id LIMIT ?"
)
_LISTING = (
    f"SELECT {_COLUMNS_WITHOUT_WORKLOAD}, state = 1 AND EXISTS (SELECT 1 FROM jobs AS behind"
    " WHERE behind.state = 3 AND behind.func = jobs.func AND behind.name = jobs.name) FROM jobs"
    " WHERE id > :after AND id <= :last AND (:func IS NULL OR func = :func) AND (:state IS NULL OR state = :state)"
    " ORDER BY id LIMIT :limit"
)
_CHUNK_END = "SELECT max(id) AS last, count(*) AS rows FROM (SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?)"
_FIRST_SURPLUS = "SELECT ended_at_ms, id FROM jobs WHERE state = 2 ORDER BY ended_at_ms DESC, id DESC LIMIT 1 OFFSET ?"
_DEAD_UP_TO = (
    "SELECT id, func FROM jobs WHERE state = 2 AND (ended_at_ms, id) <= (?, ?) ORDER BY ended_at_ms, id LIMIT ?"
)
_BEHIND_PAIRS = (
    "SELECT front.id, behind.id FROM jobs AS behind JOIN jobs AS front"
    " ON front.func = behind.func AND front.name = behind.name AND front.state <> 3 WHERE behind.state = 3"
)
_COUNTS = (
    "SELECT func, sum(live), sum(behind), sum(dead) FROM ("
    " SELECT func, count(*) AS live, 0 AS behind, 0 AS dead FROM jobs WHERE state = 0 GROUP BY func"
    " UNION ALL SELECT func, count(*), 0, 0 FROM jobs WHERE state = 1 GROUP BY func"
    " UNION ALL SELECT func, count(*), count(*), 0 FROM jobs WHERE state = 3 GROUP BY func"
    " UNION ALL SELECT func, 0, 0, count(*) FROM jobs WHERE state = 2 GROUP BY func"
    ") GROUP BY func"
)


class SqliteStore:
    """Opens, locks and if need be makes or migrates the file at ``path``. Raises StoreError."""

    def __init__(self, path: Path, durability: Literal["full", "relaxed"] = "full") -> None:
        self.path = path = _own_name(path)
        self._lock = _lock(path)
        try:
            self._db = _open(path, durability)
            self._behind = dict(self._db.execute(_BEHIND_PAIRS).fetchall())
            self._counts = Counts()
            for func, live, behind, dead in self._db.execute(_COUNTS):
                self._counts.change(func, live, behind, dead)
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._reader = sqlite_utils.Database(sqlite3.connect(uri, uri=True, check_same_thread=False))
            # SQLite opens what it reads at the first look; there may be no descriptor left by then.
            self._reader.execute("SELECT count(*) FROM daemon").fetchone()
            files = map(os.fspath, (path, _beside(path, "-wal"), _beside(path, ".lock")))
            self._files = [(file, _inode(file)) for file in files]
            # From now on nobody waits on the loop; `lock` does, elsewhere.
            self._db.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            os.close(self._lock)
            raise StoreError(_explain(path, error)) from error
        except StoreError:
            os.close(self._lock)
            raise
        self._reader_lock = threading.Lock()
        self._cursor = self._db.cursor()
        self._execute = self._cursor.execute
        self._weight = 0

    @property
    def uncommitted(self) -> bool:
        return self._db.in_transaction

    def lock(self, wait_ms: int) -> None:
        if self._db.in_transaction:
            return
        self._db.execute(f"PRAGMA busy_timeout = {wait_ms:d}")
        try:
            self._begin()
        finally:
            self._db.execute("PRAGMA busy_timeout = 0")

    def _begin(self) -> None:
        try:
            self._execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            raise Locked(f"{self.path} is locked by {_writer(self.path)}") from error

    def apply(self, ops: list[Op]) -> list[Result]:
        if not self._db.in_transaction and any(type(op) not in READS for op in ops):
            self._begin()
        self._weight += len(ops)
        return [_METHODS[type(op)](self, op) for op in ops]

    def commit(self) -> None:
        self._weight += 1
        self._db.commit()
        # SQLite goes on writing to a file that has lost its name, and all of it is gone with the process. Without the
        # lock file there may be a second daemon.
        for file, inode in self._files:
            if _inode(file) != inode:
                # As the last connection the other one copies a WAL that has lost its name into the file as it ends.
                with self._reader_lock:
                    self._reader.close()
                raise sqlite3.OperationalError(f"{file} was deleted or replaced while the daemon ran")

    @property
    def checkpoint_due(self) -> bool:
        """The WAL has grown so much."""
        return self._weight >= CHECKPOINT_WEIGHT

    def checkpoint(self) -> None:
        """Copy what is committed from the WAL into the file, so that the WAL can be used from its start again."""
        self._weight = 0
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Forget what is not committed."""
        with self._reader_lock:
            self._reader.close()
        self._db.close()
        os.close(self._lock)

    # -- writes --------------------------------------------------------------------------------------------------------

    def _insert(self, job: Job, state: State) -> bool:
        """False if a job of this identity is there already."""
        workload = job.workload
        assert workload is not None
        apart = len(workload) > INLINE_BYTES
        self._execute(
            _INSERT,
            (
                job.id, job.func, job.name, state, job.priority, job.due_at_ms, job.submitted_at_ms, job.lease_ms,
                retry.to_text(job.retry), len(workload), None if apart else workload,
                None if job.headers is None else json.dumps(job.headers), job.dated,
            ),
        )  # fmt: skip
        if self._cursor.rowcount != 1:
            return False
        if apart:
            self._execute(_INSERT_WORKLOAD, (job.id, workload))
        return True

    def _put(self, op: ops.Put) -> ops.PutResult:
        job = op.job
        if self._insert(job, State.WAITING):
            self._counts.change(job.func, live=1)
            return ops.PutResult("created", job.id)
        old_id, state, _ = self._execute(_FRONT, (job.func, job.name)).fetchone()
        if op.existing == "refuse":
            return ops.PutResult("refused", old_id)
        if op.existing == "keep" or (op.existing == "keep_live" and state != State.DEAD):
            return ops.PutResult("kept", old_id)
        if state == State.RUNNING:
            behind_id = self._behind.get(old_id)
            if behind_id is not None:
                self._execute(_DELETE, (behind_id,))
            else:
                self._counts.change(job.func, live=1, behind=1)
            self._behind[old_id] = job.id
            self._insert(job, State.BEHIND)
            return ops.PutResult("queued_behind", job.id)
        self._execute(_DELETE, (old_id,))
        self._insert(job, State.WAITING)
        if state == State.DEAD:
            self._counts.change(job.func, live=1, dead=-1)
            return ops.PutResult("created", job.id, old_id)
        return ops.PutResult("replaced", job.id, old_id)

    def _remove(self, op: ops.Remove) -> ops.RemoveResult:
        row = self._execute(_FRONT, (op.func, op.name)).fetchone()
        if row is None:
            return ops.RemoveResult("absent")
        front_id, state, _ = row
        behind_id = self._behind.get(front_id)
        if op.id is not None and op.id == behind_id:
            self._remove_behind(op.func, front_id)
            return ops.RemoveResult("removed")
        if op.id not in (None, front_id):
            return ops.RemoveResult("changed")
        if behind_id is not None and op.id is None:
            self._remove_behind(op.func, front_id)
        if front_id in self._behind:
            return ops.RemoveResult("removed", front_id, self._promote(front_id, op.func, op.at_ms))
        self._execute(_DELETE, (front_id,))
        self._counts.change(op.func, live=-(state != State.DEAD), dead=-(state == State.DEAD))
        return ops.RemoveResult("removed", front_id)

    def _remove_behind(self, func: str, front_id: int) -> None:
        self._execute(_DELETE, (self._behind.pop(front_id),))
        self._counts.change(func, live=-1, behind=-1)

    def _shift(self, op: ops.Shift) -> None:
        self._execute(_SHIFT, (op.by_ms,))

    def _requeue(self, op: ops.Requeue) -> ops.RequeueResult:
        row = self._execute(_FRONT, (op.func, op.name)).fetchone()
        if row is None:
            return ops.RequeueResult("absent")
        old_id, state, workload_bytes = row
        if op.id not in (None, old_id):
            return ops.RequeueResult("changed")
        if state != State.DEAD:
            return ops.RequeueResult("not_dead")
        self._execute(_REQUEUE, (op.new_id, op.due_at_ms, old_id))
        if workload_bytes > INLINE_BYTES:
            self._execute("UPDATE workloads SET job_id = ? WHERE job_id = ?", (op.new_id, old_id))
        self._counts.change(op.func, live=1, dead=-1)
        return ops.RequeueResult("requeued", self._load(_BY_ID_WITHOUT_WORKLOAD, op.new_id), old_id)

    def _claim(self, op: ops.Claim) -> bool:
        return self._execute(_CLAIM, (op.handle, op.attempt, op.lease_until_at_ms, op.id)).rowcount == 1

    def _extend(self, op: ops.Extend) -> bool:
        return self._execute(_EXTEND, (op.lease_until_at_ms, op.id)).rowcount == 1

    def _delete(self, op: ops.Delete) -> ops.Ended:
        end = op.end
        if self._behind and end.id in self._behind:
            return self._end_with_successor(end)
        dead = bool(self._counts.dead(end.func)) and self._is_dead(end.id)
        if self._execute(_DELETE_RUN, (end.id, end.handle)).rowcount != 1:
            return ops.Ended(False)
        self._counts.change(end.func, live=-(not dead), dead=-dead)
        return self._ended(end)

    def _is_dead(self, job_id: int) -> bool:
        row = self._execute("SELECT state = 2 FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row is not None and bool(row[0])

    def _release(self, op: ops.Release) -> ops.Ended:
        end = op.end
        if end.id in self._behind:
            return self._end_with_successor(end)
        row = (
            op.due_at_ms, op.handle, op.attempt, op.failures, op.crashes, op.restarts, op.suspect, op.reason,
            end.id, end.handle,
        )  # fmt: skip
        found = self._execute(_RELEASE, row).rowcount == 1
        return self._ended(end) if found else ops.Ended(False)

    def _bury(self, op: ops.Bury) -> ops.Ended:
        end = op.end
        if end.id in self._behind:
            return self._end_with_successor(end)
        was_dead = bool(self._counts.dead(end.func)) and self._is_dead(end.id)
        row = (
            op.ended_at_ms, op.handle, op.attempt, op.failures, op.crashes, op.restarts, op.reason, end.id, end.handle,
        )  # fmt: skip
        if self._execute(_BURY, row).rowcount != 1:
            return ops.Ended(False)
        if not was_dead:
            self._counts.change(end.func, live=-1, dead=1)
        return self._ended(end)

    def _ended(self, end: ops.End, successor: Job | None = None) -> ops.Ended:
        """The run was found and has ended; now what it leaves behind."""
        if not end.follow_ons:
            return ops.Ended(True, successor)
        key = successor.key if successor is not None else None
        return ops.Ended(
            True, successor, tuple(None if put.job.key == key else self._put(put) for put in end.follow_ons)
        )

    def _end_with_successor(self, end: ops.End) -> ops.Ended:
        """However the run ends, the job behind it takes its place."""
        if end.handle is not None and self._execute(_HANDLE, (end.id,)).fetchone() != (end.handle,):
            return ops.Ended(False)
        return self._ended(end, self._promote(end.id, end.func, end.at_ms))

    def _promote(self, ended_id: int, func: str, at_ms: int) -> Job | None:
        behind_id = self._behind.pop(ended_id)
        self._execute(_DELETE, (ended_id,))
        self._execute(_PROMOTE, {"at": at_ms, "id": behind_id})
        self._counts.change(func, live=-1, behind=-1)
        return self._load(_BY_ID_WITHOUT_WORKLOAD, behind_id)

    def _boot(self, op: ops.Boot) -> ops.BootResult:
        self._execute("UPDATE daemon SET boot = boot + 1")
        boot, next_id = self._execute("SELECT boot, next_id FROM daemon").fetchone()
        running = self._execute(_RUNNING).fetchall()
        return ops.BootResult(boot, next_id, [_job(row) for row in running])

    def _reserve(self, op: ops.Reserve) -> None:
        self._execute("UPDATE daemon SET next_id = ?", (op.next_id,))

    def _purge(self, op: ops.Purge) -> int:
        surplus = self._execute(_FIRST_SURPLUS, (op.kept,)).fetchone()
        last = max((op.ended_at_ms, -1), surplus or (-1, -1))
        purged = self._execute(_DEAD_UP_TO, (*last, op.limit)).fetchall()
        for job_id, func in purged:
            self._execute(_DELETE, (job_id,))
            self._counts.change(func, dead=-1)
        return len(purged)

    # -- reads ---------------------------------------------------------------------------------------------------------

    def _load(self, statement: str, job_id: int) -> Job | None:
        row = self._execute(statement, (job_id,)).fetchone()
        return None if row is None else _job(row)

    def _fetch(self, op: ops.Fetch) -> Job | None:
        job = self._load(_BY_ID, op.id)
        if job is not None and job.workload is None:
            job.workload = self._workload(op.id)
        return job

    def _workload(self, job_id: int) -> bytes:
        """A workload that lives apart."""
        row: tuple[bytes] = self._execute("SELECT workload FROM workloads WHERE job_id = ?", (job_id,)).fetchone()
        return row[0]

    def _get(self, op: ops.Get) -> ops.GetResult:
        row = self._execute(_FRONT, (op.func, op.name)).fetchone()
        if row is None:
            return ops.GetResult("absent")
        front_id, behind_id = row[0], self._behind.get(row[0])
        if op.id not in (None, front_id) and op.id != behind_id:
            return ops.GetResult("changed")
        job_id = op.id or front_id
        job = self._fetch(ops.Fetch(job_id)) if op.workload else self._load(_BY_ID_WITHOUT_WORKLOAD, job_id)
        assert job is not None
        return ops.GetResult("found", ops.Shown(job, job.id == front_id and behind_id is not None))

    def _lanes(self, op: ops.Lanes) -> list[int]:
        found: list[int] = []
        priority = -(2**31)
        while True:
            (next_priority,) = self._execute(_NEXT_PRIORITY, (op.func, priority)).fetchone()
            if next_priority is None:
                return found
            priority = next_priority
            found.append(priority)

    def _page(self, op: ops.Page) -> ops.PageResult:
        after = op.after or ops.Key(-1, -1)
        page: list[Job] = []
        page_bytes = 0
        rows = self._execute(_PAGE, (op.func, op.priority, after.due_at_ms, after.id, op.limit + 1)).fetchall()
        for row in rows:
            if len(page) == op.limit or (page and page_bytes > op.page_bytes):
                return ops.PageResult(page, True)
            job = _job(row)
            if job.workload_bytes > op.inline_bytes:
                job.workload = None
            elif job.workload is None:
                job.workload = self._workload(job.id)
            page_bytes += len(job.workload or b"")
            page.append(job)
        return ops.PageResult(page, False)

    def _count(self, op: ops.Count) -> ops.CountResult:
        counts: dict[str, ops.FunctionCount] = {}
        looks = 0
        for func, live, behind, dead in self._counts.page(op.prefix, op.after):
            if len(counts) == op.limit or looks >= COUNT_LOOKS:
                return ops.CountResult(counts, True)
            lanes = self._lanes(ops.Lanes(func)) if live else []
            dues = [self._execute(_FIRST_DUE, (func, priority)).fetchone()[0] for priority in lanes]
            looks += 1 + 2 * len(lanes)
            counts[func] = ops.FunctionCount(live, behind, dead, min(dues, default=None))
        return ops.CountResult(counts, False)

    # -- listings ------------------------------------------------------------------------------------------------------

    def list_jobs(self, listing: ops.Listing) -> ops.ListingResult:
        """Looks at the jobs chunk by chunk; when that takes too long it stops there, and the page is short."""
        with self._reader_lock:
            stop_s = time.monotonic() + LISTING_S
            jobs: list[ops.Shown] = []
            after = listing.after
            while True:
                last, rows = self._reader.execute(_CHUNK_END, (after, LISTING_CHUNK)).fetchone()
                if not rows:
                    return ops.ListingResult(jobs, None)
                wanted = {
                    "after": after,
                    "last": last,
                    "func": listing.func,
                    "state": listing.state,
                    "limit": listing.limit - len(jobs),
                }
                rows_found = self._reader.execute(_LISTING, wanted)
                jobs += [ops.Shown(_job(row[:-1]), bool(row[-1])) for row in rows_found]
                if len(jobs) == listing.limit:
                    return ops.ListingResult(jobs, jobs[-1].job.id)
                if rows < LISTING_CHUNK:
                    return ops.ListingResult(jobs, None)
                if time.monotonic() >= stop_s:
                    return ops.ListingResult(jobs, last)
                after = last


def _job(row: tuple[Any, ...]) -> Job:
    """A row of _COLUMNS, which has the order of Job's fields."""
    job = Job(*row)
    job.retry = retry.from_text(row[9])
    job.state = State(row[10])
    job.suspect, job.dated = bool(row[14]), bool(row[21])
    if job.headers is not None:
        job.headers = json.loads(row[19])
    return job


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _own_name(path: Path) -> Path:
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


def _lock(path: Path) -> int:
    """Hold the store's lock file for as long as this process lives."""
    lock_path = _beside(path, ".lock")
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


def _writer(path: Path) -> str:
    """Who writes to the file, in words.

    Asking for the lock itself would need another descriptor of the file, and closing that would drop our own locks.
    """
    with contextlib.suppress(OSError, ValueError):
        inode = _beside(path, "-shm").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            _, _, _, kind, process, file, first, last = line.replace("-> ", "").split()
            if kind == "WRITE" and file.endswith(f":{inode}") and first == last == str(_WRITE_LOCK):
                name = Path(f"/proc/{process}/comm").read_text().strip()
                return f"process {process} ({name}), which writes to it"
    return "another program, which writes to it"


def _inode(path: str) -> tuple[int, int] | None:
    """Which file has this name now, if any. Called at each commit, where pathlib would be felt."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: Path, durability: Literal["full", "relaxed"]) -> sqlite3.Connection:
    if path.is_dir():
        raise StoreError(f"{path} is a directory; --store names a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"{path} cannot be written; it must belong to the user that periodicd runs as")
    _make(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path} is a database of another program; choose another file with --store")
        db.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the WAL at each commit: what was acknowledged survives a power cut. NORMAL syncs at checkpoints.
        db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA cache_size = -16384")
        db.execute("PRAGMA trusted_schema = OFF")
        _migrate(path, db)
        # After a failed sync the kernel may show frames of the WAL that are not on disk: nothing may come to lie
        # behind them.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db


def _make(path: Path) -> None:
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


def _migrate(path: Path, db: sqlite3.Connection) -> None:
    wrapped = sqlite_utils.Database(db)
    newer = [migration.name for migration in migrations.applied(wrapped) if migration.name not in MIGRATION_NAMES]
    if newer:
        raise StoreError(f"{path} was written by a newer periodicd (it has {', '.join(newer)}); use that version")
    migrations.apply(wrapped)


def _explain(path: Path, error: sqlite3.Error) -> str:
    text = str(error)
    if "not a database" in text:
        return f"{path} is not a SQLite database; choose another file with --store"
    if "malformed" in text:
        return f"{path} is damaged ({text}); restore it from a backup, see docs/operating.md"
    return f"cannot open {path}: {text}"


_METHODS: dict[type[Op], Callable[[SqliteStore, Any], Result]] = {
    ops.Put: SqliteStore._put,
    ops.Remove: SqliteStore._remove,
    ops.Requeue: SqliteStore._requeue,
    ops.Claim: SqliteStore._claim,
    ops.Extend: SqliteStore._extend,
    ops.Delete: SqliteStore._delete,
    ops.Release: SqliteStore._release,
    ops.Bury: SqliteStore._bury,
    ops.Boot: SqliteStore._boot,
    ops.Reserve: SqliteStore._reserve,
    ops.Shift: SqliteStore._shift,
    ops.Purge: SqliteStore._purge,
    ops.Get: SqliteStore._get,
    ops.Fetch: SqliteStore._fetch,
    ops.Lanes: SqliteStore._lanes,
    ops.Page: SqliteStore._page,
    ops.Count: SqliteStore._count,
}
