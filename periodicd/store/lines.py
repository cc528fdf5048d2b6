"""The tables of the order among jobs: settings of functions and locks, schedules, who stands in line for which lock.

Whatever becomes of a parked job, it has to ``leave`` the lines.
"""

import json
import sqlite3

from periodicd.function import Function
from periodicd.job import Job
from periodicd.lock import Lock
from periodicd.schedule import Schedule
from periodicd.store import order
from periodicd.store.counts import Counts
from periodicd.store.reads import Reads
from periodicd.store.statements import (
    SQL,
    function_of,
    lock_of,
    row_of_function,
    row_of_lock,
    row_of_schedule,
    schedule_of,
)


class Lines:
    """``funcs``: of the jobs that were put last, which are not parked. Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor, counts: Counts, funcs: dict[int, str], reads: Reads) -> None:
        self._execute = cursor.execute
        self._counts = counts
        self._funcs = funcs
        self._reads = reads
        self._left: dict[str, None] = {}

    def all(self) -> tuple[dict[str, Function], dict[str, Lock], tuple[str, ...]]:
        """What is set of functions and of locks, and the locks for which somebody stands in line."""
        functions = {row[0]: function_of(row[1:]) for row in self._execute(SQL["functions"])}
        locks = {row[0]: lock_of(row[1:]) for row in self._execute(SQL["locks"])}
        return functions, locks, tuple(lock for (lock,) in self._execute(SQL["lines"]))

    def set_function(self, op: order.SetFunction) -> None:
        if op.function is None:
            self._execute(SQL["forget_function"], (op.func,))
        else:
            self._execute(SQL["set_function"], [op.func, *row_of_function(op.function)])

    def set_lock(self, op: order.SetLock) -> None:
        if op.lock is None:
            self._execute(SQL["forget_lock"], (op.name,))
        else:
            self._execute(SQL["set_lock"], [op.name, *row_of_lock(op.lock)])

    def schedules(self) -> dict[str, Schedule]:
        return {row[0]: schedule_of(row[1:]) for row in self._execute(SQL["schedules"])}

    def set_schedule(self, name: str, schedule: Schedule | None) -> None:
        if schedule is None:
            self._execute(SQL["forget_schedule"], (name,))
        else:
            self._execute(SQL["set_schedule"], [name, *row_of_schedule(schedule)])

    def park(self, op: order.Park) -> None:
        job = op.job
        if self._execute(SQL["park"], (job.id,)).rowcount != 1:
            return
        self._funcs.pop(job.id, None)
        self._counts.change(job.func, parked=1)
        for lock, weight in (job.locks or {}).items():
            self._execute(SQL["stand"], (lock, job.func, job.priority, job.due_at_ms, job.id, weight))

    def unpark(self, op: order.Unpark) -> Job | None:
        if self._execute(SQL["unpark"], (op.at_ms, op.id)).rowcount != 1:
            return None
        job = self._reads.load(op.id)
        assert job is not None
        self._forget(job.func, op.id)
        return job

    def leave(self, func: str, job_id: int) -> None:
        """It is parked no more."""
        self._left.update((lock, None) for (lock,) in self._execute(SQL["stands"], (job_id,)))
        self._forget(func, job_id)

    def _forget(self, func: str, job_id: int) -> None:
        self._execute(SQL["leave_lines"], (job_id,))
        self._counts.change(func, parked=-1)

    def left(self, op: order.Left) -> tuple[str, ...]:
        left, self._left = tuple(self._left), {}
        return left

    def heads(self, op: order.Heads) -> dict[str, list[order.InLine]]:
        return {lock: self._heads(lock) for lock in op.locks}

    def _heads(self, lock: str) -> list[order.InLine]:
        """A look for each function that stands there."""
        found: list[order.InLine] = []
        func = ""
        while (row := self._execute(SQL["head"], {"lock": lock, "after": func}).fetchone()) is not None:
            priority, due_at_ms, job_id, func, locks = row
            found.append(order.InLine(priority, due_at_ms, job_id, func, json.loads(locks)))
        return found

    def lengths(self, op: order.LineLengths) -> dict[str, int]:
        return {lock: self._execute(SQL["line_length"], (lock, op.limit)).fetchone()[0] for lock in op.locks}
