"""The worker: takes jobs of its functions, runs them, and reports how they ended, across lost connections.

Here is the *link*: it connects, subscribes, keeps the connection alive and connects again for ever. The runs (runs.py)
go on beside it and outlive connections; between the two are the reports (reports.py), kept until they have arrived.
"""

import logging
import os
import socket
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

import trio

from periodic_client.job import Job
from periodic_client.reconnect import LONGEST_WAIT_S, Backoff
from periodic_client.reports import Reports
from periodic_client.runs import Function, Run, Runs
from periodic_client.session import (
    CannotConnect,
    ConnectionLost,
    Session,
    StreamOpener,
    TimedOut,
    open_stream,
)
from periodic_client.url import default_url, parse_url
from periodic_client.wire import (
    Busy,
    Draining,
    LeaseLost,
    Notification,
    PeriodicError,
    Request,
    UnknownMethod,
)

log = logging.getLogger(__name__)

PING_AFTER_S = 15.0
"""Protocol.md, section 3: ping when nothing was sent for so long."""
SILENCE_S = 30.0
"""A daemon that says nothing for so long after it was asked is lost."""
GOODBYE_S = 2.0
LIMIT_MAX = 1000
"""Protocol.md, section 1, limits: jobs running on a connection."""

Callee = TypeVar("Callee", bound=Callable[[Job], Any])


