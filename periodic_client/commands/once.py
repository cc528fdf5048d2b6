"""A command for each job: the workload is its standard input, what it prints is the result, its exit code the outcome.

How long it runs, and when it is told of, is decided in runs.py and by the worker.
"""

import os
from collections.abc import Callable

import trio

from periodic_client.commands.children import CannotStart, Child, Keeper
from periodic_client.commands.rules import Rules
from periodic_client.commands.runs import Messages, environment_of
from periodic_client.job import Job
from periodic_client.outcomes import Done, Failed, Later, Outcome


class Result:
    """What a command prints, as long as it is not too much."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self.is_too_large = False
        self.bytes_max = bytes_max

    def add(self, data: bytes) -> None:
        if len(self.data) + len(data) > self.bytes_max:
            self.is_too_large = True
            self.data.clear()
        else:
            self.data += data


class Once:
    """``result_bytes_max``: how large a result may be, which the daemon may say anew with each connection."""

    def __init__(self, keeper: Keeper, rules: Rules, result_bytes_max: Callable[[], int]) -> None:
        self._keeper = keeper
        self._rules = rules
        self._result_bytes_max = result_bytes_max

    async def perform(self, job: Job) -> Outcome:
        arguments = [job.name] if self._rules.gives_name else []
        try:
            child = await self._keeper.start(arguments, environment_of(job), self._rules.memory)
        except CannotStart as error:
            return Failed(str(error))
        try:
            return await self._follow(child, job)
        finally:
            await child.end_and_close(self._rules.first_signal(job), self._rules.grace_s)

    async def _follow(self, child: Child, job: Job) -> Outcome:
        messages = Messages(child.stderr)
        messages.begin(job if self._rules.streams else None)
        result = Result(self._result_bytes_max())
        async with trio.open_nursery() as reading, trio.open_nursery() as feeding:
            feeding.start_soon(child.feed, job.workload)
            with trio.move_on_after(self._rules.timeout_s) as limit:
                reading.start_soon(_collect, child, result, limit)
                reading.start_soon(messages.read)
                await child.exited.wait()
            # Also of what ended by itself: what it has left behind is of no use to anybody.
            was_ended = not child.exited.is_set()
            await child.end(self._rules.first_signal(job), self._rules.grace_s)
            feeding.cancel_scope.cancel()
        if result.is_too_large:
            return Failed(
                messages.after(
                    f"it printed more than {result.bytes_max:,} bytes, and a result has no more (the daemon's "
                    "workload_bytes)"
                )
            )
        if was_ended:
            return Failed(messages.after(f"it was ended after {self._rules.timeout_s:g} s (--timeout)"))
        if child.status == os.EX_OK:
            return Done(bytes(result.data))
        if child.status == os.EX_TEMPFAIL:
            return Later(self._rules.later_ms)
        return Failed(messages.after(child.ending))


async def _collect(child: Child, result: Result, limit: trio.CancelScope) -> None:
    """What it prints; if that is too much, it need not go on."""
    while not result.is_too_large and (data := await child.stdout.read()):
        result.add(data)
    if result.is_too_large:
        limit.cancel()
        await child.stdout.discard()
