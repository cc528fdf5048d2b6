"""What each op does to the tables of a SQLite store, statement by statement, inside a transaction of its owner.

Beside the tables it remembers who waits behind whom, and how many jobs each function has: both are asked for at each
step and would be looked up again and again.
"""

import json
import sqlite3
from collections.abc import Callable
from itertools import groupby
from typing import Any, Literal

from periodicd.job import Job, State
from periodicd.store import ops, order
from periodicd.store.bulk import BULK, Bulks, remember
from periodicd.store.counts import Counts
from periodicd.store.dead import Dead
from periodicd.store.endings import Endings
from periodicd.store.lines import Lines
from periodicd.store.members import Members
from periodicd.store.ops import Op
from periodicd.store.reads import Reads
from periodicd.store.statements import INLINE_BYTES, SQL, is_plain, job_of, row_of, text_of


class Tables:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
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

    def apply(self, asked: list[Op[Any]]) -> list[Any]:
        """Carry out each op, in order; of many equal ones in a row, some at a time. The answer of each."""
        if len(asked) < BULK:
            return [METHODS[type(op)](self, op) for op in asked]
        results: list[Any] = []
        for kind, equal in groupby(asked, type):
            together = self._bulks.put if kind is ops.Put else self._bulks.delete if kind is ops.Delete else None
            method, some = METHODS[kind], list(equal)
            for first in range(0, len(some), BULK):
                bulk: list[Any] = some[first : first + BULK]
                done = together(bulk) if together is not None and len(bulk) == BULK else None
                results += [method(self, op) for op in bulk] if done is None else done
        return results

    # -- writes --------------------------------------------------------------------------------------------------------

    def _insert(self, job: Job, state: State) -> bool:
        """False if a job of this identity is there already."""
        plain = is_plain(job)
        if self._execute(SQL["insert_plain" if plain else "insert"], row_of(job, state, plain)).rowcount != 1:
            return False
        if job.workload is not None and len(job.workload) > INLINE_BYTES:
            self._execute(SQL["insert_workload"], (job.id, job.workload))
            self.large_bytes += len(job.workload)
        return True

    def _put(self, op: ops.Put) -> ops.PutResult:
        job = op.job
        if op.existing == "keep" and (last := self.endings.of_name(job)) is not None:
            return ops.PutResult("kept", last.id)
        is_full = op.queue_max is not None and self.counts.live(job.func) >= op.queue_max
        if is_full and self._would_grow(op):
            return ops.PutResult("full", 0)
        if self._insert(job, State.WAITING):
            if job.group_id is not None:
                self.members.join(job)
            remember(self._funcs, job)
            self.counts.change(job.func, live=1)
            return ops.PutResult("created", job.id)
        old_id, state, _, _ = self._execute(SQL["front"], (job.func, job.name)).fetchone()
        if op.existing == "refuse":
            return ops.PutResult("refused", old_id)
        if op.existing == "keep" or (op.existing == "keep_live" and state != State.DEAD):
            return ops.PutResult("kept", old_id)
        if job.group_id is not None:
            # First, or the one that goes might be the last of it.
            self.members.join(job)
        if state == State.RUNNING:
            return self._put_behind(old_id, job)
        self._goes(old_id, "replaced", job.submitted_at_ms)
        self._insert(job, State.WAITING)
        if state == State.DEAD:
            self.counts.change(job.func, live=1, dead=-1)
            return ops.PutResult("created", job.id, old_id)
        if state == State.PARKED:
            self.lines.leave(job.func, old_id)
        return ops.PutResult("replaced", job.id, old_id)

    def _would_grow(self, op: ops.Put) -> bool:
        """Whether the function would have one live job more: nothing is there whose place it takes or that is kept."""
        row = self._execute(SQL["front"], op.job.key).fetchone()
        if row is None:
            return True
        front_id, state, _, _ = row
        if op.existing in ("keep", "refuse") or (op.existing == "keep_live" and state != State.DEAD):
            return False
        return state == State.DEAD or (state == State.RUNNING and front_id not in self._behind)

    def _put_behind(self, front_id: int, job: Job) -> ops.PutResult:
        behind_id = self._behind.get(front_id)
        if behind_id is not None:
            self._goes(behind_id, "replaced", job.submitted_at_ms)
        else:
            self.counts.change(job.func, live=1, behind=1)
        self._behind[front_id] = job.id
        self._insert(job, State.BEHIND)
        return ops.PutResult("queued_behind", job.id, behind_id)

    def _goes(self, job_id: int, ending: ops.EndingWord, at_ms: int, reason: str | None = None) -> None:
        """The record does, otherwise than by the end of a run. If the job was not dead, it has ended so."""
        self.endings.keep_of(job_id, ending, at_ms, reason)
        self.members.goes(job_id, ending, at_ms)
        self._execute(SQL["delete"], (job_id,))

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

    def _shift(self, op: ops.Shift) -> None:
        self._execute(SQL["shift"], (op.by_ms,))
        self._execute(SQL["shift_lines"], (op.by_ms,))

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

    def _move(self, op: ops.Move) -> ops.MoveResult:
        found = self._look_at(op)
        if isinstance(found, str):
            return ops.MoveResult(found)
        front_id, state, _ = found
        if op.id in (None, front_id) and state not in (State.WAITING, State.PARKED):
            return ops.MoveResult("not_waiting")
        stays = state == State.PARKED and self.members.is_open(front_id)
        if state == State.PARKED and not stays:
            self.lines.leave(op.func, front_id)
        job_id = op.id or front_id
        moved = {"due": op.due_at_ms, "dated": op.dated, "priority": op.priority, "stays": stays, "id": job_id}
        self._execute(SQL["move"], moved)
        return ops.MoveResult("moved", self.reads.load(job_id))

    def _claim(self, op: ops.Claim) -> None:
        row = (op.handle, op.attempt, op.lease_until_at_ms, op.started_at_ms, op.taken_ms, op.id)
        self._execute(SQL["claim"], row)

    def _extend(self, op: ops.Extend) -> bool:
        return self._execute(SQL["extend"], (op.lease_until_at_ms, op.id)).rowcount == 1

    def _delete(self, op: ops.Delete) -> ops.Ended:
        end = op.end
        if self._behind and end.id in self._behind:
            return self._end_with_behind(end, op.ending)
        func, state = self._func_and_state(end.id)
        if self._execute(SQL["delete_run"], (end.id, end.handle)).rowcount != 1:
            return ops.Ended(False)
        self._count_gone(func, state, end.id)
        return self._ended(end, op.ending)

    def _func_and_state(self, job_id: int) -> tuple[str, int]:
        """Looked up only if it is not known: most jobs end soon after they were put, and not after their death.

        Those of which it is known are not parked.
        """
        func = self._funcs.pop(job_id, None)
        if func is not None and not self.counts.dead(func):
            return func, State.RUNNING
        row = self._execute(SQL["func_and_state"], (job_id,)).fetchone()
        return ("", State.RUNNING) if row is None else (row[0], row[1])

    def _count_gone(self, func: str, state: int, job_id: int) -> None:
        self.counts.change(func, live=-(state != State.DEAD), dead=-(state == State.DEAD))
        if state == State.PARKED:
            self.lines.leave(func, job_id)

    def _release(self, op: ops.Release) -> ops.Ended:
        end, past = op.end, op.history
        if end.id in self._behind:
            return self._end_with_behind(end, "replaced")
        row = (
            op.locks is not None, json.dumps(op.locks) if op.locks else None, op.due_at_ms, op.handle,
            past.attempt, past.failures, past.crashes, past.restarts, past.suspect,
            past.reason, text_of(past.errors), past.started_at_ms, end.id, end.handle,
        )  # fmt: skip
        func, state = self._func_and_state(end.id) if self.counts.parked else ("", State.RUNNING)
        found = self._execute(SQL["release"], row).rowcount == 1
        if found and state == State.PARKED:
            self.lines.leave(func, end.id)
        return self._ended(end, None) if found else ops.Ended(False)

    def _bury(self, op: ops.Bury) -> ops.Ended:
        end, past = op.end, op.history
        if end.id in self._behind:
            return self._end_with_behind(end, "dead")
        func, state = self._func_and_state(end.id)
        row = (
            op.ended_at_ms, op.handle, past.attempt, past.failures, past.crashes, past.restarts, past.suspect,
            past.reason, text_of(past.errors), past.started_at_ms, end.id, end.handle,
        )  # fmt: skip
        if self._execute(SQL["bury"], row).rowcount != 1:
            return ops.Ended(False)
        if state != State.DEAD:
            self.counts.change(func, live=-1, dead=1)
        if state == State.PARKED:
            self.lines.leave(func, end.id)
        return self._ended(end, "dead")

    def _ended(self, end: ops.End, ending: ops.EndingWord | None, promoted: Job | None = None) -> ops.Ended:
        """The run was found and has ended, and the job too, unless it goes on: None. Now what it leaves behind."""
        if end.kept is not None and ending is not None:
            self.endings.keep(end.kept)
        taken = promoted.key if promoted is not None else None
        if end.then is not None:
            results, then = self.members.follow(end, end.then, taken)
        else:
            results, then = tuple(None if put.job.key == taken else self._put(put) for put in end.follow_ons), None
        # Not before its follow-ons, which may have joined its group.
        if end.group_id is not None and ending is not None:
            self.members.ended(end.group_id, ending, end.at_ms)
        return ops.Ended(True, promoted, results, then)

    def _end_with_behind(self, end: ops.End, ending: ops.EndingWord) -> ops.Ended:
        """However the run ends, the job behind it takes its place."""
        if end.handle is not None and self._execute(SQL["handle"], (end.id,)).fetchone() != (end.handle,):
            return ops.Ended(False)
        return self._ended(end, ending, self._promote(end.id, end.at_ms))

    def _promote(self, ended_id: int, at_ms: int) -> Job:
        behind_id = self._behind.pop(ended_id)
        self._execute(SQL["delete"], (ended_id,))
        self._execute(SQL["promote"], {"at": at_ms, "id": behind_id})
        promoted = self.reads.load(behind_id)
        assert promoted is not None
        self.counts.change(promoted.func, live=-1, behind=-1, parked=promoted.state is State.PARKED)
        return promoted

    def _boot(self, op: ops.Boot) -> ops.BootResult:
        self._execute(SQL["boot"])
        boot, next_id = self._execute(SQL["daemon"]).fetchone()
        running = self._execute(SQL["running"]).fetchall()
        return ops.BootResult(
            boot, next_id, [job_of(row) for row in running], *self.lines.all(), self.members.groups > 0
        )

    def _reserve(self, op: ops.Reserve) -> None:
        self._execute(SQL["reserve"], (op.next_id,))


