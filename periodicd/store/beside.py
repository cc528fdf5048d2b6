"""Of the model what stands beside the jobs: what is set of functions and locks, lines, how jobs end otherwise
than with a run, broadcasts, groups, schedules.

As memory.py: as plainly as it can be said.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from periodicd.function import Function
from periodicd.job import EXPIRED, Job, State
from periodicd.lock import Lock
from periodicd.schedule import Schedule
from periodicd.store import ops, order
from periodicd.store.ops import EndingWord, JobEnd, Kept


class Beside:
    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._functions: dict[str, Function] = {}
        self._locks: dict[str, Lock] = {}
        self._schedules: dict[str, Schedule] = {}
        self._endings: dict[int, Kept] = {}
        self._left: dict[str, None] = {}
        self._groups: dict[int, ops.Group] = {}
        """Those that are open."""
        self._freed: list[int] = []

    def _of(self, func: str, name: str) -> tuple[Job | None, Job | None]:
        """The job of this identity, and the one behind it."""
        jobs = [job for job in self._jobs.values() if job.key == (func, name)]
        behind = [job for job in jobs if job.state is State.BEHIND]
        front = [job for job in jobs if job.state is not State.BEHIND]
        return (front[0] if front else None), (behind[0] if behind else None)

    def _set_function(self, op: order.SetFunction) -> None:
        self._functions.pop(op.func, None)
        if op.function is not None:
            self._functions[op.func] = op.function

    def _set_lock(self, op: order.SetLock) -> None:
        self._locks.pop(op.name, None)
        if op.lock is not None:
            self._locks[op.name] = op.lock

    def _set_schedule(self, op: order.SetSchedule) -> None:
        self._schedules.pop(op.name, None)
        if op.schedule is not None:
            self._schedules[op.name] = op.schedule

    def _fire(self, op: order.Fire) -> ops.PutResult | None:
        self._schedules[op.name] = op.schedule
        last = self._jobs.get(op.unless_live or 0)
        if last is not None and last.state is not State.DEAD:
            return None
        put = self._put_alone(op.put)
        if put.id == op.put.job.id:
            self._schedules[op.name] = msgspec.structs.replace(op.schedule, last_id=put.id)
        return put

    def _park(self, op: order.Park) -> None:
        job = self._jobs.get(op.job.id)
        if job is not None and job.state is State.WAITING:
            job.state = State.PARKED

    def _unpark(self, op: order.Unpark) -> Job | None:
        job = self._jobs.get(op.id)
        if job is None or job.state is not State.PARKED:
            return None
        job.state, job.due_at_ms = State.WAITING, min(job.due_at_ms, op.at_ms)
        return replace(job, workload=None)

    def _heads(self, op: order.Heads) -> dict[str, list[order.InLine]]:
        found = {}
        for lock in op.locks:
            line = [
                order.InLine(job.priority, job.due_at_ms, job.id, job.func, dict(locks))
                for job in self._jobs.values()
                if lock in (locks := self._stands_at(job))
                and all(weight <= self._locks.get(each, Lock()).capacity for each, weight in locks.items())
            ]
            funcs = sorted({each.func for each in line})
            found[lock] = [min(each for each in line if each.func == func) for func in funcs]
        return found

    def _stands_at(self, job: Job) -> dict[str, int]:
        """The locks for which it stands in line."""
        return (job.locks or {}) if job.state is State.PARKED and job.id not in self._groups else {}

    def _leaves(self, job: Job) -> None:
        """The job is to be gone, or to go on: if it stands in line, no more."""
        self._left.update(dict.fromkeys(self._stands_at(job)))

    def _left_(self, op: order.Left) -> tuple[str, ...]:
        left, self._left = tuple(self._left), {}
        return left

    def _line_lengths(self, op: order.LineLengths) -> dict[str, int]:
        standing = [self._stands_at(job) for job in self._jobs.values()]
        return {lock: min(op.limit, sum(lock in each for each in standing)) for lock in op.locks}

    def _last(self, func: str, name: str, at_ms: int, job_id: int | None = None) -> JobEnd | None:
        """Of the endings of this name that are remembered: that of this job, or else the newest."""
        ends = [each.end for each in self._endings.values() if each[:2] == (func, name) and each.until_at_ms > at_ms]
        of_job = [end for end in ends if end.id == job_id]
        return max(of_job or ends, key=lambda end: end.id, default=None)

    def _forget(self, op: ops.Forget) -> int:
        first = sorted(self._endings.values(), key=lambda kept: (kept.until_at_ms, kept.end.id))
        forgotten = 0
        for kept in first[: op.limit]:
            size = sum(each.end.data_bytes for each in self._endings.values())
            if kept.until_at_ms > op.at_ms and len(self._endings) <= op.kept and size <= op.kept_bytes:
                break
            del self._endings[kept.end.id]
            forgotten += 1
        return forgotten

    def _fetch_end(self, op: ops.FetchEnd) -> JobEnd | None:
        return (kept := self._endings.get(op.id)) and kept.end

    def _can_expire(self) -> list[Job]:
        live = [job for job in self._jobs.values() if job.state is not State.DEAD and not job.attempt]
        return sorted(
            (job for job in live if job.expires_at_ms is not None), key=lambda job: (job.expires_at_ms, job.id)
        )

    def _first_expiry(self) -> int | None:
        return next((job.expires_at_ms for job in self._can_expire()), None)

    def _expire(self, op: order.Expire) -> order.ExpireResult:
        expired = [job for job in self._can_expire() if job.has_expired(op.at_ms)][: op.limit]
        for job in expired:
            self._go(job, "expired", op.at_ms, EXPIRED)
            if job.state is not State.BEHIND:
                job.state, job.ended_at_ms, job.reason = State.DEAD, op.at_ms, EXPIRED
                self._jobs[job.id] = job
            self._free_groups(op.at_ms)
        ended = tuple(order.Expired(job.id, *job.key) for job in expired)
        return order.ExpireResult(ended, self._first_expiry())

    def _waiting_broadcasts(self) -> list[Job]:
        waiting = [job for job in self._jobs.values() if job.broadcast is not None and job.state is State.WAITING]
        return sorted(waiting, key=lambda job: (job.due_at_ms, job.id))

    def _first_broadcast(self) -> int | None:
        return next((job.due_at_ms for job in self._waiting_broadcasts()), None)

    def _broadcasts(self, op: order.Broadcasts) -> order.BroadcastsResult:
        paused = {func for func, function in self._functions.items() if function.paused}
        waiting = [
            job for job in self._waiting_broadcasts() if job.func not in paused and not job.has_expired(op.at_ms)
        ]
        due = [job for job in waiting if job.due_at_ms <= op.at_ms][: op.limit]
        left = waiting[len(due) :]
        return order.BroadcastsResult([replace(job) for job in due], left[0].due_at_ms if left else None)

    def _tally(self, op: ops.Tally) -> ops.Ended:
        job = self._jobs.get(op.end.id)
        if job is None or job.state is not State.RUNNING or op.end.handle not in (None, job.handle):
            return ops.Ended(False)
        job.broadcast = op.broadcast
        _, behind = self._of(*job.key)
        follow_ons, then = self._follow(op.end, None if behind is None else job.key)
        self._free_groups(op.end.at_ms)
        return ops.Ended(True, None, follow_ons, then)

    def _go(self, job: Job, ending: EndingWord, at_ms: int, reason: str | None = None) -> None:
        """The job's record goes. If it has not died before, it ends so."""
        if job.result_ms and job.state is not State.DEAD:
            end = JobEnd(job.id, ending, at_ms, job.attempt, reason or job.reason)
            self._endings[job.id] = Kept(*job.key, end, at_ms + job.result_ms)
        self._leaves(job)
        self._member_ended(job, ending)
        self._groups.pop(job.id, None)
        del self._jobs[job.id]

    # -- groups --------------------------------------------------------------------------------------------------------

    def _member_ended(self, job: Job, ending: EndingWord) -> None:
        """A job is about to end. If it was dead it has ended before."""
        group = self._groups.get(job.group_id or 0)
        if group is not None and job.group_id is not None and job.state is not State.DEAD:
            word = "removed" if ending == "replaced" else ending
            self._groups[job.group_id] = group._replace(**{word: getattr(group, word) + 1})

    def _has_open(self, group_id: int) -> int:
        """Members that have not ended."""
        return sum(job.group_id == group_id and job.state is not State.DEAD for job in self._jobs.values())

    def _free_groups(self, at_ms: int) -> None:
        """Those whose members have all ended, if no more are to come. At the end of an op: its parts may count yet."""
        for group_id, group in list(self._groups.items()):
            if group.sealed and not self._has_open(group_id):
                del self._groups[group_id]
                job = self._jobs[group_id]
                job.headers = (job.headers or {}) | group.headers()
                job.dated = job.dated and job.due_at_ms > at_ms
                job.due_at_ms = max(job.due_at_ms, at_ms)
                if job.state is State.PARKED:
                    job.state = State.WAITING
                    self._freed.append(group_id)

    def _freed_(self, op: order.Freed) -> list[Job]:
        freed, self._freed = self._freed, []
        jobs = [self._jobs[job_id] for job_id in freed if job_id in self._jobs]
        return [replace(job, workload=None) for job in jobs if job.state is State.WAITING]

    def _put(self, op: ops.Put) -> ops.PutResult:
        raise NotImplementedError

    def _put_alone(self, op: ops.Put) -> ops.PutResult:
        result = self._put(op)
        self._free_groups(op.job.submitted_at_ms)
        return result

    def _group_of(self, job: Job) -> int | None:
        """The open group of this identity."""
        return next((each for each in self._groups if self._jobs[each].key == job.key), None)

    def _put_group(self, op: order.PutGroup) -> order.PutGroupResult:
        group_id = self._group_of(op.then.job)
        if group_id is not None and self._groups[group_id].sealed:
            return order.PutGroupResult("kept", group_id)
        puts = op.jobs if group_id is not None else (op.then, *op.jobs)
        for put in puts:
            func = put.job.func
            live = sum(job.func == func and job.state is not State.DEAD for job in self._jobs.values())
            more = sum(each.job.func == func for each in puts)
            if put.queue_max is not None and live + more > put.queue_max:
                return order.PutGroupResult("full", 0)
        result: order.Grouped = "added"
        old_id = None
        if group_id is None:
            put_then = self._open(op.then)
            if put_then.id != op.then.job.id:
                return order.PutGroupResult(put_then.result, put_then.id)
            result, group_id, old_id = put_then.result, put_then.id, put_then.old_id
        results = tuple(self._put_members(group_id, op.jobs))
        group = self._groups[group_id]
        self._groups[group_id] = group._replace(sealed=group.sealed or op.sealed)
        self._free_groups(op.then.job.submitted_at_ms)
        return order.PutGroupResult(result, group_id, old_id, results)

    def _open(self, then: ops.Put) -> ops.PutResult:
        put = self._put(then)
        if put.id == then.job.id:
            self._groups[put.id] = ops.Group(False)
            if self._jobs[put.id].state is State.WAITING:
                self._jobs[put.id].state = State.PARKED
        return put

    def _put_members(self, group_id: int | None, puts: Sequence[ops.Put]) -> list[ops.PutResult]:
        for put in puts:
            if group_id is not None:
                put.job.group_id = group_id
        return [self._put(put) for put in puts]

    def _follow(
        self, end: ops.End, taken: tuple[str, str] | None
    ) -> tuple[tuple[ops.PutResult | None, ...], ops.PutResult | None]:
        group_id = then = None
        if end.then is not None:
            group_id = self._group_of(end.then.job)
            if group_id is not None:
                then = ops.PutResult("kept", group_id)
                self._groups[group_id] = self._groups[group_id]._replace(sealed=False)
            elif end.then.job.key != taken:
                then = self._open(end.then)
                group_id = then.id if then.id == end.then.job.id else None
        results = iter(self._put_members(group_id, [put for put in end.follow_ons if put.job.key != taken]))
        told = tuple(None if put.job.key == taken else next(results) for put in end.follow_ons)
        if group_id is not None:
            self._groups[group_id] = self._groups[group_id]._replace(sealed=True)
        return told, then
