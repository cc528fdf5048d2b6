"""Keeps the lease of a job whose step moves, and ends a step that stands still.

How long a step takes is the line's business and the picture's, so no lease that is fixed beforehand is right: a slow
upload would be given out again and again, and never end. So the lease is extended as long as bytes move, or something
works that has a time limit of its own; and what has stood still for `STANDSTILL_S` has failed, whatever it waits for.

Nothing can stop a thread that waits for a disk. It is left behind, and `Progress.moved` raises in it before it could
change anything: an old run must not overwrite what a newer one has written.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import trio

from periodic_client import LeaseLost, TimedOut

STANDSTILL_S = 120.0
"""No disk and no server that works is silent for so long."""

_log = logging.getLogger(__name__)
T = TypeVar("T")

Moved = Callable[[int], None]
"""To be called with the number of bytes that were moved; raises `Stopped` if nobody waits for them any more."""


class Stopped(Exception):
    """The run is over: it stood still, or its lease was lost, or the worker stops. The message says which."""


class Leased(Protocol):
    """What is used of a job here."""

    @property
    def lease_ms(self) -> int: ...

    @property
    def lost(self) -> bool: ...

    async def extend(self) -> None: ...


class Progress:
    """How far a step is. The step says so, from whatever thread it runs in. It is over when the `job` is lost."""

    def __init__(self, job: Leased | None = None) -> None:
        self.bytes = 0
        self._job = job
        self._moved_s = time.monotonic()
        self._at_work = 0
        self._stopped: str | None = None

    def moved(self, count: int) -> None:
        """So many bytes went on. Raises `Stopped` if the run is over."""
        if self._job is not None and self._job.lost:
            self.stop("the job was taken away")
        if self._stopped:
            raise Stopped(self._stopped)
        self.bytes += count
        self._moved_s = time.monotonic()

    @contextmanager
    def working(self) -> Iterator[None]:
        """In this block something works that no bytes tell of, and that has a time limit of its own."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._moved_s = time.monotonic()

    def stop(self, reason: str) -> None:
        self._stopped = self._stopped or reason

    def still_for_s(self) -> float:
        return 0.0 if self._at_work else time.monotonic() - self._moved_s


UNWATCHED = Progress()
"""For a step that is taken outside of a job."""


async def keep(
    job: Leased, progress: Progress, step: Callable[[], Awaitable[T]], standstill_s: float = STANDSTILL_S
) -> T:
    """What `step` returns or raises. `Stopped` if it stood still or the lease was lost: then it is not waited for."""
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(_extend, job, progress, scope)
        nursery.start_soon(_watch, progress, scope, standstill_s)
        result: T | Exception | None = None
        try:
            with scope:
                result = await step()
        except Exception as error:  # raised below, as it is: a nursery would wrap it into a group
            result = error
        finally:
            # Said to a thread that may have been left behind, also when the worker is being stopped.
            progress.stop("the run is over")
        nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        progress.moved(0)  # raises
    if isinstance(result, Exception):
        raise result
    return result  # type: ignore[return-value]


async def _extend(job: Leased, progress: Progress, scope: trio.CancelScope) -> None:
    while True:
        await trio.sleep(job.lease_ms / 3000)
        try:
            await job.extend()
        except TimedOut as error:
            _log.warning("the lease of %r could not be extended: %s", job, error)
        except LeaseLost as error:
            progress.stop(f"the lease was lost: {error}")
            scope.cancel()
        else:
            _log.info("%r goes on, after %d bytes", job, progress.bytes)


async def _watch(progress: Progress, scope: trio.CancelScope, standstill_s: float) -> None:
    # No event: whoever moves bytes may do so a thousand times a second, from another thread.
    while (still_s := progress.still_for_s()) < standstill_s:  # noqa: ASYNC110
        await trio.sleep(standstill_s - still_s)
    progress.stop(f"nothing moved for {standstill_s:g} s")
    scope.cancel()
