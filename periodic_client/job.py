"""A job as a worker's function sees it: what it was given, and the lease it runs under. The worker does the rest."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from periodic_client.wire import Invalid

Extend = Callable[["Job", int | None], Awaitable[None]]


class Job:
    """One run of a job.

    ``workload`` is its bytes, ``headers`` are the texts by name that came with it; ``due_at_ms`` is when it was due
    (milliseconds since 1970-01-01T00:00Z); ``lease_ms`` is how long the run may take unless it is extended. ``attempt``
    counts the runs given out, this one included; ``failures`` those that failed or whose lease ran out; ``crashes``
    those whose worker was lost. ``run`` is the number of this run: it grows with every run of any job, so a store that
    remembers the largest it was written by can refuse what comes late from an earlier one. ``handle`` stands for this
    run in the protocol; whoever has it may report the run, so it is not for logs. ``lost`` becomes true when the daemon
    says that this run no longer counts: it may as well stop.
    """

    handle: str
    run: int
    func: str
    name: str
    workload: bytes
    headers: dict[str, str]
    due_at_ms: int
    priority: int
    lease_ms: int
    attempt: int
    failures: int
    crashes: int

    def __init__(self, given: dict[str, Any], extend: Extend) -> None:
        """``given``: the parameter of ``perform``. Raises Invalid if it is not a job. Made in the worker's loop."""
        try:
            for key in _GIVEN:
                setattr(self, key, given[key])
        except (KeyError, TypeError) as error:
            raise Invalid(f"perform has no usable job: {error!r}") from None
        if not (isinstance(self.handle, str) and isinstance(self.func, str) and isinstance(self.name, str)):
            raise Invalid("perform has no usable job: handle, func and name must be text")
        self.headers = given.get("headers") or {}
        self.lost = False
        self._extend = extend
        self._token = trio.lowlevel.current_trio_token()

    def __repr__(self) -> str:
        return f"<Job {self.func} {self.name} run {self.run}>"

    async def extend(self, lease_ms: int | None = None) -> None:
        """The lease now ends ``lease_ms`` from now; without it, the job's own ``lease_ms`` from now.

        While the worker is disconnected this waits for the connection. Raises LeaseLost if the run no longer counts,
        Invalid if ``lease_ms`` is out of range, and TimedOut if there was no answer for 30 s.
        """
        await self._extend(self, lease_ms)

    def extend_sync(self, lease_ms: int | None = None) -> None:
        """``extend`` in any thread but the worker's own: an inline function would wait for itself.

        Raises trio.RunFinishedError once the worker's program has ended its loop.
        """
        trio.from_thread.run(self._extend, self, lease_ms, trio_token=self._token)


_GIVEN = [key for key in Job.__annotations__ if key != "headers"]
"""Headers may be left out."""
