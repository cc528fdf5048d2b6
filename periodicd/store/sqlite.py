"""Jobs in one SQLite file: prepared statements on one connection, one transaction a step.

The connection has one user at a time: ``apply`` on the daemon's loop, then ``commit`` or ``checkpoint`` in a thread
while the loop leaves it alone. Listings run on a second, read-only connection that sqlite-utils owns, under its own
lock.

The statements run on the loop on purpose: in a thread beside a busy loop each step of SQLite waits for the interpreter
lock, which was measured to be hundreds of times slower; only COMMIT, which waits for the disk, leaves the loop.
"""

import contextlib
import fcntl
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
from periodicd.store import StoreError
from periodicd.store.schema import APPLICATION_ID, MIGRATION_NAMES, migrations

INLINE_BYTES = 4096
"""Workloads up to this size live in the job's row; a page of SQLite is as large."""

CHECKPOINT_WEIGHT = 4000
"""Ops and commits after which the WAL is worth a checkpoint: some 10 to 50 MB."""

LISTING_CHUNK = 10_000
LISTING_S = 0.25

_COLUMNS = (
    "id, func, name, due_ms, submitted_ms, workload, workload_bytes, priority, lease_ms, retry, state, attempt,"
    " failures, crashes, suspect, reason, ended_ms, handle, lease_until_ms"
)
_COLUMNS_WITHOUT_WORKLOAD = _COLUMNS.replace(" workload,", " NULL,")

