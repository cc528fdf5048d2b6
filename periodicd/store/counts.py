"""How many jobs each function has: kept as jobs come and go, and in the order of names, so that nobody scans or sorts.

A function whose last job is gone is forgotten, though not at once: one that has a job now and then would be sorted in
and out for each.
"""

import sqlite3
from collections.abc import Iterator

from sortedcontainers import SortedDict

from periodicd.names import names_of
from periodicd.store.statements import SQL

IDLE_MAX = 1000
"""So many functions without jobs are remembered."""


class Counts:
    """As they were kept at the last stop in order, or else counted anew. Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._functions: SortedDict[str, list[int]] = SortedDict()
        """Live, of these behind, dead and parked jobs, by function."""
        self.parked = 0
        """Of all functions."""
        self._idle: dict[str, None] = {}
        """Functions without jobs, the longest idle first."""

        (is_kept,) = cursor.execute(SQL["is_counted"]).fetchone()
        for func, live, behind, dead, parked in cursor.execute(SQL["kept_counts" if is_kept else "count"]).fetchall():
            self.change(func, live, behind, dead, parked)

    def keep(self) -> None:
        """At a stop in order, so that the next start need not count. They cost nothing while the daemon runs."""
        self._cursor.execute(SQL["forget_counts"])
        self._cursor.executemany(SQL["keep_count"], self.page("", ""))
        self._cursor.execute(SQL["counted"])

    def change(self, func: str, live: int = 0, behind: int = 0, dead: int = 0, parked: int = 0) -> None:
        """So many more, or fewer."""
        count = self._functions.get(func)
        if count is None:
            count = self._functions[func] = [0, 0, 0, 0]
        count[0] += live
        count[1] += behind
        count[2] += dead
        count[3] += parked
        self.parked += parked
        if count[0] or count[2]:
            if self._idle:
                self._idle.pop(func, None)
        else:
            self._idle[func] = None
            if len(self._idle) > IDLE_MAX:
                longest = next(iter(self._idle))
                del self._idle[longest], self._functions[longest]

    def live(self, func: str) -> int:
        count = self._functions.get(func)
        return count[0] if count is not None else 0

    def dead(self, func: str) -> int:
        count = self._functions.get(func)
        return count[2] if count is not None else 0

    def page(self, prefix: str, after: str) -> Iterator[tuple[str, int, int, int, int]]:
        """Name, live, behind, dead and parked of functions with jobs that begin with ``prefix``, after ``after``."""
        for func in names_of(self._functions, prefix, after):
            live, behind, dead, parked = self._functions[func]
            if live or dead:
                yield func, live, behind, dead, parked

    def __len__(self) -> int:
        return len(self._functions)
