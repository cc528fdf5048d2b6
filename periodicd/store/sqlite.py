"""Jobs in one SQLite file: one connection, one transaction a step.

The connection has one user at a time: ``apply`` on the daemon's loop, then ``commit`` or ``tend`` in a thread
while the loop leaves it alone. Listings run on a connection of their own (reader.py). What each op does to the
tables stands in tables.py.

The statements run on the loop on purpose: in a thread beside a busy loop each step of SQLite waits for the interpreter
lock, which was measured to be hundreds of times slower; only COMMIT, which waits for the disk, leaves the loop.
"""

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any, Literal

from periodicd.store import Locked, StoreError, StoreFailed, file
from periodicd.store.ops import Listing, ListingResult, Op, Read
from periodicd.store.reader import Reader
from periodicd.store.tables import Tables

log = logging.getLogger("periodicd.store")

CHECKPOINT_WEIGHT = 4000
"""Ops, commits and pages of large workloads after which the WAL is worth a checkpoint: some 10 to 50 MB."""

PAGE_BYTES = 4096
FREE_PAGES = 4096
"""So many, 16 MB, are kept for jobs to come."""
SHRINK_PAGES = 1000
"""Given back at a time, beside the checkpoint: some milliseconds."""
CLOSE_WAIT_MS = 1_000


class SqliteStore:
    """Opens, locks and if need be makes or migrates the file at ``path``. Raises StoreError."""

    def __init__(self, path: Path, durability: Literal["full", "relaxed"] = "full") -> None:
        self.path = path = file.own_name(path)
        self._held = file.hold(path)
        try:
            self._db = file.open_(path, durability)
            self._tables = Tables(self._db.cursor(), path)
            self._reader = Reader(path)
            self._watched = file.Watched(path)
            # From now on nobody waits on the loop; `lock` does, elsewhere.
            self._db.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            os.close(self._held)
            raise StoreError(file.explain(path, error)) from error
        except StoreError:
            os.close(self._held)
            raise
        self._weight = 0
        self._large_bytes = 0
        """Of the workloads that were weighed."""
        self._is_shrinking = False

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
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise self._failed(error) from error
            raise Locked(f"{self.path} is locked by {file.writer(self.path)}") from error

    def _failed(self, error: object) -> StoreFailed:
        return StoreFailed(f"{self.path} failed: {error}")

    def apply(self, ops: list[Op[Any]]) -> list[Any]:
        if not self._db.in_transaction and not all(isinstance(op, Read) for op in ops):
            self._begin()
        self._weight += len(ops)
        try:
            return self._tables.apply(ops)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def commit(self) -> None:
        large_bytes = self._tables.large_bytes
        self._weight += 1 + (large_bytes - self._large_bytes) // PAGE_BYTES
        self._large_bytes = large_bytes
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        # SQLite goes on writing to a file that has lost its name, and all of it is gone with the process. Without the
        # lock file there may be a second daemon.
        if (lost := self._watched.lost()) is not None:
            # As the last connection the other one copies a WAL that has lost its name into the file as it ends.
            self._reader.close()
            raise self._failed(f"{lost} was deleted or replaced while the daemon ran")

    @property
    def wants_tending(self) -> bool:
        """The WAL has grown so much, or the file is still to shrink and nothing was asked of it since it last did."""
        return self._weight >= CHECKPOINT_WEIGHT or (self._is_shrinking and not self._weight)

    def tend(self) -> None:
        """Copy what is committed from the WAL into the file, so that the WAL can be used from its start again.

        Pages that nothing uses are given back to the file system, some at a time.
        """
        self._weight = 0
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._shrink()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _shrink(self) -> None:
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        self._is_shrinking = free > FREE_PAGES
        if self._is_shrinking:
            self._db.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES:d})").fetchall()

    def close(self) -> None:
        """Forget what is not committed."""
        if not self._db.in_transaction:
            self._keep_counts()
        self._reader.close()
        self._db.close()
        os.close(self._held)

    def _keep_counts(self) -> None:
        """A stop goes on without them: then the next start counts."""
        try:
            self.lock(CLOSE_WAIT_MS)
            self._tables.counts.keep()
            self._db.commit()
        except (StoreFailed, sqlite3.Error) as error:
            log.warning("the counts of %s were not kept, so the next start counts: %s", self.path, error)

    def list_jobs(self, listing: Listing) -> ListingResult:
        try:
            return self._reader.list_jobs(listing)
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error
