"""Where jobs are kept. A store knows the ops and nothing of the scheduler.

What every store promises (tests/store/conformance.py holds them to it):

* ``apply`` executes the ops in order and answers each, inside one open transaction; ``commit`` makes it durable. What
  is not committed is gone if the process dies; what is committed survives that, and a power cut.
* Between ``apply`` and the end of ``commit`` nothing else touches the store. ``commit`` and ``checkpoint`` may be
  called in another thread.
* Values go in and come out as copies: the caller may change a Job that it gave or was given.
* If ``apply`` or ``commit`` raises, the outcome is unknown and the store must not be used any more: the daemon exits,
  and what is on disk is the truth.
* An ``apply`` that raises ``Locked`` has done nothing: somebody else writes to what the store keeps its jobs in. After
  ``lock``, which may be called in another thread and waits, the same ops can be applied.
* ``list_jobs`` may be called from another thread at any time; it sees what is committed. (In memory it sees what is
  applied: there the one is not lost without the other.)
"""

from typing import Protocol

from periodicd.ops import Listing, ListingResult, Op, Result


class StoreError(Exception):
    """The store cannot be opened or used. The message says which file, what is wrong and what to do."""


class Locked(Exception):
    """Somebody else holds the right to write. The message says who, as far as that can be known."""


LOCK_WAIT_MS = 10_000
"""Nobody who writes to the daemon's store should do so for longer."""


class Store(Protocol):
    @property
    def uncommitted(self) -> bool:
        """Whether something was written since the last commit."""

    def lock(self, wait_ms: int) -> None:
        """Take the right to write for the next ``apply``, if need be after a wait. Raises Locked."""

    def apply(self, ops: list[Op]) -> list[Result]: ...

    def commit(self) -> None: ...

    @property
    def checkpoint_due(self) -> bool:
        """Whether ``checkpoint`` should be called before the next step."""

    def checkpoint(self) -> None:
        """Put in order what the commits left behind."""

    def list_jobs(self, listing: Listing) -> ListingResult: ...

    def close(self) -> None: ...
