"""Where a commit is made: on the loop while commits are small and quick, in the thread otherwise. Numbers only.

To hand a commit to the thread and back costs more than a quick disk takes. But a loop that waits for a slow one reads
nothing and answers no ping, so the first slow commit sends those that follow to the thread, until the memory of it has
faded and one is tried again.
"""

OPS_MAX = 16
"""Of a small step. With larger ones the next step's messages are better read meanwhile."""
QUICK_US = 600
_RECENT = 16
_FADES = 0.97


class Pace:
    def __init__(self) -> None:
        self._mean_us = 0.0

    def on_loop(self, ops: int) -> bool:
        """Whether a commit of so many ops is to be made on the loop."""
        return ops <= OPS_MAX and not self.is_slow

    @property
    def is_slow(self) -> bool:
        """Commits take long, as far as is known."""
        return self._mean_us >= QUICK_US

    def note(self, took_us: int, on_loop: bool) -> None:
        """A commit was made, there or in the thread."""
        if not on_loop:
            self._mean_us *= _FADES
        elif took_us >= QUICK_US:
            self._mean_us = max(self._mean_us, took_us)
        else:
            self._mean_us += (took_us - self._mean_us) / _RECENT
