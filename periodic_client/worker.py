"""The worker: takes jobs of its functions, runs them, and reports how they ended, across lost connections.

Here is what its owner says and sees: functions, start, end. What it says to the daemon is link.py's, how a job runs is
runs.py's.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from math import inf
from random import Random
from typing import Any, NoReturn, TypeVar

import trio

from periodic_client.job import Job
from periodic_client.lines import Lines
from periodic_client.link import Link, Peer
from periodic_client.runs import Function
from periodic_client.session import StreamOpener, check_trio, open_stream
from periodic_client.url import default_url, parse_url
from periodic_client.wire import PeriodicError, limits

log = Lines(__name__)

GOODBYE_S = 2.0

Callee = TypeVar("Callee", bound=Callable[[Job], Any])
Functions = dict[str, Function]


class Worker:
    """Runs jobs.

        worker = Worker("tcp://127.0.0.1:5000")

        @worker.function("resize", limit=4)
        async def resize(job: Job) -> None: ...

        worker.main()

    In a program that is more than a worker, or of another event loop, ``run`` in place of ``main``.

    ``url``: as of Client. ``name``: who this is, in the daemon's log; default host and process. ``credit``: how many
    jobs run at once, all functions together. ``disconnect_grace_ms``: how long the daemon leaves the jobs of a lost
    connection to this worker, which comes back and takes them over. ``silence_ms``: how long the daemon lets a
    connection be silent, 60,000 unless it is said: more for functions in C that hold the interpreter longer, since then
    nobody can ping. ``drain_s``: how long ``stop`` lets running jobs
    finish. ``threads``: how many sync functions run at once. ``open_stream``: what connects, as of Client. ``rng``:
    where the random part of waits comes from. Raises ValueError for what could never work.

    It asks for no more jobs than can begin at once, so that no job waits here while its lease runs and another worker
    is free. If its sync functions share fewer threads than their limits add up to, and there are others beside them,
    they have a connection of their own.

    How a run ends: a function that returns None, bytes or str is done; Done, Failed and Later say more. One that raises
    has failed and is tried again by the job's retry rule; one that raises GiveUp is not tried again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        credit: int = limits.CONNECTION_JOBS_MAX,
        disconnect_grace_ms: int = 5000,
        silence_ms: int | None = None,
        drain_s: float = 10.0,
        threads: int = 40,
        open_stream: StreamOpener = open_stream,
        rng: Random | None = None,
    ) -> None:
        self.url = url or default_url()
        parse_url(self.url)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        if (size := len(self.name.encode())) > limits.NAME_BYTES_MAX:
            raise ValueError(f"name has {size} bytes, and may have {limits.NAME_BYTES_MAX}")
        self.credit = _within((1, limits.CONNECTION_JOBS_MAX), credit, "credit")
        if not drain_s >= 0:
            raise ValueError(f"drain_s is {drain_s}; it must be 0 or more")
        self.drain_s = drain_s
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        options: dict[str, Any] = {
            "client": self.name,
            "disconnect_grace_ms": _within((0, limits.GRACE_MS_MAX), disconnect_grace_ms, "disconnect_grace_ms"),
        }
        if silence_ms is not None:
            options["silence_ms"] = _within(limits.SILENCE_MS, silence_ms, "silence_ms")
        self._peer = Peer(self.url, open_stream, options)
        self._rng = rng or Random()
        self._functions: Functions = {}
        self._threads = trio.CapacityLimiter(threads)
        self._links: list[Link] = []
        """Made when it runs: which it takes depends on the functions."""
        self._stopping = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._expects_ctrl_c = True
        self._has_failed = False
        """By a bug of our own."""
        self._refusal: PeriodicError | None = None
        self._task_status: trio.TaskStatus[None] | None = None

    # -- what is called from outside -----------------------------------------------------------------------------------

    def function(
        self, func: str, *, limit: int = 1, inline: bool = False, interrupt: bool = False
    ) -> Callable[[Callee], Callee]:
        """A decorator: jobs of ``func`` are run by this function, at most ``limit`` at a time.

        An async function runs in a trio task, a sync one in a thread. ``inline=True``: a sync function so short that it
        may run in the event loop itself, which does nothing else meanwhile. ``interrupt=True``: an async function whose
        job is cancelled, or no longer counts, is itself cancelled, as by a trio.CancelScope around it. Without it, and
        in a sync function, ``job.cancelled`` and ``job.lost`` say so. Raises ValueError for what cannot be, and
        RuntimeError once the worker runs.
        """
        if not isinstance(func, str):
            raise TypeError('function takes a name: @worker.function("resize")')
        if self._links:
            raise RuntimeError(f"{func}: functions are added before the worker runs")
        if func in self._functions:
            raise ValueError(f"{func}: this worker has such a function already")
        _within((1, limits.CONNECTION_JOBS_MAX), limit, f"{func}: limit")

        def add(call: Callee) -> Callee:
            self._functions[func] = Function(call, limit, inline, interrupt)
            return call

        return add

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take jobs and run them until ``stop``, or until cancelled; then the rest goes back to the daemon.

        ``task_status`` is started once all functions are subscribed. Connects again for ever. Raises the PeriodicError
        with which the daemon refused a subscription, and RuntimeError without functions or if it has run before. A bug
        in the library ends it as an exception group; then it says no goodbye, and what it ran counts as crashed.
        """
        check_trio("a worker", "worker.run")
        self._check_can_run()
        self._make_links()
        self._token = trio.lowlevel.current_trio_token()
        self._task_status = task_status
        connected = trio.CancelScope(shield=True)
        async with trio.open_nursery() as outer:
            try:
                async with trio.open_nursery() as runs:
                    for link in self._links:
                        link.runs.nursery = runs
                    outer.start_soon(self._stay_connected, connected)
                    await self._stopping.wait()
                    await self._drain()
                    runs.cancel_scope.cancel()
            except BaseException as error:
                self._has_failed |= not is_asked_for(error)
                raise
            finally:
                # The links are shielded so as to say goodbye when we are cancelled: else it would look like a crash.
                # But what a bug of our own ended is one.
                try:
                    if not self._has_failed:
                        with trio.move_on_after(GOODBYE_S, shield=True):
                            await self._on_all(Link.say_goodbye)
                finally:
                    connected.cancel()
        if self._refusal is not None:
            raise self._refusal
        self._tell_started()

    def stop(self) -> None:
        """Make ``run`` return: take no more jobs, hand back those not begun, give the others ``drain_s`` to finish.

        May be called in any thread.
        """
        if self._token is None:
            self._stopping.set()
        else:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._stopping.set)

    def main(self) -> NoReturn:
        """Run as a program, until SIGTERM or SIGINT (Ctrl-C), which stop it as ``stop`` does; a second one at once.

        Either way the daemon is told, so that nothing counts as a crash. Then it exits: with 0 if it was stopped; 2 if
        it has no functions, or the daemon refused one, which it says; 1, with a traceback, by a bug in the library.
        Unless logging is set up it goes to stderr, from INFO on.
        """
        if trio.lowlevel.in_trio_run():
            raise RuntimeError("main starts trio, which runs here already; use: await worker.run()")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("main obeys signals, which come to the main thread only; use: trio.run(worker.run)")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        try:
            self._check_can_run()
        except RuntimeError as error:
            log.error("%s", error)  # noqa: TRY400 - its text is all that there is to say
            sys.exit(2)
        with suppress(KeyboardInterrupt):  # one that came just before signals were received
            trio.run(self.run_until_signal)
        if self._refusal is not None:
            log.error("%s refused: %s", self.url, self._refusal)
        sys.exit(0 if self._refusal is None else 2)

    async def run_until_signal(self) -> PeriodicError | None:
        """``run`` with the signals that ``main`` obeys, for a program that has more to do in its loop.

        Returns the error with which the daemon refused a function, if that is why it ended.
        """
        self._expects_ctrl_c = False
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, nursery.cancel_scope)
                with suppress(PeriodicError):
                    await self.run()
                nursery.cancel_scope.cancel()
        return self._refusal

    @property
    def result_bytes_max(self) -> int:
        """How large a result may be, by what the daemon said last."""
        return min((link.runs.workload_bytes_max for link in self._links), default=limits.WORKLOAD_BYTES)

    # -- within --------------------------------------------------------------------------------------------------------

    async def _obey(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        first = signal.Signals(await anext(signals))
        time = "all the time that they need" if self.drain_s == inf else f"{self.drain_s:g} s"
        log.info("stopping on %s: running jobs have %s, or until a second signal", first.name, time)
        self.stop()
        second = signal.Signals(await anext(signals))
        log.info("stopping at once on %s", second.name)
        scope.cancel()

    def _check_can_run(self) -> None:
        if self._links:
            raise RuntimeError("a worker runs once; make another one")
        if not self._functions:
            raise RuntimeError("this worker has no functions; add them with @worker.function")

    def _make_links(self) -> None:
        threads = int(self._threads.total_tokens)
        self._links = [
            Link(self._peer, functions, self._threads, credit, self._rng)
            for functions, credit in share(self._functions, threads, self.credit)
        ]
        for link in self._links:
            link.runs.expects_ctrl_c = self._expects_ctrl_c

    async def _stay_connected(self, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    for link in self._links:
                        nursery.start_soon(self._keep, link)
                    for link in self._links:
                        await link.subscribed.wait()
                    self._tell_started()
        except BaseException as error:
            self._has_failed |= not is_asked_for(error)
            raise

    async def _keep(self, link: Link) -> None:
        self._refusal = await link.run()
        link.runs.nursery.cancel_scope.cancel()

    def _tell_started(self) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None

    async def _on_all(self, method: Callable[[Link], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            for link in self._links:
                nursery.start_soon(method, link)

    async def _drain(self) -> None:
        with trio.move_on_after(self.drain_s) as limit:
            await self._on_all(Link.drain)
        if limit.cancelled_caught:
            log.warning(
                "stopped after %g s; the daemon gives %d unfinished runs and %d undelivered ones out again",
                self.drain_s,
                sum(len(link.runs.begun) for link in self._links),
                sum(len(link.reports) for link in self._links),
            )


def _within(ends: tuple[int, int], value: int, what: str) -> int:
    low, high = ends
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}; it goes from {low} to {high}")
    return value


def is_asked_for(error: BaseException) -> bool:
    """Somebody wants the worker to end: it was cancelled, or there was a Ctrl-C."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_asked_for, error.exceptions))
    return isinstance(error, trio.Cancelled | KeyboardInterrupt)


def share(functions: Functions, threads: int, credit: int) -> list[tuple[Functions, int]]:
    """The connections that it takes, each with its functions and how many jobs it may be given at once.

    The daemon knows two limits, of a function and of a connection. So functions that together may be given more than
    there are threads need a connection whose limit is the threads', without those that need none.
    """
    threaded = {func: function for func, function in functions.items() if function.threaded}
    wanted = sum(min(function.limit, threads) for function in threaded.values())
    if min(wanted, credit) <= threads:
        return [(functions, credit)]
    others = {func: function for func, function in functions.items() if not function.threaded}
    return [(threaded, threads)] + ([(others, credit - threads)] if others else [])
