"""Numbers for jobs and runs, each used once in the life of the store, and what makes a handle unguessable."""

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


class Secrets:
    """The parts of handles that nobody guesses. Drawn ahead: to ask the system for each would be felt."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._drawn: list[str] = []

    def new(self) -> str:
        if not self._drawn:
            drawn = self._chance(HANDLE_BYTES * SECRETS_DRAWN)
            self._drawn = [drawn[at : at + HANDLE_BYTES].hex() for at in range(0, len(drawn), HANDLE_BYTES)]
            self._drawn.reverse()
        return self._drawn.pop()
