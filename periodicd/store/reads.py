"""What is read in a step: one job, what waits in the order in which it is given out, and how many jobs there are."""

import sqlite3

from periodicd.job import Job
from periodicd.store import ops, order
from periodicd.store.counts import Counts
from periodicd.store.endings import Endings
from periodicd.store.statements import SQL, job_of

COUNT_LOOKS = 2_000
"""A page of functions ends after so many looks at an index, each of some microseconds."""


class Reads:
    """``behind``: who waits behind whom. Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor, behind: dict[int, int], counts: Counts, endings: Endings) -> None:
        self._execute = cursor.execute
        self._behind = behind
        self._counts = counts
        self._endings = endings

    def load(self, job_id: int) -> Job | None:
        """One job, without its workload."""
        return self._load(SQL["by_id_without_workload"], job_id)

    def _load(self, statement: str, job_id: int) -> Job | None:
        row = self._execute(statement, (job_id,)).fetchone()
        return None if row is None else job_of(row)

    def fetch(self, job_id: int) -> Job | None:
        job = self._load(SQL["by_id"], job_id)
        if job is not None and job.workload is None:
            job.workload = self._workload(job_id)
        return job

    def get(self, op: ops.Get) -> ops.GetResult:
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        last = self._endings.last(op)
        if row is None:
            return ops.GetResult("absent", None, last)
        front_id, behind_id = row[0], self._behind.get(row[0])
        if op.id not in (None, front_id) and op.id != behind_id:
            return ops.GetResult("changed", None, last)
        job_id = op.id or front_id
        job = self.fetch(job_id) if op.workload else self.load(job_id)
        assert job is not None
        return ops.GetResult("found", ops.Shown(job, job.id == front_id and behind_id is not None), last)

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
                job.workload = self._workload(job.id)
            page_bytes += len(job.workload or b"")
            page.append(job)
        return ops.PageResult(page, False)

    def first_broadcast(self) -> int | None:
        due_at_ms: int | None = self._execute(SQL["first_broadcast"]).fetchone()[0]
        return due_at_ms

    def broadcasts(self, op: order.Broadcasts) -> order.BroadcastsResult:
        rows = self._execute(SQL["broadcasts"], (op.at_ms, op.limit + 1)).fetchall()
        due = [job_id for job_id, due_at_ms in rows[: op.limit] if due_at_ms <= op.at_ms]
        jobs = [job for job in map(self.fetch, due) if job is not None]
        return order.BroadcastsResult(jobs, rows[len(due)][1] if len(due) < len(rows) else None)

    def count(self, op: ops.Count) -> ops.CountResult:
        counts: dict[str, ops.FunctionCount] = {}
        looks = 0
        for func, live, behind, dead, parked in self._counts.page(op.prefix, op.after):
            if len(counts) == op.limit or looks >= COUNT_LOOKS:
                return ops.CountResult(counts, True)
            lanes = self.lanes(ops.Lanes(func)) if live else []
            dues = [self._execute(SQL["first_due"], (func, priority)).fetchone()[0] for priority in lanes]
            looks += 1 + 2 * len(lanes)
            counts[func] = ops.FunctionCount(live, behind, dead, min(dues, default=None), parked)
        return ops.CountResult(counts, False)

    def _workload(self, job_id: int) -> bytes:
        """One that lives apart."""
        row: tuple[bytes] = self._execute(SQL["workload"], (job_id,)).fetchone()
        return row[0]
