"""How long to wait before connecting again. Pure: the randomness is given, and waiting is the worker's."""

from random import Random

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Backoff:
    """Waits that double from FIRST_WAIT_S to LONGEST_WAIT_S, each shortened by up to a half.

    The random part keeps a thousand workers from coming back to a restarted daemon at the same moment.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._wait_s = FIRST_WAIT_S

    def next_s(self) -> float:
        wait_s = self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, wait_s * 2)
        return wait_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._wait_s = FIRST_WAIT_S
