"""How far each group is, by another count than the store's: of what it was asked, and what it answered."""

from typing import Any, NamedTuple

from periodicd.job import Job
from periodicd.store import ops, order
from periodicd.store.ops import Op
from tests.sim.book import Broken


class Count(NamedTuple):
    open: dict[int, ops.Group]
    """By the group's job."""
    group_of: dict[int, int]
    """By member that has not ended."""
    finished: dict[int, ops.Group]
    """By the group's job, which went free."""

    def copy(self) -> "Count":
        return Count(self.open.copy(), self.group_of.copy(), self.finished.copy())


class Members:
    def __init__(self) -> None:
        self._now = Count({}, {}, {})
        self.on_disk = self._now
        """What would be found after a crash now."""

    def commit(self) -> None:
        self.on_disk = self._now.copy()

    def crash(self) -> None:
        self._now = self.on_disk.copy()

    def note(self, op: Op[Any], answer: Any) -> None:
        match op:
            case ops.Put():
                self._was_put(op.job, answer, op.job.group_id)
            case order.PutGroup():
                self._group_was_put(op, answer)
            case order.Fire() if answer is not None:
                self._was_put(op.put.job, answer, None)
            case order.Expire():
                for expired in answer.ended:
                    self._ends(expired.id, "expired")
            case ops.Remove() | ops.Cancel():
                for job_id in answer.gone:
                    self._ends(job_id, "removed" if isinstance(op, ops.Remove) else "cancelled")
            case ops.Delete() | ops.Release() | ops.Bury() | ops.Tally() if answer.found:
                self._run_ended(op, answer)
        self._look()

    def _was_put(self, job: Job, result: ops.PutResult | order.PutGroupResult, group_id: int | None) -> None:
        if result.old_id is not None:
            self._ends(result.old_id, "removed")
        if result.id == job.id and group_id in self._now.open:
            group = self._now.open[group_id]
            self._now.open[group_id] = group._replace(members=group.members + 1, open=group.open + 1)
            self._now.group_of[job.id] = group_id

    def _opens(
        self, job: Job, result: ops.PutResult | order.PutGroupResult, member_of: int | None = None
    ) -> int | None:
        """What was put is a group, unless one of its name was open: the group of what is put with it."""
        if result.id == job.id:
            self._was_put(job, result, member_of)
            self._now.open[job.id] = ops.Group(False)
        return result.id if result.id in self._now.open else None

    def _seal(self, group_id: int, sealed: bool) -> None:
        group = self._now.open[group_id]
        self._now.open[group_id] = group._replace(sealed=group.sealed or sealed)

    def _group_was_put(self, op: order.PutGroup, answer: order.PutGroupResult) -> None:
        group_id = self._opens(op.then.job, answer)
        if group_id is None or answer.result == "kept":
            return
        if self._now.open[group_id].sealed:
            raise Broken(f"group {group_id} is sealed, and takes more: {answer}")
        for put, result in zip(op.jobs, answer.jobs, strict=True):
            self._was_put(put.job, result, group_id)
        self._seal(group_id, op.sealed)

    def _run_ended(self, op: ops.Ending | ops.Tally, ended: ops.Ended) -> None:
        # Whoever has died is none of its members any more.
        joined = self._now.group_of.get(op.end.id)
        match op:
            case ops.Delete():
                self._ends(op.end.id, "removed" if op.ending == "replaced" else op.ending)
            case ops.Bury():
                self._ends(op.end.id, "dead")
            case _ if ended.behind is not None:
                self._ends(op.end.id, "removed")
        then = op.end.then
        group_id = None
        if then is not None and ended.then is not None:
            group_id = self._opens(then.job, ended.then, joined if then.job.group_id else None)
        for put, result in zip(op.end.follow_ons, ended.follow_ons, strict=True):
            if result is not None:
                self._was_put(put.job, result, group_id or (joined if put.job.group_id else None))
        if group_id is not None:
            self._seal(group_id, True)

    def _ends(self, job_id: int, word: str) -> None:
        """If it is a member, and has not before. A group that is open goes with its job."""
        self._now.open.pop(job_id, None)
        group = self._now.open.get(group_id := self._now.group_of.pop(job_id, 0))
        if group is not None:
            self._now.open[group_id] = group._replace(open=group.open - 1, **{word: getattr(group, word) + 1})

    def _look(self) -> None:
        for group_id, group in list(self._now.open.items()):
            if group.sealed and not group.open:
                self._now.finished[group_id] = self._now.open.pop(group_id)
