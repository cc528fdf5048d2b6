"""The dead: one of them waits again, or the oldest are forgotten."""

import sqlite3

from periodicd.job import State
from periodicd.store import ops
from periodicd.store.counts import Counts
from periodicd.store.reads import Reads
from periodicd.store.statements import INLINE_BYTES, SQL


class Dead:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor, counts: Counts, reads: Reads) -> None:
        self._execute = cursor.execute
        self._counts = counts
        self._reads = reads

    def requeue(self, op: ops.Requeue) -> ops.RequeueResult:
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        if row is None:
            return ops.RequeueResult("absent")
        old_id, state, workload_bytes, _ = row
        if op.id not in (None, old_id):
            return ops.RequeueResult("changed")
        if state != State.DEAD:
            return ops.RequeueResult("not_dead")
        self._execute(SQL["requeue"], (op.new_id, op.due_at_ms, old_id))
        if workload_bytes > INLINE_BYTES:
            self._execute(SQL["move_workload"], (op.new_id, old_id))
        self._counts.change(op.func, live=1, dead=-1)
        return ops.RequeueResult("requeued", self._reads.load(op.new_id), old_id)

    def purge(self, op: ops.Purge) -> int:
        surplus = self._execute(SQL["first_surplus"], (op.kept,)).fetchone()
        last = max((op.ended_at_ms, -1), surplus or (-1, -1))
        purged = self._execute(SQL["dead_up_to"], (*last, op.limit)).fetchall()
        for job_id, func in purged:
            self._execute(SQL["delete"], (job_id,))
            self._counts.change(func, dead=-1)
        return len(purged)
