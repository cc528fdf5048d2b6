"""What each op does to the tables of a SQLite store, statement by statement, inside a transaction of its owner.

Beside the tables it remembers who waits behind whom, and how many jobs each function has: both are asked for at each
step and would be looked up again and again.
"""

import sqlite3
from collections.abc import Callable
from itertools import groupby
from typing import Any

from periodicd.job import Job, State
from periodicd.store import ops
from periodicd.store.counts import Counts
from periodicd.store.groups import GROUP, Groups, remember
from periodicd.store.ops import Op
from periodicd.store.statements import INLINE_BYTES, SQL, job_of, row_of

COUNT_LOOKS = 2_000
"""A page of functions ends after so many looks at an index, each of some microseconds."""


class Tables:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._execute = cursor.execute
        self._behind = dict(self._execute(SQL["behind_pairs"]).fetchall())
        self._funcs: dict[int, str] = {}
        """Of the jobs that were put last."""
        self.counts = Counts()
        self._execute(SQL["look"]).fetchone()
        (is_counted,) = self._execute(SQL["is_counted"]).fetchone()
        for func, live, behind, dead in self._execute(SQL["kept_counts" if is_counted else "count"]):
            self.counts.change(func, live, behind, dead)
        self._groups = Groups(cursor, self._behind, self._funcs, self.counts)

    def keep_counts(self) -> None:
        """At a stop in order, so that the next start need not count. They cost nothing while the daemon runs."""
        self._execute(SQL["forget_counts"])
        self._cursor.executemany(SQL["keep_count"], self.counts.page("", ""))
        self._execute(SQL["counted"])

    def apply(self, asked: list[Op[Any]]) -> list[Any]:
        """Carry out each op, in order; of many equal ones in a row, some at a time. The answer of each."""
        if len(asked) < GROUP:
            return [METHODS[type(op)](self, op) for op in asked]
        results: list[Any] = []
        for kind, equal in groupby(asked, type):
            together = self._groups.put if kind is ops.Put else self._groups.delete if kind is ops.Delete else None
            method, some = METHODS[kind], list(equal)
            for first in range(0, len(some), GROUP):
                group: list[Any] = some[first : first + GROUP]
                done = together(group) if together is not None and len(group) == GROUP else None
                results += [method(self, op) for op in group] if done is None else done
        return results

    # -- writes --------------------------------------------------------------------------------------------------------

    def _insert(self, job: Job, state: State) -> bool:
        """False if a job of this identity is there already."""
        if self._execute(SQL["insert"], row_of(job, state)).rowcount != 1:
            return False
        if job.workload is not None and len(job.workload) > INLINE_BYTES:
            self._execute(SQL["insert_workload"], (job.id, job.workload))
        return True

    def _put(self, op: ops.Put) -> ops.PutResult:
        job = op.job
        if self._insert(job, State.WAITING):
            remember(self._funcs, job)
            self.counts.change(job.func, live=1)
            return ops.PutResult("created", job.id)
        old_id, state, _ = self._execute(SQL["front"], (job.func, job.name)).fetchone()
        if op.existing == "refuse":
            return ops.PutResult("refused", old_id)
        if op.existing == "keep" or (op.existing == "keep_live" and state != State.DEAD):
            return ops.PutResult("kept", old_id)
        if state == State.RUNNING:
            behind_id = self._behind.get(old_id)
            if behind_id is not None:
                self._execute(SQL["delete"], (behind_id,))
            else:
                self.counts.change(job.func, live=1, behind=1)
            self._behind[old_id] = job.id
            self._insert(job, State.BEHIND)
            return ops.PutResult("queued_behind", job.id)
        self._execute(SQL["delete"], (old_id,))
        self._insert(job, State.WAITING)
        if state == State.DEAD:
            self.counts.change(job.func, live=1, dead=-1)
            return ops.PutResult("created", job.id, old_id)
        return ops.PutResult("replaced", job.id, old_id)

    def _remove(self, op: ops.Remove) -> ops.RemoveResult:
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        if row is None:
            return ops.RemoveResult("absent")
        front_id, state, _ = row
        behind_id = self._behind.get(front_id)
        if op.id is not None and op.id == behind_id:
            if op.state not in (None, State.BEHIND):
                return ops.RemoveResult("changed")
            self._remove_behind(op.func, front_id)
            return ops.RemoveResult("removed")
        if op.id not in (None, front_id) or op.state not in (None, state):
            return ops.RemoveResult("changed")
        if behind_id is not None and op.id is None:
            self._remove_behind(op.func, front_id)
        if front_id in self._behind:
            return ops.RemoveResult("removed", front_id, self._promote(front_id, op.at_ms))
        self._execute(SQL["delete"], (front_id,))
        self.counts.change(op.func, live=-(state != State.DEAD), dead=-(state == State.DEAD))
        return ops.RemoveResult("removed", front_id)

    def _remove_behind(self, func: str, front_id: int) -> None:
        self._execute(SQL["delete"], (self._behind.pop(front_id),))
        self.counts.change(func, live=-1, behind=-1)

    def _shift(self, op: ops.Shift) -> None:
        self._execute(SQL["shift"], (op.by_ms,))

    def _requeue(self, op: ops.Requeue) -> ops.RequeueResult:
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        if row is None:
            return ops.RequeueResult("absent")
        old_id, state, workload_bytes = row
        if op.id not in (None, old_id):
            return ops.RequeueResult("changed")
        if state != State.DEAD:
            return ops.RequeueResult("not_dead")
        self._execute(SQL["requeue"], (op.new_id, op.due_at_ms, old_id))
        if workload_bytes > INLINE_BYTES:
            self._execute(SQL["move_workload"], (op.new_id, old_id))
        self.counts.change(op.func, live=1, dead=-1)
        return ops.RequeueResult("requeued", self._load(SQL["by_id_without_workload"], op.new_id), old_id)

    def _claim(self, op: ops.Claim) -> None:
        self._execute(SQL["claim"], (op.handle, op.attempt, op.lease_until_at_ms, op.id))

    def _extend(self, op: ops.Extend) -> bool:
        return self._execute(SQL["extend"], (op.lease_until_at_ms, op.id)).rowcount == 1

    def _delete(self, op: ops.Delete) -> ops.Ended:
        end = op.end
        if self._behind and end.id in self._behind:
            return self._end_with_successor(end)
        func, was_dead = self._func_and_whether_dead(end.id)
        if self._execute(SQL["delete_run"], (end.id, end.handle)).rowcount != 1:
            return ops.Ended(False)
        self.counts.change(func, live=-(not was_dead), dead=-was_dead)
        return self._ended(end)

    def _func_and_whether_dead(self, job_id: int) -> tuple[str, bool]:
        """Looked up only if it is not known: most jobs end soon after they were put, and not after their death."""
        func = self._funcs.pop(job_id, None)
        if func is not None and not self.counts.dead(func):
            return func, False
        row = self._execute(SQL["func_and_state"], (job_id,)).fetchone()
        return ("", False) if row is None else (row[0], row[1] == State.DEAD)

    def _release(self, op: ops.Release) -> ops.Ended:
        end, past = op.end, op.history
        if end.id in self._behind:
            return self._end_with_successor(end)
        row = (
            op.due_at_ms, op.handle, past.attempt, past.failures, past.crashes, past.restarts, past.suspect,
            past.reason, end.id, end.handle,
        )  # fmt: skip
        found = self._execute(SQL["release"], row).rowcount == 1
        return self._ended(end) if found else ops.Ended(False)

    def _bury(self, op: ops.Bury) -> ops.Ended:
        end, past = op.end, op.history
        if end.id in self._behind:
            return self._end_with_successor(end)
        func, was_dead = self._func_and_whether_dead(end.id)
        row = (
            op.ended_at_ms, op.handle, past.attempt, past.failures, past.crashes, past.restarts, past.suspect,
            past.reason, end.id, end.handle,
        )  # fmt: skip
        if self._execute(SQL["bury"], row).rowcount != 1:
            return ops.Ended(False)
        if not was_dead:
            self.counts.change(func, live=-1, dead=1)
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
        if end.handle is not None and self._execute(SQL["handle"], (end.id,)).fetchone() != (end.handle,):
            return ops.Ended(False)
        return self._ended(end, self._promote(end.id, end.at_ms))

    def _promote(self, ended_id: int, at_ms: int) -> Job:
        behind_id = self._behind.pop(ended_id)
        self._execute(SQL["delete"], (ended_id,))
        self._execute(SQL["promote"], {"at": at_ms, "id": behind_id})
        successor = self._load(SQL["by_id_without_workload"], behind_id)
        assert successor is not None
        self.counts.change(successor.func, live=-1, behind=-1)
        return successor

    def _boot(self, op: ops.Boot) -> ops.BootResult:
        self._execute(SQL["boot"])
        boot, next_id = self._execute(SQL["daemon"]).fetchone()
        running = self._execute(SQL["running"]).fetchall()
        return ops.BootResult(boot, next_id, [job_of(row) for row in running])

    def _reserve(self, op: ops.Reserve) -> None:
        self._execute(SQL["reserve"], (op.next_id,))

    def _purge(self, op: ops.Purge) -> int:
        surplus = self._execute(SQL["first_surplus"], (op.kept,)).fetchone()
        last = max((op.ended_at_ms, -1), surplus or (-1, -1))
        purged = self._execute(SQL["dead_up_to"], (*last, op.limit)).fetchall()
        for job_id, func in purged:
            self._execute(SQL["delete"], (job_id,))
            self.counts.change(func, dead=-1)
        return len(purged)

    # -- reads ---------------------------------------------------------------------------------------------------------

    def _load(self, statement: str, job_id: int) -> Job | None:
        row = self._execute(statement, (job_id,)).fetchone()
        return None if row is None else job_of(row)

    def _fetch(self, op: ops.Fetch) -> Job | None:
        job = self._load(SQL["by_id"], op.id)
        if job is not None and job.workload is None:
            job.workload = self._workload(op.id)
        return job

    def _workload(self, job_id: int) -> bytes:
        """A workload that lives apart."""
        row: tuple[bytes] = self._execute(SQL["workload"], (job_id,)).fetchone()
        return row[0]

    def _get(self, op: ops.Get) -> ops.GetResult:
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        if row is None:
            return ops.GetResult("absent")
        front_id, behind_id = row[0], self._behind.get(row[0])
        if op.id not in (None, front_id) and op.id != behind_id:
            return ops.GetResult("changed")
        job_id = op.id or front_id
        job = self._fetch(ops.Fetch(job_id)) if op.workload else self._load(SQL["by_id_without_workload"], job_id)
        assert job is not None
        return ops.GetResult("found", ops.Shown(job, job.id == front_id and behind_id is not None))

    def _lanes(self, op: ops.Lanes) -> list[int]:
        found: list[int] = []
        priority = -(2**31)
        while True:
            (next_priority,) = self._execute(SQL["next_priority"], (op.func, priority)).fetchone()
            if next_priority is None:
                return found
            priority = next_priority
            found.append(priority)

    def _page(self, op: ops.Page) -> ops.PageResult:
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

    def _count(self, op: ops.Count) -> ops.CountResult:
        counts: dict[str, ops.FunctionCount] = {}
        looks = 0
        for func, live, behind, dead in self.counts.page(op.prefix, op.after):
            if len(counts) == op.limit or looks >= COUNT_LOOKS:
                return ops.CountResult(counts, True)
            lanes = self._lanes(ops.Lanes(func)) if live else []
            dues = [self._execute(SQL["first_due"], (func, priority)).fetchone()[0] for priority in lanes]
            looks += 1 + 2 * len(lanes)
            counts[func] = ops.FunctionCount(live, behind, dead, min(dues, default=None))
        return ops.CountResult(counts, False)


METHODS: dict[type[Op[Any]], Callable[[Tables, Any], Any]] = {
    ops.Put: Tables._put,
    ops.Remove: Tables._remove,
    ops.Requeue: Tables._requeue,
    ops.Claim: Tables._claim,
    ops.Extend: Tables._extend,
    ops.Delete: Tables._delete,
    ops.Release: Tables._release,
    ops.Bury: Tables._bury,
    ops.Boot: Tables._boot,
    ops.Reserve: Tables._reserve,
    ops.Shift: Tables._shift,
    ops.Purge: Tables._purge,
    ops.Get: Tables._get,
    ops.Fetch: Tables._fetch,
    ops.Lanes: Tables._lanes,
    ops.Page: Tables._page,
    ops.Count: Tables._count,
}
