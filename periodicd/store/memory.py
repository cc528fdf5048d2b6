"""The model: the store as plainly as it can be said, slow and never wrong. Tests compare the others with it.

It keeps nothing after the process. The simulation runs on it, and crashes it in ways that a file could not show. With
``--store :memory:`` the daemon runs on it, for tests and for play; that is no reason to make it less plain.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from periodicd.job import Job, State
from periodicd.store import ops, order, room
from periodicd.store.beside import Beside
from periodicd.store.ops import EndingWord, Op

_NEW_LIFE: dict[str, Any] = {
    "state": State.WAITING, "dated": False, "attempt": 0, "failures": 0, "crashes": 0, "restarts": 0,
    "suspect": False, "reason": None, "errors": (), "ended_at_ms": None, "handle": None, "cancelled": None,
    "started_at_ms": None, "taken_ms": 0, "group_id": None, "expires_at_ms": None,
}  # fmt: skip
"""What a requeued job begins with."""


class MemoryStore(Beside):
    def __init__(self) -> None:
        super().__init__()
        self._boot = 0
        self._next_id = 1
        self._one_at_a_time = threading.Lock()
        """A listing in another thread must see no job half changed."""

    def lock(self, wait_ms: int) -> None:
        """Nobody else is there."""

    def apply(self, ops: list[Op[Any]]) -> list[Any]:
        with self._one_at_a_time:
            return [_METHODS[type(op)](self, op) for op in ops]

    def commit(self) -> None:
        pass

    @property
    def wants_tending(self) -> bool:
        return False

    def tend(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _put(self, op: ops.Put) -> ops.PutResult:
        front, behind = self._of(*op.job.key)
        if front is not None and op.existing == "refuse":
            return ops.PutResult("refused", front.id)
        if front is not None and (op.existing == "keep" or (op.existing == "keep_live" and front.state != State.DEAD)):
            return ops.PutResult("kept", front.id)
        last = self._last(*op.job.key, op.job.submitted_at_ms)
        if front is None and op.existing == "keep" and last is not None:
            return ops.PutResult("kept", last.id)
        grows = front is None or front.state is State.DEAD or (front.state is State.RUNNING and behind is None)
        live = [job for job in self._jobs.values() if job.func == op.job.func and job.state is not State.DEAD]
        if op.queue_max is not None and grows and len(live) >= op.queue_max:
            return ops.PutResult("full", 0)
        job = replace(op.job, state=State.WAITING)
        self._jobs[job.id] = job
        if job.group_id in self._groups:
            group = self._groups[job.group_id]
            self._groups[job.group_id] = group._replace(members=group.members + 1)
        if front is None:
            return ops.PutResult("created", job.id)
        if front.state is State.RUNNING:
            job.state = State.BEHIND
            if behind is not None:
                self._go(behind, "replaced", job.submitted_at_ms)
            return ops.PutResult("queued_behind", job.id, None if behind is None else behind.id)
        self._go(front, "replaced", job.submitted_at_ms)
        return ops.PutResult("created" if front.state is State.DEAD else "replaced", job.id, front.id)

    def _remove(self, op: ops.Remove) -> ops.RemoveResult:
        front, behind = self._of(op.func, op.name)
        if front is None:
            return ops.RemoveResult("absent")
        if op.id is None:
            going = [job for job in (behind, front) if job is not None]
        else:
            going = [job for job in (behind, front) if job is not None and job.id == op.id]
        if not going or op.state not in (None, going[-1].state):
            return ops.RemoveResult("changed")
        promoted = self._promote(front, op.at_ms) if front in going and behind not in going else None
        for job in going:
            self._go(job, "removed", op.at_ms)
        self._free_groups(op.at_ms)
        return ops.RemoveResult("removed", tuple(job.id for job in going), promoted)

    def _cancel(self, op: ops.Cancel) -> ops.CancelResult:
        front, behind = self._of(op.func, op.name)
        if front is None:
            return ops.CancelResult("absent")
        asked = [job for job in (behind, front) if job is not None and op.id in (None, job.id)]
        if not asked or op.state not in (None, asked[-1].state):
            return ops.CancelResult("changed")
        if front.state is State.DEAD:
            return ops.CancelResult("not_live")
        going = [job for job in asked if job.state is not State.RUNNING]
        for job in going:
            self._go(job, "cancelled", op.at_ms, op.reason or None)
        self._free_groups(op.at_ms)
        gone = tuple(job.id for job in going)
        if front in asked and front.state is State.RUNNING:
            front.cancelled = op.reason
            return ops.CancelResult("asked", gone, front.id)
        return ops.CancelResult("cancelled", gone)

    def _move(self, op: ops.Move) -> ops.MoveResult:
        front, behind = self._of(op.func, op.name)
        if front is None:
            return ops.MoveResult("absent")
        job = front if op.id in (None, front.id) else behind
        if job is None or op.id not in (None, job.id) or op.state not in (None, job.state):
            return ops.MoveResult("changed")
        if job.state not in (State.WAITING, State.PARKED, State.BEHIND):
            return ops.MoveResult("not_waiting")
        if job.state is State.PARKED and job.id not in self._groups:
            self._leaves(job)
            job.state = State.WAITING
        if op.due_at_ms is not None:
            job.due_at_ms, job.dated = op.due_at_ms, op.dated
        if op.priority is not None:
            job.priority = op.priority
        return ops.MoveResult("moved", replace(job, workload=None))

    def _requeue(self, op: ops.Requeue) -> ops.RequeueResult:
        front, _ = self._of(op.func, op.name)
        if front is None:
            return ops.RequeueResult("absent")
        if op.id not in (None, front.id):
            return ops.RequeueResult("changed")
        if front.state is not State.DEAD:
            return ops.RequeueResult("not_dead")
        del self._jobs[front.id]
        job = self._jobs[op.new_id] = replace(front, id=op.new_id, due_at_ms=op.due_at_ms, **_NEW_LIFE)
        return ops.RequeueResult("requeued", replace(job, workload=None), front.id)

    def _shift(self, op: ops.Shift) -> None:
        for job in self._jobs.values():
            if job.state in (State.WAITING, State.PARKED, State.BEHIND) and not job.dated:
                job.due_at_ms = max(0, job.due_at_ms - op.by_ms)

    def _claim(self, op: ops.Claim) -> None:
        job = self._jobs.get(op.id)
        if job is not None and job.state is State.WAITING:
            job.state = State.RUNNING
            job.handle, job.attempt, job.lease_until_at_ms = op.handle, op.attempt, op.lease_until_at_ms
            job.started_at_ms, job.taken_ms = op.started_at_ms, op.taken_ms

    def _extend(self, op: ops.Extend) -> bool:
        job = self._jobs.get(op.id)
        if job is None or job.state is not State.RUNNING:
            return False
        job.lease_until_at_ms = op.lease_until_at_ms
        return True

    def _delete(self, op: ops.Delete) -> ops.Ended:
        return self._end_run(op.end, op.ending, None)

    def _release(self, op: ops.Release) -> ops.Ended:
        changes: dict[str, Any] = {
            "state": State.WAITING,
            "dated": False,
            "due_at_ms": op.due_at_ms,
            "handle": op.handle,
        }
        if op.locks is not None:
            changes["locks"] = op.locks or None
        return self._end_run(op.end, "replaced", changes | op.history._asdict())

    def _bury(self, op: ops.Bury) -> ops.Ended:
        changes = {"state": State.DEAD, "ended_at_ms": op.ended_at_ms, "handle": op.handle}
        return self._end_run(op.end, "dead", changes | op.history._asdict())

    def _end_run(self, end: ops.End, ending: EndingWord, changes: dict[str, Any] | None) -> ops.Ended:
        """The job behind takes its place, or the job goes on with these changes, or it is gone.

        ``ending``: how it has ended, if it does not wait.
        """
        job = self._jobs.get(end.id)
        if job is None or end.handle not in (None, job.handle):
            return ops.Ended(False)
        self._leaves(job)
        promoted = self._promote(job, end.at_ms)
        if promoted is not None or changes is None:
            del self._jobs[end.id]
        else:
            self._jobs[end.id] = replace(job, lease_until_at_ms=None, **changes)
        has_ended = end.id not in self._jobs or self._jobs[end.id].state is State.DEAD
        if end.kept is not None and has_ended:
            self._endings[end.id] = end.kept
        follow_ons, then = self._follow(end, None if promoted is None else job.key)
        if has_ended:
            self._member_ended(job, ending)
        self._free_groups(end.at_ms)
        return ops.Ended(True, promoted, follow_ons, then)

    def _promote(self, ended: Job, at_ms: int) -> Job | None:
        """The job behind an ended run waits from now on."""
        _, behind = self._of(*ended.key)
        if behind is None:
            return None
        behind.state = State.PARKED if behind.id in self._groups else State.WAITING
        behind.dated = behind.dated and behind.due_at_ms > at_ms
        behind.due_at_ms = max(behind.due_at_ms, at_ms)
        return replace(behind, workload=None)

    def _boot_(self, op: ops.Boot) -> ops.BootResult:
        self._boot += 1
        running = [replace(job, workload=None) for job in self._by_id() if job.state is State.RUNNING]
        lines = tuple(sorted({lock for job in self._jobs.values() for lock in self._stands_at(job)}))
        has_groups = any(group_id in self._jobs for group_id in self._groups)
        beside = has_groups, dict(self._schedules), self._first_expiry(), self._first_broadcast()
        settings = dict(self._functions), dict(self._locks), lines, *beside
        return ops.BootResult(self._boot, self._next_id, running, *settings)

    def _reserve(self, op: ops.Reserve) -> None:
        self._next_id = op.next_id

    def _purge(self, op: ops.Purge) -> int:
        dead = [job for job in self._by_id() if job.state is State.DEAD]
        dead.sort(key=lambda job: (job.ended_at_ms, job.id))
        surplus = max(0, len(dead) - op.kept)
        purged = [job for at, job in enumerate(dead) if at < surplus or (job.ended_at_ms or 0) < op.ended_at_ms]
        del purged[op.limit :]
        for job in purged:
            del self._jobs[job.id]
        return len(purged)

    def _get(self, op: ops.Get) -> ops.GetResult:
        front, behind = self._of(op.func, op.name)
        last = self._last(op.func, op.name, op.at_ms, op.id)
        if last is not None and not op.data:
            last = last._replace(data=None)
        if front is None:
            return ops.GetResult("absent", None, last)
        if op.id in (None, front.id):
            job, has_behind = front, behind is not None
        elif behind is not None and op.id == behind.id:
            job, has_behind = behind, False
        else:
            return ops.GetResult("changed", None, last)
        shown = ops.Shown(replace(job, workload=job.workload if op.workload else None), has_behind)
        group = self._groups.get(job.id)
        return ops.GetResult("found", shown, last, group and group._replace(open=self._has_open(job.id)))

    def _fetch(self, op: ops.Fetch) -> Job | None:
        job = self._jobs.get(op.id)
        return job and replace(job)

    def _lanes(self, op: ops.Lanes) -> list[int]:
        return sorted({job.priority for job in self._waiting() if job.func == op.func})

    def _page(self, op: ops.Page) -> ops.PageResult:
        lane = [job for job in self._waiting() if job.func == op.func and job.priority == op.priority]
        lane = [job for job in lane if job.broadcast is None]
        lane.sort(key=lambda job: (job.due_at_ms, job.id))
        if op.after is not None:
            lane = [job for job in lane if (job.due_at_ms, job.id) > op.after]
        page: list[Job] = []
        page_bytes = 0
        for job in lane:
            if len(page) == op.limit or (page and page_bytes > op.page_bytes):
                return ops.PageResult(page, True)
            inline = job.workload_bytes <= op.inline_bytes
            page.append(replace(job, workload=job.workload if inline else None))
            page_bytes += job.workload_bytes if inline else 0
        return ops.PageResult(page, False)

    def _count(self, op: ops.Count) -> ops.CountResult:
        funcs = sorted({job.func for job in self._jobs.values() if job.func > op.after})
        funcs = [func for func in funcs if func.startswith(op.prefix)]
        counts = {}
        for func in funcs[: op.limit]:
            states = [job.state for job in self._jobs.values() if job.func == func]
            counts[func] = ops.FunctionCount(
                len(states) - states.count(State.DEAD),
                states.count(State.BEHIND),
                states.count(State.DEAD),
                min((job.due_at_ms for job in self._waiting() if job.func == func), default=None),
                states.count(State.PARKED),
            )
        return ops.CountResult(counts, len(funcs) > op.limit)

    def _room(self, op: room.Room) -> room.RoomResult:
        return room.RoomResult(len(self._endings), sum(each.end.data_bytes for each in self._endings.values()))

    def list_jobs(self, listing: ops.Listing) -> ops.ListingResult:
        with self._one_at_a_time:
            found = [
                ops.Shown(replace(job, workload=None), job.state is State.RUNNING and self._of(*job.key)[1] is not None)
                for job in sorted(self._jobs.values(), key=lambda job: _in_order(_place(job, listing), listing))
                if _is_listed(job, listing)
            ]
        if listing.only_count:
            return ops.ListingResult([], None, len(found))
        page = found[: listing.limit]
        return ops.ListingResult(page, _place(page[-1].job, listing) if len(found) > len(page) else None)

    def _by_id(self) -> list[Job]:
        return sorted(self._jobs.values(), key=lambda job: job.id)

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state is State.WAITING]


def _place(job: Job, listing: ops.Listing) -> ops.Place:
    return ops.Place(job.id, job.name if listing.by_name else None)


def _is_listed(job: Job, listing: ops.Listing) -> bool:
    return (
        listing.func in (None, job.func)
        and listing.state in (None, job.state)
        and job.name.startswith(listing.prefix or "")
        and (listing.due_from_at_ms is None or job.due_at_ms >= listing.due_from_at_ms)
        and (listing.due_before_at_ms is None or job.due_at_ms < listing.due_before_at_ms)
        and (listing.reason is None or listing.reason in (job.reason or ""))
        and listing.group_id in (None, job.group_id)
        and (listing.before_id is None or job.id < listing.before_id)
        and (listing.after is None or _in_order(_place(job, listing), listing) > _in_order(listing.after, listing))
    )


def _in_order(place: ops.Place, listing: ops.Listing) -> tuple[str, int]:
    return (place.name or "" if listing.by_name else ""), place.id


_METHODS: dict[type[Op[Any]], Callable[[MemoryStore, Any], Any]] = {
    ops.Put: MemoryStore._put_alone,
    ops.Remove: MemoryStore._remove,
    ops.Requeue: MemoryStore._requeue,
    ops.Cancel: MemoryStore._cancel,
    ops.Move: MemoryStore._move,
    ops.Claim: MemoryStore._claim,
    ops.Extend: MemoryStore._extend,
    ops.Delete: MemoryStore._delete,
    ops.Release: MemoryStore._release,
    ops.Bury: MemoryStore._bury,
    ops.Tally: MemoryStore._tally,
    ops.Boot: MemoryStore._boot_,
    order.SetFunction: MemoryStore._set_function,
    order.SetLock: MemoryStore._set_lock,
    order.Park: MemoryStore._park,
    order.Unpark: MemoryStore._unpark,
    order.Heads: MemoryStore._heads,
    order.Left: MemoryStore._left_,
    order.LineLengths: MemoryStore._line_lengths,
    order.PutGroup: MemoryStore._put_group,
    order.SetSchedule: MemoryStore._set_schedule,
    order.Fire: MemoryStore._fire,
    order.Expire: MemoryStore._expire,
    order.Broadcasts: MemoryStore._broadcasts,
    order.Freed: MemoryStore._freed_,
    ops.Reserve: MemoryStore._reserve,
    ops.Shift: MemoryStore._shift,
    ops.Forget: MemoryStore._forget,
    ops.Purge: MemoryStore._purge,
    ops.Get: MemoryStore._get,
    ops.FetchEnd: MemoryStore._fetch_end,
    ops.Fetch: MemoryStore._fetch,
    ops.Lanes: MemoryStore._lanes,
    ops.Page: MemoryStore._page,
    ops.Count: MemoryStore._count,
    room.Room: MemoryStore._room,
}
