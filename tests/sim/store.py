"""The store of the simulation: the model, with a disk under it that can fail and forget.

``crash`` throws away what was not committed. A fault, armed by the world, makes the next ``apply`` or ``commit`` raise:
before anything reached the disk, or after everything did, which are the two cases that differ.
"""

import copy
from typing import Any, Literal

from periodicd import ops
from periodicd.job import Job
from periodicd.ops import Op, Result
from periodicd.store.memory import MemoryStore

Fault = Literal["full", "before_commit", "after_commit"]


class DiskFault(Exception):
    """What a real store would raise as sqlite3.Error."""


class FaultyStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault | None = None
        self.refusals = 0
        """So many of the next claims are refused, their jobs being somebody else's, who is done with them at once."""
        self.done_elsewhere: list[Job] = []
        self.refused: set[int] = set()
        """Versions of follow-on jobs whose run's end was not found, and which were nowhere then."""
        self._refused: set[int] = set()
        """The same, not committed yet."""
        self._disk = self._image()

    def _image(self) -> tuple[dict[int, Job], int, int]:
        return {job_id: copy.copy(job) for job_id, job in self._jobs.items()}, self._boot, self._next_id

    def apply(self, ops_: list[Op]) -> list[Result]:
        self._fail_if("full")
        return [self._apply_one(op) for op in ops_]

    def _apply_one(self, op: Op) -> Result:
        if isinstance(op, ops.Claim) and self.refusals and op.id in self._jobs:
            self.refusals -= 1
            self.uncommitted = True
            self.done_elsewhere.append(self._jobs.pop(op.id))
            return False
        return super().apply([op])[0]

    def _end_run(self, end: ops.End, changes: dict[str, Any] | None) -> ops.Ended:
        ended = super()._end_run(end, changes)
        if not ended.found:
            there = {job.workload for job in self._jobs.values()} if end.follow_ons else set()
            self._refused |= {_version(put.job) for put in end.follow_ons if put.job.workload not in there}
        return ended

    def commit(self) -> None:
        self._fail_if("before_commit")
        super().commit()
        self._disk = self._image()
        self.refused |= self._refused
        self._refused = set()
        self._fail_if("after_commit")

    def _fail_if(self, fault: Fault) -> None:
        if self.fault == fault:
            self.fault = None
            raise DiskFault(fault)

    def crash(self) -> None:
        """The process is gone: only the disk is left."""
        jobs, self._boot, self._next_id = self._disk
        self._jobs = {job_id: copy.copy(job) for job_id, job in jobs.items()}
        self.uncommitted = False
        self.fault = None
        self._refused = set()

    def on_disk(self) -> dict[int, Job]:
        """What would be found after a crash now."""
        return self._disk[0]


def _version(job: Job) -> int:
    """A job's workload begins with the number of its submit; promises.py."""
    return int((job.workload or b"").split(b".")[0])
