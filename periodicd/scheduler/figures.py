"""What was counted and measured since the start, for ``status`` and metrics. Decides nothing."""

from bisect import bisect_left
from collections import OrderedDict
from typing import Literal, get_args

from periodicd.job import Job
from periodicd.protocol.answers import LatenessAnswer
from periodicd.scheduler.recent import Recent

FUNCTIONS_MAX = 10_000
"""Functions whose lateness is remembered: those that had a run last."""

Counted = Literal["submitted", "started", "done", "failed", "later"]

SPANS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000)
"""Up to which a histogram counts."""
MEASURED_MAX = 200
"""Functions that are measured by themselves; all others are one."""
OTHERS = "other"


class Spans:
    """How many took how long: by the first of SPANS_MS that is no less, and those that took longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(SPANS_MS) + 1)
        self.sum_ms = 0

    def note(self, ms: int) -> None:
        self.counts[bisect_left(SPANS_MS, ms)] += 1
        self.sum_ms += ms


class Measured:
    """What a function's jobs came to, and how long that took."""

    def __init__(self) -> None:
        self.counts: dict[Counted, int] = dict.fromkeys(get_args(Counted), 0)
        self.lost = 0
        """Runs whose lease ran out, or whose connection was lost."""
        self.lateness = Spans()
        self.took = Spans()
        """Of runs that were reported."""


class Figures:
    def __init__(self, measures: bool) -> None:
        self._counts: dict[Counted, int] = dict.fromkeys(get_args(Counted), 0)
        self._lateness_ms: OrderedDict[str, Recent] = OrderedDict()
        self.commits_us = Recent()
        self.measured: dict[str, Measured] | None = {} if measures else None
        """By function, if somebody wants to know."""

    def count(self, what: Counted, func: str, more: int = 1) -> None:
        self._counts[what] += more
        if self.measured is not None:
            self._of(self.measured, func).counts[what] += more

    def note_report(self, func: str, took_ms: int) -> None:
        """A run was reported so long after it began."""
        if self.measured is not None:
            self._of(self.measured, func).took.note(max(0, took_ms))

    def note_lost(self, func: str) -> None:
        """A run was not."""
        if self.measured is not None:
            self._of(self.measured, func).lost += 1

    def _of(self, measured: dict[str, Measured], func: str) -> Measured:
        found = measured.get(func)
        if found is None:
            name = func if len(measured) < MEASURED_MAX else OTHERS
            found = measured.setdefault(name, Measured())
        return found

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
        if self.measured is not None:
            of_func = self._of(self.measured, job.func)
            of_func.counts["started"] += 1
            of_func.lateness.note(max(0, wall_ms - job.due_at_ms))

    def lateness(self, func: str) -> LatenessAnswer:
        recent = self._lateness_ms.get(func) or Recent()
        p50_ms, p99_ms, max_ms = recent.percentiles(50, 99, 100)
        return {
            "started": recent.count,
            "lateness_p50_ms": p50_ms,
            "lateness_p99_ms": p99_ms,
            "lateness_max_ms": max_ms,
        }
