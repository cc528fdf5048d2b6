"""What each op does to the tables of a SQLite store, statement by statement, inside a transaction of its owner.

Whatever goes otherwise than with a run is leaving.py's.
"""

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from periodicd.job import Job, State
from periodicd.store import file, ops, order, room
from periodicd.store.bulk import BULK, remember
from periodicd.store.leaving import Leaving
from periodicd.store.ops import Op
from periodicd.store.statements import INLINE_BYTES, SQL, is_plain, job_of, row_of, text_of


class Tables(Leaving):
    """Raises sqlite3.Error."""

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

    def _shift(self, op: ops.Shift) -> None:
        self._execute(SQL["shift"], (op.by_ms,))
        self._execute(SQL["shift_lines"], (op.by_ms,))

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

    def _tally(self, op: ops.Tally) -> ops.Ended:
        row = json.dumps(op.broadcast), op.end.id, op.end.handle
        if self._execute(SQL["tally"], row).rowcount != 1:
            return ops.Ended(False)
        behind_id = self._behind.get(op.end.id)
        behind = None if behind_id is None else self.reads.load(behind_id)
        return ops.Ended(True, None, *self._follow(op.end, behind))

    def _ended(self, end: ops.End, ending: ops.EndingWord | None, promoted: Job | None = None) -> ops.Ended:
        """The run was found and has ended, and the job too, unless it goes on: None. Now what it leaves behind."""
        if end.kept is not None and ending is not None:
            self.endings.keep(end.kept)
        followed = self._follow(end, promoted)
        # Not before its follow-ons, which may have joined its group.
        if end.group_id is not None and ending is not None:
            self.members.ended(end.group_id, ending, end.at_ms)
        return ops.Ended(True, promoted, *followed)

    def _follow(
        self, end: ops.End, behind: Job | None
    ) -> tuple[tuple[ops.PutResult | None, ...], ops.PutResult | None]:
        """``behind``: has the name of the run's job, or has it now, so that no follow-on gets it."""
        taken = behind.key if behind is not None else None
        if end.then is not None:
            return self.members.follow(end, end.then, taken)
        return tuple(None if put.job.key == taken else self._put(put) for put in end.follow_ons), None

    def _end_with_behind(self, end: ops.End, ending: ops.EndingWord) -> ops.Ended:
        """However the run ends, the job behind it takes its place."""
        if end.handle is not None and self._execute(SQL["handle"], (end.id,)).fetchone() != (end.handle,):
            return ops.Ended(False)
        return self._ended(end, ending, self._promote(end.id, end.at_ms))

    def _boot(self, op: ops.Boot) -> ops.BootResult:
        self._execute(SQL["boot"])
        boot, next_id = self._execute(SQL["daemon"]).fetchone()
        running = self._execute(SQL["running"]).fetchall()
        settings = self.lines.all()
        jobs, has_groups = [job_of(row) for row in running], self.members.groups > 0
        (expires_at_ms,) = self._execute(SQL["first_expiry"]).fetchone()
        schedules, broadcast_at_ms = self.lines.schedules(), self.reads.first_broadcast()
        return ops.BootResult(boot, next_id, jobs, *settings, has_groups, schedules, expires_at_ms, broadcast_at_ms)

    def _fire(self, op: order.Fire) -> ops.PutResult | None:
        if op.unless_live is not None and self._execute(SQL["is_live"], (op.unless_live,)).fetchone() is not None:
            self.lines.set_schedule(op.name, op.schedule)
            return None
        put = self._put(op.put)
        is_put = put.id == op.put.job.id
        self.lines.set_schedule(op.name, replace(op.schedule, last_id=put.id) if is_put else op.schedule)
        return put

    def _room(self, op: room.Room) -> room.RoomResult:
        return room.RoomResult(self.endings.count, self.endings.bytes, *file.sizes(self._path))

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
    ops.Tally: Tables._tally,
    ops.Boot: Tables._boot,
    order.SetFunction: lambda tables, op: tables.lines.set_function(op),
    order.SetLock: lambda tables, op: tables.lines.set_lock(op),
    order.Park: lambda tables, op: tables.lines.park(op),
    order.Unpark: lambda tables, op: tables.lines.unpark(op),
    order.Heads: lambda tables, op: tables.lines.heads(op),
    order.Left: lambda tables, op: tables.lines.left(op),
    order.LineLengths: lambda tables, op: tables.lines.lengths(op),
    order.PutGroup: lambda tables, op: tables.members.put_group(op),
    order.SetSchedule: lambda tables, op: tables.lines.set_schedule(op.name, op.schedule),
    order.Fire: Tables._fire,
    order.Expire: Tables._expire,
    order.Broadcasts: lambda tables, op: tables.reads.broadcasts(op),
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
    room.Room: Tables._room,
}
