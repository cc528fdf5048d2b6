"""A worker's link to the daemon: connects, subscribes, keeps the connection alive, and connects again for ever.

The runs (runs.py) go on beside it and outlive connections; between the two are the reports (reports.py), kept until
they have arrived. A link asks for no more jobs than can begin at once. It neither runs a job nor ends the worker.
"""

from collections import Counter
from random import Random
from typing import Any, NamedTuple

import trio

from periodic_client.job import Job
from periodic_client.lines import Lines
from periodic_client.reconnect import LONGEST_WAIT_S, Backoff
from periodic_client.reports import Reports
from periodic_client.runs import Function, Run, Runs
from periodic_client.session import CannotConnect, ConnectionLost, Session, StreamOpener, TimedOut
from periodic_client.wire import (
    Busy,
    Draining,
    LeaseLost,
    Notification,
    PeriodicError,
    Request,
    UnknownMethod,
    limits,
)

log = Lines(__name__)

PING_AFTER_S = 15.0
"""Protocol.md, section 3: ping when nothing was sent for so long."""
SILENCE_S = 30.0
"""A daemon that says nothing for so long after it was asked is lost."""
HELD_S = 1.0
"""A loop that comes so late to a time limit could not run before."""


class Peer(NamedTuple):
    """Where a link connects, how, and what it says of itself there."""

    url: str
    open_stream: StreamOpener
    options: dict[str, Any]
    """Of ``hello``."""


