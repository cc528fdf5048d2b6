"""What waits, in the order in which it is given out: lanes, pages of them, and how many jobs there are. Reads only."""

import sqlite3

from periodicd.job import Job
from periodicd.store import ops
from periodicd.store.counts import Counts
from periodicd.store.statements import SQL, job_of

COUNT_LOOKS = 2_000
"""A page of functions ends after so many looks at an index, each of some microseconds."""


class Windows:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor, counts: Counts) -> None:
        self._execute = cursor.execute
        self._counts = counts

    def lanes(self, op: ops.Lanes) -> list[int]:
        found: list[int] = []
        priority = -(2**31)
        while True:
            (next_priority,) = self._execute(SQL["next_priority"], (op.func, priority)).fetchone()
            if next_priority is None:
                return found
            priority = next_priority
            found.append(priority)

    def page(self, op: ops.Page) -> ops.PageResult:
        after = op.after or ops.Key(-1, -1)
        page: list[Job] = []
        page_bytes = 0
        rows = self._execute(SQL["page"], (op.func, op.priority, after.due_at_ms, after.id, op.limit + 1)).fetchall()
        for row in rows:
            if len(page) == op.limit or (page and page_bytes > op.page_bytes):
                return ops.PageResult(page, True)
            job = job_of(row)
            if job.workload_bytes > op.inline_bytes:
                job.workload = None
            elif job.workload is None:
                job.workload = self.workload(job.id)
            page_bytes += len(job.workload or b"")
            page.append(job)
        return ops.PageResult(page, False)

    def count(self, op: ops.Count) -> ops.CountResult:
        counts: dict[str, ops.FunctionCount] = {}
        looks = 0
        for func, live, behind, dead in self._counts.page(op.prefix, op.after):
            if len(counts) == op.limit or looks >= COUNT_LOOKS:
                return ops.CountResult(counts, True)
            lanes = self.lanes(ops.Lanes(func)) if live else []
            dues = [self._execute(SQL["first_due"], (func, priority)).fetchone()[0] for priority in lanes]
            looks += 1 + 2 * len(lanes)
            counts[func] = ops.FunctionCount(live, behind, dead, min(dues, default=None))
        return ops.CountResult(counts, False)

    def workload(self, job_id: int) -> bytes:
        """One that lives apart."""
        row: tuple[bytes] = self._execute(SQL["workload"], (job_id,)).fetchone()
        return row[0]
