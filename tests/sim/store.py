"""The store of the simulation: the model, with a disk under it that can fail and forget.

``crash`` throws away what was not committed. A fault, armed by the world, ends the daemon in the next ``apply`` or
``commit``: before anything reached the disk, or after everything did, which are the two cases that differ.
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from periodicd.function import Function
from periodicd.job import Job
from periodicd.lock import Lock
from periodicd.schedule import Schedule
from periodicd.store import ops
from periodicd.store.memory import MemoryStore
from periodicd.store.ops import Kept, Op, Read
from tests.sim.members import Members

Fault = Literal["full", "before_commit", "after_commit"]


class Ended(Exception):
    """The disk has failed, or the process was killed: the daemon ends here either way."""


class Image(NamedTuple):
    """All that a store holds."""

    jobs: dict[int, Job]
    endings: dict[int, Kept]
    """Values, so they need not be copied."""
    functions: dict[str, Function]
    """What is set of them: values too."""
    locks: dict[str, Lock]
    groups: dict[int, ops.Group]
    schedules: dict[str, Schedule]
    boot: int
    next_id: int


class FaultyStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault | None = None
        self.refused: set[int] = set()
        """Versions of follow-on jobs whose run's end was not found, and which were nowhere then."""
        self._refused: set[int] = set()
        """The same, not committed yet."""
        self.disk = self._image()
        """What would be found after a crash now. Replaced as a whole by each commit."""
        self.members = Members()

    def _image(self) -> "Image":
        jobs = {job_id: replace(job) for job_id, job in self._jobs.items()}
        beside = (
            self._endings.copy(),
            self._functions.copy(),
            self._locks.copy(),
            self._groups.copy(),
            self._schedules.copy(),
        )
        return Image(jobs, *beside, self._boot, self._next_id)

    def apply(self, ops: list[Op[Any]]) -> list[Any]:
        self._fail_if("full")
        answers = super().apply(ops)
        for op, answer in zip(ops, answers, strict=True):
            self.members.note(op, answer)
        return answers

    def _end_run(self, end: ops.End, ending: ops.EndingWord, changes: dict[str, Any] | None) -> ops.Ended:
        ended = super()._end_run(end, ending, changes)
        self._note_refused(end, ended)
        return ended

    def _tally(self, op: ops.Tally) -> ops.Ended:
        ended = super()._tally(op)
        self._note_refused(op.end, ended)
        return ended

    def _note_refused(self, end: ops.End, ended: ops.Ended) -> None:
        if not ended.found:
            puts = [*end.follow_ons, *filter(None, [end.then])]
            there = {job.workload for job in self._jobs.values()} if puts else set()
            self._refused |= {_version(put.job) for put in puts if put.job.workload not in there}

    def commit(self) -> None:
        self._fail_if("before_commit")
        super().commit()
        self.disk = self._image()
        self.members.commit()
        self.refused |= self._refused
        self._refused = set()
        self._fail_if("after_commit")

    def _fail_if(self, fault: Fault) -> None:
        if self.fault == fault:
            self.fault = None
            raise Ended(fault)

    def crash(self) -> None:
        """The process is gone: only the disk is left."""
        jobs, endings, functions, locks, groups, schedules, self._boot, self._next_id = self.disk
        self._jobs = {job_id: replace(job) for job_id, job in jobs.items()}
        self._endings = endings.copy()
        self._functions = functions.copy()
        self._locks = locks.copy()
        self._groups = groups.copy()
        self._schedules = schedules.copy()
        self._freed = []
        self.members.crash()
        self.fault = None
        self._refused = set()

    def look(self, read: Read[Any]) -> Any:
        """Ask without a fault."""
        (answer,) = super().apply([read])
        return answer

    def on_disk(self) -> dict[int, Job]:
        """Of ``disk`` the jobs."""
        return self.disk.jobs


def _version(job: Job) -> int:
    """A job's workload begins with the number of its submit; promises.py."""
    return int((job.workload or b"").split(b".")[0])