METHODS: dict[type[Op[Any]], Callable[[Tables, Any], Any]] = {
    ops.Put: Tables._put,
    ops.Remove: Tables._remove,
    ops.Requeue: lambda tables, op: tables.dead.requeue(op),
    ops.Cancel: Tables._cancel,
    ops.Move: Tables._move,
    ops.Claim: Tables._claim,
    ops.Extend: Tables._extend,
    ops.Delete: Tables._delete,
    ops.Release: Tables._release,
    ops.Bury: Tables._bury,
    ops.Boot: Tables._boot,
    order.SetFunction: lambda tables, op: tables.lines.set_function(op),
    order.SetLock: lambda tables, op: tables.lines.set_lock(op),
    order.Park: lambda tables, op: tables.lines.park(op),
    order.Unpark: lambda tables, op: tables.lines.unpark(op),
    order.Heads: lambda tables, op: tables.lines.heads(op),
    order.Left: lambda tables, op: tables.lines.left(op),
    order.LineLengths: lambda tables, op: tables.lines.lengths(op),
    order.PutGroup: lambda tables, op: tables.members.put_group(op),
    order.Freed: lambda tables, op: tables.members.freed(),
    ops.Reserve: Tables._reserve,
    ops.Shift: Tables._shift,
    ops.Forget: lambda tables, op: tables.endings.forget(op),
    ops.Purge: lambda tables, op: tables.dead.purge(op),
    ops.Get: lambda tables, op: tables.members.get(op),
    ops.FetchEnd: lambda tables, op: tables.endings.fetch(op.id),
    ops.Fetch: lambda tables, op: tables.reads.fetch(op.id),
    ops.Lanes: lambda tables, op: tables.reads.lanes(op),
    ops.Page: lambda tables, op: tables.reads.page(op),
    ops.Count: lambda tables, op: tables.reads.count(op),
}
