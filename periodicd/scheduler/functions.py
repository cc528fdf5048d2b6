"""What is set of functions, and whether it holds their due jobs back. Decides nothing else about jobs.

What holds a function back is looked at in one order: paused, as many runs as are allowed, its rate.
"""

from typing import Literal, NamedTuple

from msgspec.structs import replace
from sortedcontainers import SortedDict

from periodic_client.wire import Invalid
from periodic_client.wire.limits import FUNCTIONS_SET_MAX
from periodicd.function import MS_NS, NOTHING_SET, Function
from periodicd.scheduler.in_progress import InProgress
from periodicd.scheduler.step import Step
from periodicd.store import order


class Hold(NamedTuple):
    """Why no job of a function begins now, though one is due."""

    code: Literal["paused", "running_max", "rate"]
    until_at_ms: int | None = None
    """By the wall clock. None: until somebody resumes it, or a run of it ends."""


class Functions:
    def __init__(self, step: Step, known: dict[str, Function], running: InProgress) -> None:
        self._step = step
        self._running = running
        self.known: SortedDict[str, Function] = SortedDict(known)
        """Those of which something is set. Not to be changed elsewhere."""
        self.moved: dict[str, None] = {}
        """Of these the rate's time has moved in this step."""
        for func, function in known.items():
            if function.rate is not None:
                # The clock may have been set back meanwhile: that costs a rate's whole time at the most.
                self._move(func, min(function.full_at_ns, (step.now.wall_ms + function.rate.per_ms) * MS_NS))

    def set(self, func: str, function: Function) -> None:
        """All that can be set, anew. Raises Invalid."""
        old = self.known.get(func, NOTHING_SET)
        full_at_ns = old.full_at_ns if old.rate == function.rate else 0
        self._keep(func, replace(function, paused=old.paused, full_at_ns=full_at_ns))

    def pause(self, func: str, paused: bool) -> None:
        """Or resume. Raises Invalid."""
        self._keep(func, replace(self.known.get(func, NOTHING_SET), paused=paused))

    def _keep(self, func: str, function: Function) -> None:
        is_set = function.paused or function.as_map()
        if not is_set:
            self.known.pop(func, None)
        elif func not in self.known and len(self.known) >= FUNCTIONS_SET_MAX:
            raise Invalid(f"something is set of {FUNCTIONS_SET_MAX:,} functions already; unset one, or resume one")
        else:
            self.known[func] = function
        self._step.write(order.SetFunction(func, function if is_set else None))

    # -- asked for each job ----------------------------------------------------------------------------------------

    def hold(self, func: str) -> Hold | None:
        """None: a run may begin now."""
        function = self.known.get(func)
        if function is None:
            return None
        if function.paused:
            return Hold("paused")
        running = self._running.by_func[func] - self._running.broadcasts[func]
        if function.running_max is not None and running >= function.running_max:
            return Hold("running_max")
        if function.rate is not None:
            opens_at_ms = function.rate.opens_at_ms(function.full_at_ns)
            if opens_at_ms > self._step.now.wall_ms:
                return Hold("rate", opens_at_ms)
        return None

    def is_paused(self, func: str) -> bool:
        """Which alone holds a broadcast back."""
        function = self.known.get(func)
        return function is not None and function.paused

    def begun(self, func: str) -> None:
        """A run does now."""
        function = self.known.get(func)
        if function is not None and function.rate is not None:
            self._move(func, function.rate.begun(function.full_at_ns, self._step.now.wall_ms))

    def _move(self, func: str, full_at_ns: int) -> None:
        function = self.known[func]
        if full_at_ns != function.full_at_ns:
            self.known[func] = replace(function, full_at_ns=full_at_ns)
            self.moved[func] = None

    def stepped_back(self, by_ms: int) -> None:
        """The wall clock was. What a rate still holds back is a wait, which that does not prolong."""
        for func, function in self.known.items():
            if function.rate is not None:
                self._move(func, max(0, function.full_at_ns - by_ms * MS_NS))

    def write(self) -> None:
        """How far the rates are, once a step: on disk before the runs are given out."""
        for func in self.moved:
            self._step.write(order.SetFunction(func, self.known.get(func)))
        self.moved.clear()
