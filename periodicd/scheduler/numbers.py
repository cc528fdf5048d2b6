"""Numbers for jobs and runs, each used once in the life of the store, and handles of runs, which nobody guesses."""

from collections.abc import Callable

from periodicd.scheduler.step import Step
from periodicd.store import ops

RESERVED = 1_000_000
HANDLE_BYTES = 8
"""Of chance in each handle: nobody guesses one."""
SECRETS_DRAWN = 256

Chance = Callable[[int], bytes]
"""So many random bytes."""


class Numbers:
    def __init__(self, step: Step, next_id: int) -> None:
        self._step = step
        self._next = self._reserved = next_id

    def new(self) -> int:
        """For a job or a run. Reserved on disk by the million, in the commit that first uses one of them."""
        if self._next == self._reserved:
            self._reserved += RESERVED
            self._step.write(ops.Reserve(self._reserved))
        self._next += 1
        return self._next - 1

    @property
    def next(self) -> int:
        """What the next one will be."""
        return self._next


class Handles:
    """Of runs. What nobody guesses of them is drawn ahead: to ask the system for each would be felt."""

    def __init__(self, numbers: Numbers, boot: int, chance: Chance) -> None:
        self._numbers = numbers
        self._boot = boot
        self._chance = chance
        self._drawn: list[str] = []

    def new(self, job_id: int) -> tuple[int, str]:
        """The number of a new run of this job, and its handle."""
        if not self._drawn:
            drawn = self._chance(HANDLE_BYTES * SECRETS_DRAWN)
            self._drawn = [drawn[at : at + HANDLE_BYTES].hex() for at in range(0, len(drawn), HANDLE_BYTES)]
            self._drawn.reverse()
        number = self._numbers.new()
        return number, f"{self._boot}-{number}-{job_id}-{self._drawn.pop()}"


def job_of(handle: str) -> int | None:
    """The job that a handle speaks of, or None if it is no handle of ours."""
    parts = handle.split("-")
    if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 17):
        return None
    return int(parts[2])
