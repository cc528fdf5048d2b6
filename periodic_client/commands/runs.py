"""What is the same for every run of a command worker: its locks, its lease, its failures, and what is told of the job.

What performs a job is given: a command of its own (once.py), or one that lives on (pool.py).
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import trio

from periodic_client.client import Client
from periodic_client.commands.children import READ_BYTES, Output
from periodic_client.commands.rules import Rules
from periodic_client.job import Job
from periodic_client.lines import Lines
from periodic_client.outcomes import Failed, Later, Outcome
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.wire import Busy, LeaseLost, PeriodicError
from periodic_client.wire.limits import REASON_BYTES_MAX

log = Lines(__name__)

AGAIN_S = 0.5
SETTLE_S = 1.0
NO_LONGER = Failed("this run no longer counts")


class Runner:
    """A worker's function. ``perform`` does a job, and ends what it has begun if it is cancelled."""

    def __init__(self, rules: Rules, client: Client, perform: Callable[[Job], Awaitable[Outcome]]) -> None:
        self._rules = rules
        self._client = client
        self._perform = perform

    async def __call__(self, job: Job) -> Outcome:
        outcome = await self._run(job)
        if isinstance(outcome, Failed):
            limit = self._rules.retry_limit
            if limit is not None and job.failures >= limit:
                outcome = replace(outcome, final=True)
            log.warning("%s %s failed%s: %s", job.func, job.name, " for good" * outcome.final, outcome.reason)
        return outcome

    async def _run(self, job: Job) -> Outcome:
        outcome: Outcome = NO_LONGER
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, job, nursery.cancel_scope)
            outcome = await self._without_locks(job) if self._rules.locks else None
            if outcome is None:
                outcome = await self._perform(job)
            nursery.cancel_scope.cancel()
        return outcome

    async def _without_locks(self, job: Job) -> Outcome:
        """What ends the run if the job does not hold what it is to hold: it comes again when it does.

        A run is not told of its locks, so this asks for the job. That is the job of this run as long as its latest run
        has this number.
        """
        if job.broadcast:
            return Failed("a broadcast can hold no lock, and this worker's command is to run under one")
        wanted = self._rules.locks
        seen = await self._look(job)
        if seen is None or seen["run"] != job.run:
            return NO_LONGER
        held: dict[str, int] = seen["locks"] or {}
        if all(held.get(lock, 0) >= weight for lock, weight in wanted.items()):
            return None
        return Later(0, locks=held | {lock: max(weight, held.get(lock, 0)) for lock, weight in wanted.items()})

    async def _look(self, job: Job) -> dict[str, Any] | None:
        while True:
            try:
                return (await self._client.look(job.func, job.name)).job
            except (CannotConnect, ConnectionLost, TimedOut, Busy) as error:
                log.info("%s %s: which locks it holds is not known yet: %s", job.func, job.name, error)
                await trio.sleep(AGAIN_S)


async def _keep(job: Job, scope: trio.CancelScope) -> None:
    """Extend the lease at half of it, and cancel the run when the daemon says that it is over."""
    while True:
        await trio.sleep(job.lease_ms / 2000)
        try:
            await job.extend()
        except LeaseLost:
            scope.cancel()
        except (PeriodicError, TimedOut) as error:
            log.warning("%s %s: its lease could not be extended: %s", job.func, job.name, error)


def environment_of(job: Job) -> dict[str, str]:
    """What a command is told of its job. Headers are JSON: their names may be any text, and two could become one."""
    return {
        "PERIODIC_FUNC": job.func,
        "PERIODIC_NAME": job.name,
        "PERIODIC_HANDLE": job.handle,
        "PERIODIC_RUN": str(job.run),
        "PERIODIC_ATTEMPT": str(job.attempt),
        "PERIODIC_FAILURES": str(job.failures),
        "PERIODIC_DUE_AT_MS": str(job.due_at_ms),
        "PERIODIC_HEADERS": json.dumps(job.headers),
    }


class Messages:
    """Standard error of a command: its end is kept, and its lines are told to who watches the job, if there is one."""

    def __init__(self, output: Output) -> None:
        self._job: Job | None = None
        self._output = output
        self._end = b""
        self._unsent = b""
        """A line without its end."""
        self._turn = trio.Event()
        """Set when what was read last has been told, or nothing more will come."""
        self._is_telling = False

    def begin(self, job: Job | None) -> None:
        """What comes from now on is of another job; its lines are told to who watches this one."""
        self._job = job
        self._end = self._unsent = b""

    async def read(self) -> None:
        """Until nobody can write any more. Who reads slowly holds up the command, and fills no memory."""
        while data := await self._output.read():
            self._is_telling = True
            await self._add(data)
            self._is_telling = False
            self._turn.set()
            self._turn = trio.Event()
        await self._tell_rest()
        self._turn.set()

    async def settle(self) -> None:
        """All that was written until now is told; but a command that never falls silent is not waited for."""
        with trio.move_on_after(SETTLE_S):
            while not self._turn.is_set() and (self._is_telling or self._output.is_readable()):
                await self._turn.wait()
            await self._tell_rest()

    def after(self, what: str) -> str:
        """A reason: what happened, and as much of the end of what was said as there is room for."""
        said = self._end.strip().decode(errors="replace")
        if not said:
            return what
        room = REASON_BYTES_MAX - len(f"{what}: ".encode())
        return f"{what}: {said.encode()[-room:].decode(errors='ignore')}"

    async def _add(self, data: bytes) -> None:
        self._end = (self._end + data)[-REASON_BYTES_MAX:]
        if self._job is None:
            return
        lines, newline, self._unsent = (self._unsent + data).rpartition(b"\n")
        await self._tell(lines + newline)
        if len(self._unsent) >= READ_BYTES:  # a line without end
            await self._tell_rest()

    async def _tell_rest(self) -> None:
        rest, self._unsent = self._unsent, b""
        await self._tell(rest)

    async def _tell(self, lines: bytes) -> None:
        """Whole lines; those that came together go together. What cannot be told is lost."""
        if not lines or self._job is None:
            return
        try:
            await self._job.send(lines)
        except (PeriodicError, TimedOut) as error:
            log.info("%s %s: its lines could not be told: %s", self._job.func, self._job.name, error)
