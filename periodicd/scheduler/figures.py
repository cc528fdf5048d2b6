"""What was counted and measured since the start, for ``status``. Numbers only; nothing is decided by them."""

from collections import OrderedDict
from typing import Literal, get_args

from periodicd.job import Job
from periodicd.protocol.answers import LatenessAnswer
from periodicd.scheduler.recent import Recent

FUNCTIONS_MAX = 10_000
"""Functions whose lateness is remembered: those that had a run last."""

Counted = Literal["submitted", "started", "done", "failed", "later"]


class Figures:
    def __init__(self) -> None:
        self._counts: dict[Counted, int] = dict.fromkeys(get_args(Counted), 0)
        self._lateness_ms: OrderedDict[str, Recent] = OrderedDict()
        self.commits_us = Recent()

    def count(self, what: Counted, more: int = 1) -> None:
        self._counts[what] += more

    def __getitem__(self, what: Counted) -> int:
        return self._counts[what]

    def note_start(self, job: Job, wall_ms: int) -> None:
        """A run begins now."""
        self._counts["started"] += 1
        lateness_ms = self._lateness_ms.get(job.func)
        if lateness_ms is None:
            lateness_ms = self._lateness_ms[job.func] = Recent()
            if len(self._lateness_ms) > FUNCTIONS_MAX:
                self._lateness_ms.popitem(last=False)
        else:
            self._lateness_ms.move_to_end(job.func)
        lateness_ms.note(wall_ms - job.due_at_ms)

    def lateness(self, func: str) -> LatenessAnswer:
        recent = self._lateness_ms.get(func) or Recent()
        p50_ms, p99_ms, max_ms = recent.percentiles(50, 99, 100)
        return {
            "started": recent.count,
            "lateness_p50_ms": p50_ms,
            "lateness_p99_ms": p99_ms,
            "lateness_max_ms": max_ms,
        }
