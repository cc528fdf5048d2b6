"""Listings: a second, read-only connection that sqlite-utils owns, for any thread, beside what the steps write.

It sees what is committed. Knows no ops but ``Listing``.
"""

import sqlite3
import threading
import time
from pathlib import Path

import sqlite_utils

from periodicd.store.ops import Listing, ListingResult, Shown
from periodicd.store.statements import SQL, job_of

CHUNK = 10_000
LISTING_S = 0.25


class Reader:
    """Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._db = sqlite_utils.Database(sqlite3.connect(uri, uri=True, check_same_thread=False))
        # SQLite opens what it reads at the first look; there may be no descriptor left by then.
        self._db.execute(SQL["daemon"]).fetchone()
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def list_jobs(self, listing: Listing) -> ListingResult:
        """Looks at the jobs chunk by chunk; when that takes too long it stops there, and the page is short."""
        with self._lock:
            stop_s = time.monotonic() + LISTING_S
            jobs: list[Shown] = []
            after = listing.after
            while True:
                last, rows = self._db.execute(SQL["chunk_end"], (after, CHUNK)).fetchone()
                if not rows:
                    return ListingResult(jobs, None)
                wanted = {
                    "after": after,
                    "last": last,
                    "func": listing.func,
                    "state": listing.state,
                    "limit": listing.limit - len(jobs),
                }
                rows_found = self._db.execute(SQL["listing"], wanted)
                jobs += [Shown(job_of(row[:-1]), bool(row[-1])) for row in rows_found]
                if len(jobs) == listing.limit:
                    return ListingResult(jobs, jobs[-1].job.id)
                if rows < CHUNK:
                    return ListingResult(jobs, None)
                if time.monotonic() >= stop_s:
                    return ListingResult(jobs, last)
                after = last