_INSERT = (
    "INSERT INTO jobs"
    " (id, func, name, state, priority, due_ms, submitted_ms, lease_ms, retry, workload_bytes, workload)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_INSERT_WORKLOAD = "INSERT INTO workloads VALUES (?, ?)"
_DELETE = "DELETE FROM jobs WHERE id = ?"
_FRONT = "SELECT id, state, workload_bytes FROM jobs WHERE func = ? AND name = ? AND state <> 3"
_CLAIM = "UPDATE jobs SET state = 1, handle = ?, attempt = ?, lease_until_ms = ? WHERE id = ? AND state = 0"
_EXTEND = "UPDATE jobs SET lease_until_ms = ? WHERE id = ? AND state = 1"
_RELEASE = (
    "UPDATE jobs SET state = 0, lease_until_ms = NULL, due_ms = ?, handle = ?, attempt = ?, failures = ?,"
    " crashes = ?, suspect = ?, reason = ? WHERE id = ?"
)
_BURY = (
    "UPDATE jobs SET state = 2, lease_until_ms = NULL, ended_ms = ?, handle = ?, attempt = ?, failures = ?,"
    " crashes = ?, reason = ? WHERE id = ?"
)
_REQUEUE = (
    "UPDATE jobs SET id = ?, state = 0, due_ms = ?, attempt = 0, failures = 0, crashes = 0, suspect = 0,"
    " reason = NULL, ended_ms = NULL, handle = NULL WHERE id = ?"
)
_BY_ID = f"SELECT {_COLUMNS} FROM jobs WHERE id = ?"
_BY_ID_WITHOUT_WORKLOAD = f"SELECT {_COLUMNS_WITHOUT_WORKLOAD} FROM jobs WHERE id = ?"
_RUNNING = f"SELECT {_COLUMNS_WITHOUT_WORKLOAD} FROM jobs WHERE state = 1 ORDER BY id"
_NEXT_PRIORITY = "SELECT min(priority) FROM jobs WHERE func = ? AND state = 0 AND priority > ?"
_FIRST_DUE = "SELECT due_ms FROM jobs WHERE func = ? AND state = 0 AND priority = ? ORDER BY due_ms LIMIT 1"
_PAGE = (
    f"SELECT {_COLUMNS} FROM jobs WHERE func = ? AND state = 0 AND priority = ? AND (due_ms, id) > (?, ?)"
    " ORDER BY due_ms, id LIMIT ?"
)
_LISTING = (
    f"SELECT {_COLUMNS_WITHOUT_WORKLOAD} FROM jobs WHERE id > :after AND id <= :last"
    " AND (:func IS NULL OR func = :func) AND (:state IS NULL OR state = :state) ORDER BY id LIMIT :limit"
)
_CHUNK_END = "SELECT max(id) AS last, count(*) AS rows FROM (SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?)"
_SURPLUS_DEAD = "SELECT id FROM jobs WHERE state = 2 ORDER BY ended_ms DESC, id DESC LIMIT -1 OFFSET ?"
_OLD_DEAD = "SELECT id FROM jobs WHERE state = 2 AND ended_ms < ?"
_BEHIND_PAIRS = (
    "SELECT front.id, behind.id FROM jobs AS behind JOIN jobs AS front"
    " ON front.func = behind.func AND front.name = behind.name AND front.state <> 3 WHERE behind.state = 3"
)
_COUNTS = (
    "SELECT func, sum(live), sum(dead) FROM ("
    " SELECT func, count(*) AS live, 0 AS dead FROM jobs WHERE state = 0 GROUP BY func"
    " UNION ALL SELECT func, count(*), 0 FROM jobs WHERE state = 1 GROUP BY func"
    " UNION ALL SELECT func, count(*), 0 FROM jobs WHERE state = 3 GROUP BY func"
    " UNION ALL SELECT func, 0, count(*) FROM jobs WHERE state = 2 GROUP BY func"
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
            self._counts = {func: [live, dead] for func, live, dead in self._db.execute(_COUNTS)}
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._reader = sqlite_utils.Database(sqlite3.connect(uri, uri=True, check_same_thread=False))
            files = map(os.fspath, (path, _beside(path, "-wal"), _beside(path, ".lock")))
            self._files = [(file, _inode(file)) for file in files]
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

    def apply(self, ops: list[Op]) -> list[Result]:
        if not self._db.in_transaction and any(type(op) not in READS for op in ops):
            self._execute("BEGIN IMMEDIATE")
        self._weight += len(ops)
        return [_METHODS[type(op)](self, op) for op in ops]

    def commit(self) -> None:
        self._weight += 1
        self._db.commit()
        # SQLite goes on writing to a file that has lost its name, and all of it is gone with the process. Without the
        # lock file there may be a second daemon.
        for file, inode in self._files:
            if _inode(file) != inode:
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

    def _count_live(self, func: str, change: int) -> None:
        self._counts.setdefault(func, [0, 0])[0] += change

    def _count_dead(self, func: str, change: int) -> None:
        self._counts.setdefault(func, [0, 0])[1] += change

    def _insert(self, job: Job, state: State) -> bool:
        """False if a job of this identity is there already."""
        workload = job.workload
        assert workload is not None
        apart = len(workload) > INLINE_BYTES
        self._execute(
            _INSERT,
            (
                job.id, job.func, job.name, state, job.priority, job.due_ms, job.submitted_ms, job.lease_ms,
                retry.to_text(job.retry), len(workload), None if apart else workload,
            ),
        )  # fmt: skip
        if self._cursor.rowcount != 1:
            return False
        if apart:
            self._execute(_INSERT_WORKLOAD, (job.id, workload))
        self._count_live(job.func, 1)
        return True

    def _put(self, op: ops.Put) -> ops.PutResult:
        job = op.job
        if self._insert(job, State.WAITING):
            return ops.PutResult("created")
        if op.keep:
            return ops.PutResult("kept")
        old_id, state, _ = self._execute(_FRONT, (job.func, job.name)).fetchone()
        if state == State.RUNNING:
            behind_id = self._behind.get(old_id)
            if behind_id is not None:
                self._execute(_DELETE, (behind_id,))
                self._count_live(job.func, -1)
            self._behind[old_id] = job.id
            self._insert(job, State.BEHIND)
            return ops.PutResult("queued_behind")
        self._execute(_DELETE, (old_id,))
        self._insert(job, State.WAITING)
        if state == State.DEAD:
            self._count_dead(job.func, -1)
            return ops.PutResult("created")
        self._count_live(job.func, -1)
        return ops.PutResult("replaced", old_id)

    def _remove(self, op: ops.Remove) -> ops.RemoveResult:
        row = self._execute(_FRONT, (op.func, op.name)).fetchone()
        if row is None:
            return ops.RemoveResult("absent")
        job_id, state, _ = row
        self._execute(_DELETE, (job_id,))
        behind_id = self._behind.pop(job_id, None)
        if behind_id is not None:
            self._execute(_DELETE, (behind_id,))
            self._count_live(op.func, -1)
        if state == State.DEAD:
            self._count_dead(op.func, -1)
        else:
            self._count_live(op.func, -1)
        return ops.RemoveResult("removed", job_id)

    def _requeue(self, op: ops.Requeue) -> ops.RequeueResult:
        row = self._execute(_FRONT, (op.func, op.name)).fetchone()
        if row is None:
            return ops.RequeueResult("absent")
        old_id, state, workload_bytes = row
        if state != State.DEAD:
            return ops.RequeueResult("not_dead")
        self._execute(_REQUEUE, (op.id, op.due_ms, old_id))
        if workload_bytes > INLINE_BYTES:
            self._execute("UPDATE workloads SET job_id = ? WHERE job_id = ?", (op.id, old_id))
        self._count_dead(op.func, -1)
        self._count_live(op.func, 1)
        return ops.RequeueResult("requeued", self._load(_BY_ID_WITHOUT_WORKLOAD, op.id))

    def _claim(self, op: ops.Claim) -> bool:
        return self._execute(_CLAIM, (op.handle, op.attempt, op.lease_until_ms, op.id)).rowcount == 1

    def _extend(self, op: ops.Extend) -> bool:
        return self._execute(_EXTEND, (op.lease_until_ms, op.id)).rowcount == 1

    def _finish(self, op: ops.Finish) -> ops.Ended:
        if self._behind and op.id in self._behind:
            return self._promote(op.id, op.func)
        dead = self._counts.get(op.func, (0, 0))[1] and self._is_dead(op.id)
        if self._execute(_DELETE, (op.id,)).rowcount != 1:
            return ops.Ended(False)
        if dead:
            self._count_dead(op.func, -1)
        else:
            self._count_live(op.func, -1)
        return ops.Ended(True)

    def _is_dead(self, job_id: int) -> bool:
        row = self._execute("SELECT state = 2 FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row is not None and bool(row[0])

    def _release(self, op: ops.Release) -> ops.Ended:
        if op.id in self._behind:
            return self._promote(op.id, op.func)
        row = (op.due_ms, op.handle, op.attempt, op.failures, op.crashes, op.suspect, op.reason, op.id)
        return ops.Ended(self._execute(_RELEASE, row).rowcount == 1)

    def _bury(self, op: ops.Bury) -> ops.Ended:
        if op.id in self._behind:
            return self._promote(op.id, op.func)
        row = (op.ended_ms, op.handle, op.attempt, op.failures, op.crashes, op.reason, op.id)
        found = self._execute(_BURY, row).rowcount == 1
        if found:
            self._count_live(op.func, -1)
            self._count_dead(op.func, 1)
        return ops.Ended(found)

    def _promote(self, ended_id: int, func: str) -> ops.Ended:
        """The job behind an ended run takes its place."""
        behind_id = self._behind.pop(ended_id)
        self._execute(_DELETE, (ended_id,))
        self._execute("UPDATE jobs SET state = 0 WHERE id = ?", (behind_id,))
        self._count_live(func, -1)
        return ops.Ended(True, self._load(_BY_ID_WITHOUT_WORKLOAD, behind_id))

    def _boot(self, op: ops.Boot) -> ops.BootResult:
        self._execute("UPDATE daemon SET boot = boot + 1")
        boot, next_id = self._execute("SELECT boot, next_id FROM daemon").fetchone()
        running = self._execute(_RUNNING).fetchall()
        return ops.BootResult(boot, next_id, [_job(row) for row in running])

    def _reserve(self, op: ops.Reserve) -> None:
        self._execute("UPDATE daemon SET next_id = ?", (op.next_id,))

    def _purge(self, op: ops.Purge) -> int:
        ids = {job_id for (job_id,) in self._execute(_OLD_DEAD, (op.ended_ms,))}
        ids.update(job_id for (job_id,) in self._execute(_SURPLUS_DEAD, (op.kept,)).fetchall())
        for job_id in sorted(ids):
            (func,) = self._execute("SELECT func FROM jobs WHERE id = ?", (job_id,)).fetchone()
            self._execute(_DELETE, (job_id,))
            self._count_dead(func, -1)
        return len(ids)

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
            return ops.GetResult(None)
        return ops.GetResult(self._fetch(ops.Fetch(row[0])), row[0] in self._behind)

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
        rows = self._execute(_PAGE, (op.func, op.priority, after.due_ms, after.id, op.limit + 1)).fetchall()
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

    def _count(self, op: ops.Count) -> dict[str, ops.FunctionCount]:
        counts = {}
        for func, (live, dead) in self._counts.items():
            if live or dead:
                dues = [
                    self._execute(_FIRST_DUE, (func, priority)).fetchone()[0]
                    for priority in self._lanes(ops.Lanes(func))
                ]
                counts[func] = ops.FunctionCount(live, dead, min(dues, default=None))
        return counts

    # -- listings ------------------------------------------------------------------------------------------------------

    def list_jobs(self, listing: ops.Listing) -> ops.ListingResult:
        """Looks at the jobs chunk by chunk; when that takes too long it stops there, and the page is short."""
        with self._reader_lock:
            stop_s = time.monotonic() + LISTING_S
            jobs: list[Job] = []
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
                jobs += [_job(row) for row in self._reader.execute(_LISTING, wanted)]
                if len(jobs) == listing.limit:
                    return ops.ListingResult(jobs, jobs[-1].id)
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
    job.suspect = bool(row[14])
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
    ops.Finish: SqliteStore._finish,
    ops.Release: SqliteStore._release,
    ops.Bury: SqliteStore._bury,
    ops.Boot: SqliteStore._boot,
    ops.Reserve: SqliteStore._reserve,
    ops.Purge: SqliteStore._purge,
    ops.Get: SqliteStore._get,
    ops.Fetch: SqliteStore._fetch,
    ops.Lanes: SqliteStore._lanes,
    ops.Page: SqliteStore._page,
    ops.Count: SqliteStore._count,
}
