"""A job as a worker's function sees it: what it was given, the lease it runs under, and what it tells meanwhile.

The worker does the rest.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from periodic_client.endings import Group
from periodic_client.wire import Invalid
from periodic_client.wire.limits import TAIL_BYTES_MAX

Tell = Callable[..., Awaitable[None]]
"""Says something of a job that runs: the job, a method of protocol.md, and its params after the handle."""


class Job:
    """One run of a job.

    ``workload`` is its bytes, ``headers`` are the texts by name that came with it; ``due_at_ms`` is when it was due
    (milliseconds since 1970-01-01T00:00Z); ``lease_ms`` is how long the run may take unless it is extended. ``attempt``
    counts the runs given out, this one included; ``failures`` those that failed or whose lease ran out; ``crashes``
    those whose worker was lost. ``run`` is the number of this run: it grows with every run of any job, so a store that
    remembers the largest it was written by can refuse what comes late from an earlier one. ``handle`` stands for this
    run in the protocol; whoever has it may report the run, so it is not for logs. ``lost`` becomes true when the daemon
    says that this run no longer counts: it may as well stop. ``cancelled`` becomes true when somebody asked to cancel
    the job: it need not go on, and is not run again however this run ends; only if it is done, it is done.
    ``broadcast``: this is one of the runs that the job has, one on every connection; it is not run again however it
    ends.
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
    broadcast: bool

    def __init__(self, given: dict[str, Any], tell: Tell) -> None:
        """``given``: the parameter of ``perform``. Raises Invalid if it is not a job. Made in the worker's loop."""
        try:
            for key in _GIVEN:
                setattr(self, key, given[key])
        except (KeyError, TypeError) as error:
            raise Invalid(f"perform has no usable job: {error!r}") from None
        if not (isinstance(self.handle, str) and isinstance(self.func, str) and isinstance(self.name, str)):
            raise Invalid("perform has no usable job: handle, func and name must be text")
        self.headers = given.get("headers") or {}
        self.broadcast = given.get("broadcast") is True
        self.lost = False
        self.cancelled = False
        self._tell = tell
        self._token = trio.lowlevel.current_trio_token()

    def __repr__(self) -> str:
        return f"<Job {self.func} {self.name} run {self.run}>"

    @property
    def group(self) -> Group | None:
        """How the members ended, if this is the job of a group."""
        return Group.from_headers(self.headers)

    async def extend(self, lease_ms: int | None = None) -> None:
        """The lease now ends ``lease_ms`` from now; without it, the job's own ``lease_ms`` from now.

        While the worker is disconnected this waits for the connection. Raises LeaseLost if the run no longer counts,
        Invalid if ``lease_ms`` is out of range, and TimedOut if there was no answer for 30 s.
        """
        await self._tell(self, "extend", {"lease_ms": lease_ms})

    def extend_sync(self, lease_ms: int | None = None) -> None:
        """``extend`` in any thread but the worker's own: an inline function would wait for itself.

        Raises trio.RunFinishedError once the worker's program has ended its loop.
        """
        trio.from_thread.run(self.extend, lease_ms, trio_token=self._token)

    async def send(self, data: bytes | str) -> None:
        """Tell those who watch the job a part of what it makes: a line of its output, a piece of an answer.

        Nothing of it is kept for long; the result is what the function returns. Any size, sent in parts of 64 KiB.
        Waits and raises as ``extend``. After a lost connection a part may be told twice.
        """
        whole = memoryview(data.encode() if isinstance(data, str) else data)
        for begin in range(0, len(whole), TAIL_BYTES_MAX):
            await self._tell(self, "data", bytes(whole[begin : begin + TAIL_BYTES_MAX]))

    def send_sync(self, data: bytes | str) -> None:
        """``send`` as ``extend_sync`` is ``extend``."""
        trio.from_thread.run(self.send, data, trio_token=self._token)

    async def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Tell those who watch the job how far it is: ``done`` of ``total``, in any unit, and what it does now.

        Waits and raises as ``extend``; Invalid also for a note of more than 255 bytes.
        """
        await self._tell(self, "progress", {"done": done, "total": total, "note": note})

    def progress_sync(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """``progress`` as ``extend_sync`` is ``extend``."""
        trio.from_thread.run(self.progress, done, total, note, trio_token=self._token)


_GIVEN = [key for key in Job.__annotations__ if key not in ("headers", "broadcast")]
"""The others may be left out."""