class Link:
    """``credit``: how many jobs its functions may run at once, all together."""

    def __init__(
        self,
        peer: Peer,
        functions: dict[str, Function],
        threads: trio.CapacityLimiter,
        credit: int,
        rng: Random,
    ) -> None:
        self.subscribed = trio.Event()
        """Set once all functions are subscribed for the first time."""
        self.reports = Reports()
        self.runs = Runs(functions, self.reports, threads, self._tell)
        self._peer = peer
        self._credit = self._asked_credit = credit
        self._backoff = Backoff(rng)
        self._session: Session | None = None
        self._connected = trio.Event()
        self._refusal: PeriodicError | None = None

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> PeriodicError:
        """Stay connected until cancelled; returns only with what the daemon refused and would refuse again."""
        while True:
            began_s = trio.current_time()
            try:
                reason = await self._serve_connection()
            except CannotConnect as error:
                reason = str(error)
            if self._refusal is not None:
                return self._refusal
            if trio.current_time() - began_s >= LONGEST_WAIT_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            log.warning("%s; connecting again in %.1f s", reason, wait_s)
            await trio.sleep(wait_s)

    async def drain(self) -> None:
        """Take no more jobs, hand back those not begun; return when the others have ended and arrived."""
        self.runs.begin_no_more()
        # Not before: what is handed back to a daemon that we are subscribed to comes again at once.
        await self.say_goodbye()
        await self.runs.hand_back_not_begun()
        await self.runs.wait_until_idle()
        if self._session is not None:
            await self._confirm(self._session)
        await self.reports.settle()

    async def say_goodbye(self) -> None:
        """What is still running when the connection closes then counts as no crash."""
        self.runs.begin_no_more()
        if self._session is None or self._session.lost is not None:
            return
        mark = self.reports.mark()
        try:
            await self._session.request("unsubscribe_all")
        except (ConnectionLost, PeriodicError) as error:
            log.warning("could not say goodbye: %s", error)
        else:
            self.reports.confirm(mark)

    # -- a connection --------------------------------------------------------------------------------------------------

    async def _serve_connection(self) -> str:
        """One connection from beginning to end; returns why it ended. Raises CannotConnect."""
        session = Session(await self._connect(), self._take_request, self._take_notification)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            nursery.start_soon(self._keep_alive, session)
            nursery.start_soon(self._introduce, session)
            await session.ended.wait()
            nursery.cancel_scope.cancel()
        self._session = None
        self._connected = trio.Event()
        self.reports.connection_lost()
        self.runs.lose_broadcasts()
        await self.runs.hand_back_not_begun()
        return str(session.lost)

    async def _connect(self) -> trio.abc.Stream:
        with trio.move_on_after(SILENCE_S):
            return await self._peer.open_stream(self._peer.url)
        raise CannotConnect(f"cannot connect to {self._peer.url}: no answer in {SILENCE_S:g} s")

    async def _introduce(self, session: Session) -> None:
        """Say who we are, settle what is left of earlier connections, and only then take new jobs."""
        try:
            if await self._say_hello(session):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.reports.deliver, session)
                    for run in self.runs.in_places():
                        nursery.start_soon(self._take_over, session, run)
                await self._subscribe(session)
        except ConnectionLost:
            return
        except PeriodicError as error:
            if not isinstance(error, Draining | Busy):
                # It would be refused again, so this is for the owner of the worker.
                self._refusal = error
            session.close(str(error))

    async def _say_hello(self, session: Session) -> bool:
        self._asked_credit = max(1, self._credit - len(self.runs.in_places()))
        credit = {} if self._asked_credit == limits.CONNECTION_JOBS_MAX else {"credit": self._asked_credit}
        answer = await session.request("hello", self._peer.options | credit)
        try:
            granted = answer["limits"]
            session.message_bytes_max = int(granted["message_bytes"])
            self.runs.workload_bytes_max = int(granted.get("workload_bytes", self.runs.workload_bytes_max))
        except (AttributeError, KeyError, TypeError, ValueError):
            session.close("the daemon's hello cannot be understood")
            return False
        self._session = session
        self._connected.set()
        return True

    async def _subscribe(self, session: Session) -> None:
        """Ask for what can begin beside the runs of earlier connections, and for more as those end.

        The daemon counts those as taking no room here, but they take our threads and places.
        """
        asked: dict[str, int] = {}
        while not self.runs.is_stopping:
            room_comes_back = self.runs.room_comes_back()
            earlier = Counter(run.job.func for run in self.runs.in_places() if run.session is not session)
            await self._ask(session, earlier, asked)
            if not earlier:
                log.info("%s: subscribed to %s", self._peer.url, ", ".join(asked))
                self.subscribed.set()
                return
            await room_comes_back.wait()

    async def _ask(self, session: Session, earlier: Counter[str], asked: dict[str, int]) -> None:
        """``asked`` has the limits of what is subscribed already."""
        credit = self._credit - earlier.total()
        if credit < 1:
            return
        if credit != self._asked_credit:
            self._asked_credit = credit
            await session.request("hello", {"credit": credit})
        for func, function in self.runs.functions.items():
            limit = self.runs.limit(function) - earlier[func]
            if limit > asked.get(func, 0) and not self.runs.is_stopping:
                await session.request("subscribe", func, {"limit": limit})
                asked[func] = limit

    async def _take_over(self, session: Session, run: Run) -> None:
        """A run whose connection was lost is ours still if we say so within the grace; protocol.md, section 8."""
        try:
            answer = await session.request("extend", run.job.handle, {"lease_ms": run.asked_lease_ms, "own": True})
            self._note_extended(run.job, answer)
        except LeaseLost:
            self.runs.take_lost(run.job.handle)
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
            if limit.cancelled_caught and session.last_received_s < asked_s and not was_held(limit):
                session.close(f"the daemon was silent for {SILENCE_S:g} s")

    async def _confirm(self, session: Session) -> None:
        """Ping. The answer shows that the reports sent before have arrived."""
        mark = self.reports.mark()
        try:
            await session.request("ping")
        except (ConnectionLost, PeriodicError) as error:
            log.debug("ping: %s", error)
        else:
            self.reports.confirm(mark)

    # -- what the daemon says ------------------------------------------------------------------------------------------

    def _take_request(self, session: Session, request: Request) -> None:
        if request.method != "perform":
            session.refuse(request.msgid, UnknownMethod(f"{request.method:.100} is not a method of a worker"))
        else:
            self.runs.perform(session, request)

    def _take_notification(self, _: Session, notification: Notification) -> None:
        if notification.method != "notice":
            return
        match notification.params:
            case [str(handle), "lost", *_]:
                if not self.runs.take_lost(handle):
                    log.warning("%s: its outcome came too late and does not count", self._forget(handle))
            case [str(handle), "refused", text, *_]:
                log.warning("%s: its outcome could not be read and counts as failed: %s", self._forget(handle), text)
            case [str(handle), "stop", *_]:
                self.runs.take_stop(handle)
            case [str(handle), "cancel", *more]:
                self.runs.take_cancel(handle, more[0] if more and isinstance(more[0], str) else "")
            case _:
                log.debug("a notice that this version does not know: %s", notification.params[1:])

    def _forget(self, handle: str) -> str:
        """The name of a run that is over. Its handle is for no log: whoever has that may report the run."""
        report = self.reports.forget(handle)
        return f"{report.func} {report.name}" if report else "a run that is no longer known here"

    async def _tell(self, job: Job, method: str, what: Any) -> None:
        with trio.move_on_after(SILENCE_S) as limit:
            await self._tell_over_any_connection(job, method, what)
        if limit.cancelled_caught and was_held(limit):
            await self._tell(job, method, what)
        elif limit.cancelled_caught:
            raise TimedOut(f"{job.func} {job.name}: the daemon did not answer {method} in {SILENCE_S:g} s")

    async def _tell_over_any_connection(self, job: Job, method: str, what: Any) -> None:
        while True:
            await self._connected.wait()
            session = self._session
            try:
                if session is not None:
                    answer = await session.request(method, job.handle, what)
                    if method == "extend":
                        self.runs.note_extension(job, what["lease_ms"])
                        self._note_extended(job, answer)
                    return
            except ConnectionLost:
                # Until the link has noticed too, there is nothing to wait for but its turn.
                await trio.lowlevel.checkpoint()
            except LeaseLost:
                # It is told by this error, so nothing else interrupts it.
                self.runs.mark_lost(job)
                raise

    def _note_extended(self, job: Job, answer: Any) -> None:
        """The notice of a cancel may have been lost with a connection."""
        if isinstance(answer, dict) and answer.get("cancelled"):
            self.runs.take_cancel(job.handle, "")


def was_held(limit: trio.CancelScope) -> bool:
    """Whether this time limit passed while the loop could not run: code in C held the interpreter, or it was suspended.

    What came meanwhile is not read yet, so nobody may be judged by his silence.
    """
    return trio.current_time() > limit.deadline + HELD_S
