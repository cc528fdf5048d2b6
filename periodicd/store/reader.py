"""Listings: a second, read-only connection that sqlite-utils owns, for any thread, beside what the steps write.

It sees what is committed. Knows no ops but ``Listing``.

A listing looks at the jobs chunk by chunk, in the order of their ids or, of one function and prefix, of their names;
when that takes too long it stops between two chunks, and the page is short. Of each chunk the answer is a single row:
with a row for each job the thread would wait as often for the interpreter, half a millisecond each beside a busy loop.
"""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import sqlite_utils

from periodicd.job import State
from periodicd.store.ops import Listing, ListingResult, Place, Shown
from periodicd.store.statements import SQL, job_of

IDS_CHUNK = 2_000
"""A millisecond at the most, if what is read is in memory: some 0.1 us for each row, and more if it has a workload."""
NAMES_CHUNK = 500
"""The same: rows lie anywhere, some 3 us each."""
LISTING_S = 0.02

ID_END = 2**63 - 1
NAME_END = "\U0010ffff" * 64
"""Behind any name that goes on: one has 255 bytes at the most, and this 256 of the largest character."""


class _Way:
    """How to go through the jobs: a statement that ends a chunk, one that shows what it holds, one that counts it."""

    def __init__(self, chunk: int, suffix: str, order: str, jobs: str = "") -> None:
        parts = {"{found}": SQL["found" + suffix], "{order}": order, "{jobs}": jobs}
        parts |= {"{places}": SQL["places"], "{query}": SQL["query"]}
        statements = []
        for statement in (SQL["chunk_end" + suffix], SQL["listed"], SQL["listed_count"]):
            for part, text in parts.items():
                statement = statement.replace(part, text)
            statements.append(statement)
        self.chunk = chunk
        self.chunk_end, self.listed, self.count = statements


_BY_NAME = _Way(NAMES_CHUNK, "_by_name", "place_name, place_id")
_BY_ID = _Way(IDS_CHUNK, "_by_id", "id", "jobs WHERE TRUE")
_OF_STATE = {
    State.RUNNING: _Way(IDS_CHUNK, "_by_id", "id", "jobs INDEXED BY jobs_running WHERE state = 1"),
    State.DEAD: _Way(IDS_CHUNK, "_by_id", "id", "jobs INDEXED BY jobs_dead_by_id WHERE state = 2"),
}
"""Few among many, as a rule, so those have indexes."""


_OF_GROUP = _Way(IDS_CHUNK, "_by_id", "id", "jobs INDEXED BY jobs_members WHERE group_id = :group_id")


def _way(listing: Listing) -> _Way:
    if listing.by_name:
        return _BY_NAME
    if listing.group_id is not None:
        return _OF_GROUP
    return _BY_ID if listing.state is None else _OF_STATE.get(listing.state, _BY_ID)


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
        with self._lock:
            return self._list(listing, _way(listing))

    def _list(self, listing: Listing, way: _Way) -> ListingResult:
        stop_s = time.monotonic() + LISTING_S
        jobs: list[Shown] = []
        found = 0
        asked = _parameters(listing, way)
        while True:
            row = self._db.execute(way.chunk_end, asked).fetchone()
            end = None if row is None else Place(*row)
            if end is not None:
                asked |= {"last_id": end.id, "last_name": end.name}
            if listing.only_count:
                found += self._db.execute(way.count, asked).fetchone()[0]
            else:
                jobs += _shown(self._db.execute(way.listed, asked | {"limit": listing.limit - len(jobs)}).fetchone()[0])
                if len(jobs) == listing.limit:
                    last = jobs[-1].job
                    return ListingResult(jobs, Place(last.id, last.name if listing.by_name else None))
            if end is None or time.monotonic() >= stop_s:
                return ListingResult(jobs, end, found)
            asked |= {"after_id": end.id, "after_name": end.name, "last_id": ID_END, "last_name": asked["prefix_end"]}


def _parameters(listing: Listing, way: _Way) -> dict[str, Any]:
    after = listing.after or Place(-1)
    prefix = listing.prefix or ""
    if listing.by_name and (after.name or "") < prefix:
        after = Place(-1, prefix)
    return {
        "func": listing.func,
        "state": listing.state,
        "prefix": listing.prefix,
        "prefix_end": prefix + NAME_END,
        "due_from_at_ms": listing.due_from_at_ms,
        "due_before_at_ms": listing.due_before_at_ms,
        "reason": listing.reason,
        "group_id": listing.group_id,
        "before_id": ID_END if listing.before_id is None else listing.before_id,
        "after_id": after.id,
        "after_name": after.name,
        "last_id": ID_END,
        "last_name": prefix + NAME_END,
        "chunk": way.chunk,
    }


def _shown(rows: str | None) -> list[Shown]:
    return [Shown(job_of(tuple(row[:-1])), bool(row[-1])) for row in json.loads(f"[{rows or ''}]")]
