"""The groups that are open, and their members: how many have not ended, and how the others did.

Whatever a member comes to has to be told here once, in the transaction in which it does: when the last one has ended,
the group's job goes free in that same transaction. A group is the row of its job, and one beside it while it is open.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence

from periodicd.job import Job, State
from periodicd.store import ops, order
from periodicd.store.counts import Counts
from periodicd.store.reads import Reads
from periodicd.store.statements import SQL

_COLUMN: dict[ops.EndingWord, str] = {"replaced": "removed"}
"""What an ending counts as, where it does not have a number of its own."""


class Members:
    """``funcs``: of jobs that were put last, which are not parked; ``put``: submits one. Raises sqlite3.Error."""

    def __init__(
        self,
        cursor: sqlite3.Cursor,
        counts: Counts,
        funcs: dict[int, str],
        reads: Reads,
        put: Callable[[ops.Put], ops.PutResult],
    ) -> None:
        self._execute = cursor.execute
        self._counts = counts
        self._funcs = funcs
        self._reads = reads
        self._put = put
        (self.groups,) = self._execute(SQL["groups"]).fetchone()
        """How many are open."""
        self._freed: list[int] = []

    def put_group(self, op: order.PutGroup) -> order.PutGroupResult:
        known = self._group_of(op.then.job)
        if known is not None and known[1]:
            return order.PutGroupResult("kept", known[0])
        puts = op.jobs if known is not None else (op.then, *op.jobs)
        if any(put.queue_max is not None and self._is_full(puts, put.job.func, put.queue_max) for put in puts):
            return order.PutGroupResult("full", 0)
        result: order.Grouped
        if known is not None:
            group_id, result, old_id = known[0], "added", None
        else:
            put = self._open(op.then)
            group_id, result, old_id = put.id, put.result, put.old_id
            if put.id != op.then.job.id:
                return order.PutGroupResult(result, put.id)
        results = tuple(self._put_members(group_id, op.jobs))
        self._seal(group_id, op.sealed, op.then.job.submitted_at_ms)
        return order.PutGroupResult(result, group_id, old_id, results)

    def _is_full(self, puts: tuple[ops.Put, ...], func: str, queue_max: int) -> bool:
        """Each counts as one more, whatever takes whose place: a group is put as a whole or not at all."""
        return self._counts.live(func) + sum(put.job.func == func for put in puts) > queue_max

    def follow(
        self, end: ops.End, then: ops.Put, taken: tuple[str, str] | None
    ) -> tuple[tuple[ops.PutResult | None, ...], ops.PutResult | None]:
        """The follow-ons, as members of the group of ``then``, or of the one that is open by its name.

        ``taken``: the name of the job that was behind. Whoever has it gives way.
        """
        known = self._group_of(then.job)
        group_id = put = None
        if known is not None:
            group_id, put = known[0], ops.PutResult("kept", known[0])
            # Those whose place is taken must not be the last of it.
            self._execute(SQL["unseal_group"], (group_id,))
        elif then.job.key != taken:
            put = self._open(then)
            group_id = put.id if put.id == then.job.id else None
        wanted = [each for each in end.follow_ons if each.job.key != taken]
        results = iter(self._put_members(group_id, wanted))
        if group_id is not None:
            self._seal(group_id, True, end.at_ms)
        return tuple(None if each.job.key == taken else next(results) for each in end.follow_ons), put

    def _group_of(self, job: Job) -> tuple[int, bool] | None:
        """The open group of this identity, and whether it is sealed."""
        row = self._execute(SQL["group_of_name"], job.key).fetchone() if self.groups else None
        return None if row is None else (row[0], bool(row[1]))

    def _open(self, then: ops.Put) -> ops.PutResult:
        """If the job is put, it is a group from now on."""
        put, job = self._put(then), then.job
        if put.id == job.id:
            self._execute(SQL["open_group"], (job.id,))
            self.groups += 1
            self._funcs.pop(job.id, None)
            if self._execute(SQL["park_group"], (job.id,)).rowcount:
                self._counts.change(job.func, parked=1)
        return put

    def _put_members(self, group_id: int | None, puts: Sequence[ops.Put]) -> list[ops.PutResult]:
        for put in puts:
            if group_id is not None:
                put.job.group_id = group_id
        return list(map(self._put, puts))

    def _seal(self, group_id: int, sealed: bool, at_ms: int) -> None:
        """If it is to be. Its members may all have ended."""
        self._look(group_id, self._execute(SQL["seal_group"], (sealed, group_id)).fetchone(), at_ms)

    def join(self, job: Job) -> None:
        """The job was put."""
        self._execute(SQL["join_group"], (job.group_id,))

    def goes(self, job_id: int, ending: ops.EndingWord, at_ms: int) -> None:
        """The record of a job is to go, and with it its group. If it was dead, that has been counted."""
        if not self.groups:
            return
        self.groups -= self._execute(SQL["close_group"], (job_id,)).rowcount
        row = self._execute(SQL["group_of_member"], (job_id,)).fetchone()
        if row is not None and row[0] is not None:
            self.ended(row[0], ending, at_ms)

    def ended(self, group_id: int, ending: ops.EndingWord, at_ms: int) -> None:
        """A member of it has, unless the group is gone."""
        statement = SQL["member_ended"].replace("{ending}", _COLUMN.get(ending, ending))
        self._look(group_id, self._execute(statement, (group_id,)).fetchone(), at_ms)

    def _look(self, group_id: int, row: tuple[int, int] | None, at_ms: int) -> None:
        if row is not None and row == (1, 0):
            self._free(group_id, at_ms)

    def _free(self, group_id: int, at_ms: int) -> None:
        group = self.figures(group_id)
        assert group is not None
        func, state, headers = self._execute(SQL["group_s_job"], (group_id,)).fetchone()
        told = json.dumps({**(json.loads(headers) if headers else {}), **group.headers()})
        self._execute(SQL["free_group"], {"headers": told, "at": at_ms, "id": group_id})
        self._execute(SQL["close_group"], (group_id,))
        self.groups -= 1
        if state == State.PARKED:
            self._counts.change(func, parked=-1)
            self._freed.append(group_id)

    def freed(self) -> list[Job]:
        freed, self._freed = self._freed, []
        jobs = [self._reads.load(job_id) for job_id in freed]
        return [job for job in jobs if job is not None and job.state is State.WAITING]

    def is_open(self, group_id: int) -> bool:
        return self.figures(group_id) is not None

    def get(self, op: ops.Get) -> ops.GetResult:
        """As it is read, with how far the job's group is."""
        found = self._reads.get(op)
        return found if found.shown is None else found._replace(group=self.figures(found.shown.job.id))

    def figures(self, group_id: int) -> ops.Group | None:
        row = self._execute(SQL["group"], (group_id,)).fetchone() if self.groups else None
        return None if row is None else ops.Group(bool(row[0]), *row[1:])
