"""How records go, or jobs end, otherwise than with a run: removed, replaced, cancelled, expired. Part of tables.py.

Beside the tables memory holds who waits behind whom, and how many jobs each function has: both are asked for at each
step and would be looked up again and again.
"""

import sqlite3
from pathlib import Path
from typing import Literal

from periodicd.job import EXPIRED, Job, State
from periodicd.store import ops, order
from periodicd.store.bulk import Bulks
from periodicd.store.counts import Counts
from periodicd.store.dead import Dead
from periodicd.store.endings import Endings
from periodicd.store.lines import Lines
from periodicd.store.members import Members
from periodicd.store.reads import Reads
from periodicd.store.statements import SQL


class Leaving:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor, path: Path) -> None:
        self._path = path
        self._execute = cursor.execute
        self._behind = dict(self._execute(SQL["behind_pairs"]).fetchall())
        self._funcs: dict[int, str] = {}
        """Of the jobs that were put last."""
        self.large_bytes = 0
        """Of workloads that were put apart, ever."""
        self._execute(SQL["look"]).fetchone()
        self.counts = Counts(cursor)
        self.endings = Endings(cursor)
        self.reads = Reads(cursor, self._behind, self.counts, self.endings)
        self.dead = Dead(cursor, self.counts, self.reads)
        self.members = Members(cursor, self.counts, self._funcs, self.reads, self._put)
        self.lines = Lines(cursor, self.counts, self._funcs, self.reads)
        self._bulks = Bulks(cursor, self._behind, self._funcs, self.counts, self.endings)

    def _put(self, op: ops.Put) -> ops.PutResult:
        raise NotImplementedError

    def _goes(self, job_id: int, ending: ops.EndingWord, at_ms: int, reason: str | None = None) -> None:
        """The record does."""
        self._ends(job_id, ending, at_ms, reason)
        self._execute(SQL["delete"], (job_id,))

    def _ends(self, job_id: int, ending: ops.EndingWord, at_ms: int, reason: str | None) -> None:
        """Otherwise than with a run. If the job was dead, it has ended before."""
        self.endings.keep_of(job_id, ending, at_ms, reason)
        self.members.goes(job_id, ending, at_ms)

    def _expire(self, op: order.Expire) -> order.ExpireResult:
        rows = self._execute(SQL["expired"], (op.at_ms, op.limit)).fetchall()
        for job_id, func, name, state in rows:
            if state == State.BEHIND:
                (front_id, *_) = self._execute(SQL["front"], (func, name)).fetchone()
                self._take_behind(func, front_id, "expired", op.at_ms, EXPIRED)
                continue
            # Anew, since the job of a group may have gone free with the one before.
            _, state = self._execute(SQL["func_and_state"], (job_id,)).fetchone()
            self._ends(job_id, "expired", op.at_ms, EXPIRED)
            self._execute(SQL["expire"], (op.at_ms, EXPIRED, job_id))
            self._funcs.pop(job_id, None)
            self.counts.change(func, live=-1, dead=1)
            if state == State.PARKED:
                self.lines.leave(func, job_id)
        (next_at_ms,) = self._execute(SQL["first_expiry"]).fetchone()
        return order.ExpireResult(tuple(order.Expired(*row[:3]) for row in rows), next_at_ms)

    def _look_at(
        self, op: ops.Remove | ops.Cancel | ops.Move
    ) -> tuple[int, int, int | None] | Literal["absent", "changed"]:
        """The front's id and state and the id of the job behind it, if what the op means is one of them."""
        row = self._execute(SQL["front"], (op.func, op.name)).fetchone()
        if row is None:
            return "absent"
        front_id, state, _, _ = row
        behind_id = self._behind.get(front_id)
        if op.id not in (None, front_id, behind_id):
            return "changed"
        if op.state not in (None, state if op.id in (None, front_id) else State.BEHIND):
            return "changed"
        return front_id, state, behind_id

    def _remove(self, op: ops.Remove) -> ops.RemoveResult:
        found = self._look_at(op)
        if isinstance(found, str):
            return ops.RemoveResult(found)
        front_id, state, behind_id = found
        gone: list[int] = []
        if behind_id is not None and op.id != front_id:
            gone.append(self._take_behind(op.func, front_id, "removed", op.at_ms))
        if op.id == behind_id and op.id is not None:
            return ops.RemoveResult("removed", tuple(gone))
        gone.append(front_id)
        self._goes(front_id, "removed", op.at_ms)
        if front_id in self._behind:
            return ops.RemoveResult("removed", tuple(gone), self._promote(front_id, op.at_ms))
        self._funcs.pop(front_id, None)
        self._count_gone(op.func, state, front_id)
        return ops.RemoveResult("removed", tuple(gone))

    def _take_behind(
        self, func: str, front_id: int, ending: ops.EndingWord, at_ms: int, reason: str | None = None
    ) -> int:
        behind_id: int = self._behind.pop(front_id)
        self._goes(behind_id, ending, at_ms, reason)
        self.counts.change(func, live=-1, behind=-1)
        return behind_id

    def _cancel(self, op: ops.Cancel) -> ops.CancelResult:
        found = self._look_at(op)
        if isinstance(found, str):
            return ops.CancelResult(found)
        front_id, state, behind_id = found
        if state == State.DEAD:
            return ops.CancelResult("not_live")
        gone: list[int] = []
        if behind_id is not None and op.id != front_id:
            gone.append(self._take_behind(op.func, front_id, "cancelled", op.at_ms, op.reason or None))
        if op.id is not None and op.id == behind_id:
            return ops.CancelResult("cancelled", tuple(gone))
        if state == State.RUNNING:
            self._execute(SQL["cancel"], (op.reason, front_id))
            return ops.CancelResult("asked", tuple(gone), front_id)
        self._goes(front_id, "cancelled", op.at_ms, op.reason or None)
        self._count_gone(op.func, state, front_id)
        return ops.CancelResult("cancelled", (*gone, front_id))

    def _count_gone(self, func: str, state: int, job_id: int) -> None:
        self.counts.change(func, live=-(state != State.DEAD), dead=-(state == State.DEAD))
        if state == State.PARKED:
            self.lines.leave(func, job_id)

    def _promote(self, ended_id: int, at_ms: int) -> Job:
        behind_id = self._behind.pop(ended_id)
        self._execute(SQL["delete"], (ended_id,))
        self._execute(SQL["promote"], {"at": at_ms, "id": behind_id})
        promoted = self.reads.load(behind_id)
        assert promoted is not None
        self.counts.change(promoted.func, live=-1, behind=-1, parked=promoted.state is State.PARKED)
        return promoted