class Worker:
    """Runs jobs.

        worker = Worker("tcp://127.0.0.1:5000")

        @worker.function("resize", limit=4)
        async def resize(job: Job) -> None: ...

        trio.run(worker.run)

    ``url``: as of Client. ``name``: who this is, in the daemon's log; default host and process. ``credit``: how many
    jobs run at once, all functions together; default 1,000. ``disconnect_grace_ms``: how long the
    daemon leaves the jobs of a lost connection to this worker, which comes back and takes them over. ``drain_s``: how
    long ``stop`` lets running jobs finish. ``threads``: how many sync functions run at once. ``open_stream``: what
    connects, as of Client. ``rng``: where the random part of waits comes from.

    How a run ends: a function that returns None, bytes or str is done; Done, Failed and Later say more. One that raises
    has failed and is tried again by the job's retry rule; one that raises GiveUp is not tried again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        credit: int | None = None,
        disconnect_grace_ms: int = 5000,
        drain_s: float = 10.0,
        threads: int = 40,
        open_stream: StreamOpener = open_stream,
        rng: Random | None = None,
    ) -> None:
        self.url = url or default_url()
        parse_url(self.url)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.credit = credit
        self.disconnect_grace_ms = disconnect_grace_ms
        self.drain_s = drain_s
        self._open_stream = open_stream
        self._backoff = Backoff(rng or Random())
        self._has_run = False
        self._task_status: trio.TaskStatus[None] | None = None
        self._reports = Reports()
        self._runs = Runs(self._reports, threads, self._extend)
        self._session: Session | None = None
        self._connected = trio.Event()
        self._stopping = trio.Event()
        self._refusal: PeriodicError | None = None

    # -- what is called from outside -----------------------------------------------------------------------------------

    def function(self, func: str, *, limit: int = 1, inline: bool = False) -> Callable[[Callee], Callee]:
        """A decorator: jobs of ``func`` are run by this function, at most ``limit`` at a time.

        An async function runs in a trio task, a sync one in a thread. ``inline=True``: a sync function so short that it
        may run in the event loop itself, which does nothing else meanwhile. Raises ValueError for what cannot be, and
        RuntimeError once the worker runs.
        """
        if self._has_run:
            raise RuntimeError(f"{func}: functions are added before the worker runs")
        if func in self._runs.functions:
            raise ValueError(f"{func}: this worker has such a function already")
        if not 1 <= limit <= LIMIT_MAX:
            raise ValueError(f"{func}: limit is {limit}; it goes from 1 to {LIMIT_MAX}")

        def add(call: Callee) -> Callee:
            self._runs.functions[func] = Function(call, limit, inline)
            return call

        return add

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take jobs and run them until ``stop``, or until cancelled; then the rest goes back to the daemon.

        ``task_status`` is started once all functions are subscribed. Connects again for ever. Raises the PeriodicError
        with which the daemon refused a subscription, and RuntimeError without functions or if it has run before.
        """
        if self._has_run:
            raise RuntimeError("a worker runs once; make another one")
        if not self._runs.functions:
            raise RuntimeError("this worker has no functions; add them with @worker.function")
        self._has_run = True
        self._task_status = task_status
        link = trio.CancelScope(shield=True)
        async with trio.open_nursery() as outer:
            try:
                async with trio.open_nursery() as self._runs.nursery:
                    outer.start_soon(self._stay_connected, link)
                    await self._stopping.wait()
                    await self._drain()
                    self._runs.nursery.cancel_scope.cancel()
            finally:
                self._runs.begin_no_more()
                # The link is shielded so as to say goodbye when we are cancelled: else it would look like a crash.
                with trio.move_on_after(GOODBYE_S, shield=True):
                    await self._unsubscribe()
                link.cancel()
        if self._refusal is not None:
            raise self._refusal
        self._tell_started()

    def stop(self) -> None:
        """Make ``run`` return: take no more jobs, hand back those not begun, give the others ``drain_s`` to finish.

        For trio's own thread; in another one use ``trio.from_thread.run_sync(worker.stop)``.
        """
        self._stopping.set()

    def _tell_started(self) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None

    async def _drain(self) -> None:
        with trio.move_on_after(self.drain_s) as limit:
            self._runs.begin_no_more()
            # Not before: what is handed back to a daemon that we are subscribed to comes again at once.
            await self._unsubscribe()
            await self._runs.hand_back_not_begun()
            await self._runs.wait_until_idle()
            if self._session is not None:
                await self._confirm(self._session)
            await self._reports.settle()
        if limit.cancelled_caught:
            log.warning(
                "stopped after %g s; the daemon gives %d unfinished runs and %d undelivered ones out again",
                self.drain_s,
                len(self._runs.begun),
                len(self._reports),
            )

    # -- the link ------------------------------------------------------------------------------------------------------

    async def _stay_connected(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                began_s = trio.current_time()
                try:
                    await self._serve_connection()
                except (CannotConnect, ConnectionLost, Draining, Busy) as error:
                    reason = str(error)
                except PeriodicError as error:
                    # It would be refused again, so this is for the owner of the worker.
                    self._refusal = error
                    self._runs.nursery.cancel_scope.cancel()
                    return
                if trio.current_time() - began_s >= LONGEST_WAIT_S:
                    self._backoff.reset()
                wait_s = self._backoff.next_s()
                log.warning("%s; connecting again in %.1f s", reason, wait_s)
                await trio.sleep(wait_s)

    async def _serve_connection(self) -> None:
        """One connection from beginning to end. Always raises: why it could not be made, or why it ended."""
        session = Session(await self._connect(), self._take_request, self._take_notification)
        refusal: PeriodicError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            nursery.start_soon(self._keep_alive, session)
            try:
                await self._introduce(session)
                await session.ended.wait()
            except ConnectionLost:
                pass
            except PeriodicError as error:
                refusal = error
            nursery.cancel_scope.cancel()
        self._session = None
        self._connected = trio.Event()
        self._reports.connection_lost()
        await self._runs.hand_back_not_begun()
        raise refusal or ConnectionLost(session.lost)

    async def _connect(self) -> trio.abc.Stream:
        with trio.move_on_after(SILENCE_S):
            return await self._open_stream(self.url)
        raise CannotConnect(f"cannot connect to {self.url}: no answer in {SILENCE_S:g} s")

    async def _introduce(self, session: Session) -> None:
        """Say who we are, settle what is left of earlier connections, and only then take new jobs."""
        options: dict[str, Any] = {"client": self.name, "disconnect_grace_ms": self.disconnect_grace_ms}
        if self.credit is not None:
            options["credit"] = self.credit
        answer = await session.request("hello", options)
        try:
            session.message_bytes_max = int(answer["limits"]["message_bytes"])
        except (KeyError, TypeError, ValueError):
            session.close("the daemon's hello cannot be understood")
            return
        self._session = session
        self._connected.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reports.deliver, session)
            for run in self._runs.begun.values():
                nursery.start_soon(self._take_over, session, run)
        for func, function in self._runs.functions.items():
            if self._stopping.is_set():
                return
            await session.request("subscribe", func, {"limit": function.limit})
        log.info("%s: subscribed to %s", self.url, ", ".join(self._runs.functions))
        self._tell_started()

    async def _take_over(self, session: Session, run: Run) -> None:
        """A run whose connection was lost is ours still if we say so within the grace; protocol.md, section 8."""
        try:
            await session.request("extend", run.job.handle, {"lease_ms": run.asked_lease_ms, "own": True})
        except LeaseLost:
            self._runs.mark_lost(run.job)
        except PeriodicError as error:
            log.warning("%s %s: its lease could not be extended: %s", run.job.func, run.job.name, error.to_wire())
        except ConnectionLost:
            log.debug("%s %s: still on no connection", run.job.func, run.job.name)

    async def _keep_alive(self, session: Session) -> None:
        """Speak at least every PING_AFTER_S, and notice a daemon that no longer answers."""
        while session.lost is None:
            asked_s = trio.current_time()
            wait_s = min(session.last_sent_s, session.last_received_s) + PING_AFTER_S - asked_s
            if wait_s > 0:
                await trio.sleep(wait_s)
                continue
            with trio.move_on_after(SILENCE_S) as limit:
                await self._confirm(session)
            if limit.cancelled_caught and session.last_received_s < asked_s:
                session.close(f"the daemon was silent for {SILENCE_S:g} s")

    async def _confirm(self, session: Session) -> None:
        """Ping. The answer shows that the reports sent before have arrived."""
        mark = self._reports.mark()
        try:
            await session.request("ping")
        except (ConnectionLost, PeriodicError) as error:
            log.debug("ping: %s", error)
        else:
            self._reports.confirm(mark)

    async def _unsubscribe(self) -> None:
        """Say goodbye: what is still running when the connection closes then counts as no crash."""
        if self._session is None or self._session.lost is not None:
            return
        mark = self._reports.mark()
        try:
            await self._session.request("unsubscribe_all")
        except (ConnectionLost, PeriodicError) as error:
            log.warning("could not say goodbye: %s", error)
        else:
            self._reports.confirm(mark)

    # -- what the daemon says ------------------------------------------------------------------------------------------

    def _take_request(self, session: Session, request: Request) -> None:
        if request.method != "perform":
            session.refuse(request.msgid, UnknownMethod(f"{request.method:.100} is not a method of a worker"))
        else:
            self._runs.perform(session, request)

    def _take_notification(self, _: Session, notification: Notification) -> None:
        if notification.method != "notice":
            return
        match notification.params:
            case [str(handle), "lost", *_]:
                if not self._runs.take_lost(handle):
                    log.warning("%s: its outcome came too late and does not count", self._forget(handle))
            case [str(handle), "refused", text, *_]:
                log.warning("%s: its outcome could not be read and counts as failed: %s", self._forget(handle), text)
            case [str(handle), "stop", *_]:
                self._runs.take_stop(handle)
            case _:
                log.debug("a notice that this version does not know: %s", notification.params[1:])

    def _forget(self, handle: str) -> str:
        """The name of a run that is over. Its handle is for no log: whoever has that may report the run."""
        report = self._reports.forget(handle)
        return f"{report.func} {report.name}" if report else "a run that is no longer known here"

    async def _extend(self, job: Job, lease_ms: int | None) -> None:
        with trio.move_on_after(SILENCE_S):
            while True:
                await self._connected.wait()
                session = self._session
                try:
                    if session is not None:
                        await session.request("extend", job.handle, {"lease_ms": lease_ms})
                        self._runs.note_extension(job, lease_ms)
                        return
                except ConnectionLost:
                    # Until the link has noticed too, there is nothing to wait for but its turn.
                    await trio.lowlevel.checkpoint()
                except LeaseLost:
                    self._runs.mark_lost(job)
                    raise
        raise TimedOut(
            f"{job.func} {job.name}: its lease was not extended, the daemon did not answer in {SILENCE_S:g} s"
        )
