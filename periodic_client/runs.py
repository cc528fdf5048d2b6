"""The runs of a worker: which function runs a job, when it begins, and what is reported in the end.

A run outlives the connection that it came from. This module opens no connection and decides no retry: what happens
after a run ended is data on the job, and the daemon's to do.
"""

import inspect
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import trio

from periodic_client.checks import Rules, check_outcome
from periodic_client.job import Job, Tell
from periodic_client.lines import Lines
from periodic_client.outcomes import Failed, Later, WireOutcome, WrongValue, failure_of, outcome_to_wire
from periodic_client.reports import Report, Reports
from periodic_client.session import Session
from periodic_client.tracing import Span, performing
from periodic_client.wire import Invalid, Request, limits

log = Lines(__name__)

UNKNOWN_FUNC_DELAY_MS = 5000
HAND_BACK = Later(0).to_wire()
INTERRUPTED = Failed("it was interrupted").to_wire()
"""By a cancel or a loss, so it is not tried again, or does not count."""


class Function:
    """What a worker runs for the jobs of one func. Raises ValueError for an async function that is to run inline."""

    def __init__(self, call: Callable[[Job], Any], limit: int, inline: bool, interrupt: bool = False) -> None:
        is_async = _is_async(call)
        if inline and is_async:
            raise ValueError("an async function cannot be inline")
        if interrupt and not is_async:
            raise ValueError(
                "only an async function can be interrupted; a sync one looks at job.lost and job.cancelled"
            )
        self.interrupt = interrupt
        self.call = call
        self.limit = limit
        self.inline = inline
        self.threaded = not is_async and not inline
        self.running = 0


@dataclass(slots=True, eq=False)
class Run:
    job: Job
    function: Function
    session: Session
    """The connection that the job came from, where its ``perform`` is to be answered as long as it lasts."""
    msgid: int
    asked_lease_ms: int | None = None
    """What the last ``extend`` asked for, to be asked for again over the next connection."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around the function, if it may be interrupted."""

    def interrupt(self) -> None:
        if self.function.interrupt:
            self.scope.cancel()


class Runs:
    nursery: trio.Nursery
    """Where runs are begun; to be set before any job comes."""

    def __init__(
        self, functions: dict[str, Function], reports: Reports, threads: trio.CapacityLimiter, tell: Tell
    ) -> None:
        self.functions = functions
        self.is_stopping = False
        """Every job is handed back at once."""
        self.expects_ctrl_c = True
        """A KeyboardInterrupt may be a real one: nobody takes SIGINT otherwise."""
        self.workload_bytes_max = limits.WORKLOAD_BYTES
        """How large a result or the workload of a follow-on job may be. The daemon's ``hello`` tells its own limit."""
        self.begun: dict[str, Run] = {}
        """By handle."""
        self._not_begun: deque[Run] = deque()
        """Those that came although they could not begin: more than was asked for."""
        self._threads = threads
        self._in_threads = 0
        self._more_threads = trio.CapacityLimiter(inf)
        """For broadcasts, which take no place; the daemon gives no more than it takes unanswered."""
        self._reports = reports
        self._tell = tell
        self._idle = trio.Event()
        self._room_comes_back = trio.Event()

    def perform(self, session: Session, request: Request) -> None:
        """Take the job of a ``perform``, which is answered when the run ends."""
        try:
            job = Job(request.params[0] if request.params else {}, self._tell)
        except Invalid as error:
            log.warning("%s", error)
            session.refuse(request.msgid, error)
            return
        function = self.functions.get(job.func)
        if function is None:
            # Another worker may know it, so this is no failure of the job.
            log.warning("%s %s: this worker has no such function", job.func, job.name)
            self._reports.respond(session, request.msgid, _report(job, Later(UNKNOWN_FUNC_DELAY_MS).to_wire()))
        elif self.is_stopping:
            self._reports.respond(session, request.msgid, _report(job, HAND_BACK))
        elif function.inline:
            self._reports.respond(session, request.msgid, _report(job, self._run_inline(function, job)))
        else:
            run = Run(job, function, session, request.msgid)
            if job.broadcast:
                self._begin(run)
                return
            self._not_begun.append(run)
            self._begin_next()
            if job.handle not in self.begun:
                self.nursery.start_soon(self._hand_back_in_time, run)

    def note_extension(self, job: Job, lease_ms: int | None) -> None:
        """The daemon granted what ``extend`` asked for."""
        run = self.begun.get(job.handle)
        if run is not None:
            run.asked_lease_ms = lease_ms

    def take_lost(self, handle: str) -> bool:
        """The daemon said that a run no longer counts; it is not begun any more. False if it is not under way here."""
        run = self.begun.get(handle)
        if run is None:
            return self._hand_back(handle, "it no longer counts")
        self.mark_lost(run.job)
        run.interrupt()
        return True

    def take_cancel(self, handle: str, reason: str) -> None:
        """Somebody asked to cancel the job. One that is not begun here is handed back, and is gone."""
        run = self.begun.get(handle)
        if run is None:
            self._hand_back(handle, "it was cancelled")
        elif not run.job.cancelled:
            run.job.cancelled = True
            log.info("%s %s: somebody asked to cancel it%s", run.job.func, run.job.name, reason and f": {reason}")
            run.interrupt()

    def take_stop(self, handle: str) -> None:
        """The daemon is stopping: what has not begun here is for later, what has goes on."""
        reason = "the daemon is stopping"
        run = self.begun.get(handle)
        if run is not None:
            log.info("%s %s goes on: %s", run.job.func, run.job.name, reason)
        else:
            self._hand_back(handle, reason)

    def _hand_back(self, handle: str, reason: str) -> bool:
        """Hand back this run, whose connection is open, if it has not begun."""
        run = next((run for run in self._not_begun if run.job.handle == handle), None)
        if run is None:
            return False
        self._not_begun.remove(run)
        log.info("%s %s is handed back before it began: %s", run.job.func, run.job.name, reason)
        self._reports.respond(run.session, run.msgid, _report(run.job, HAND_BACK))
        return True

    async def _hand_back_in_time(self, run: Run) -> None:
        """A run that begins late in its lease ends after it, and another worker may be free."""
        await trio.sleep(run.job.lease_ms / 2000)
        if run in self._not_begun:
            self._not_begun.remove(run)
            log.warning("%s %s is handed back: it could not begin in half its lease", run.job.func, run.job.name)
            await self._deliver(run, HAND_BACK)

    def mark_lost(self, job: Job) -> None:
        """A run that has begun no longer counts."""
        if job.handle in self.begun and not job.lost:
            job.lost = True
            more = "" if job.broadcast else "; another one may be under way"
            log.warning("%s %s: this run no longer counts%s", job.func, job.name, more)

    def in_places(self) -> list[Run]:
        """Those that were begun and take the place of others: broadcasts take none."""
        return [run for run in self.begun.values() if not run.job.broadcast]

    def lose_broadcasts(self) -> None:
        """The connection was lost, and its runs of broadcasts with it: those wait for nobody."""
        for run in list(self.begun.values()):
            if run.job.broadcast:
                self.take_lost(run.job.handle)

    async def hand_back_not_begun(self) -> None:
        while self._not_begun:
            await self._deliver(self._not_begun.popleft(), HAND_BACK)

    def begin_no_more(self) -> None:
        """From now on every job is handed back at once."""
        self.is_stopping = True

    async def wait_until_idle(self) -> None:
        """After ``begin_no_more``: return when the last run has ended."""
        if self.begun:
            await self._idle.wait()

    def limit(self, function: Function) -> int:
        """How many runs of this function may go on at once."""
        return min(function.limit, int(self._threads.total_tokens)) if function.threaded else function.limit

    def room_comes_back(self) -> trio.Event:
        """Set when the next run of a lost connection ends: only we know that then another one can begin."""
        if self._room_comes_back.is_set():
            self._room_comes_back = trio.Event()
        return self._room_comes_back

    def _begin_next(self) -> None:
        for index, run in enumerate(self._not_begun):
            if self._may_begin(run.function):
                del self._not_begun[index]
                run.function.running += 1
                self._in_threads += run.function.threaded
                self._begin(run)
                return

    def _begin(self, run: Run) -> None:
        self.begun[run.job.handle] = run
        self.nursery.start_soon(self._perform, run)

    def _may_begin(self, function: Function) -> bool:
        thread_free = not function.threaded or self._in_threads < self._threads.total_tokens
        return thread_free and function.running < function.limit

    async def _perform(self, run: Run) -> None:
        job, function = run.job, run.function
        outcome = await self._call(run)
        if not job.broadcast:
            function.running -= 1
            self._in_threads -= function.threaded
        del self.begun[job.handle]
        if run.session.lost is not None and not job.broadcast:
            self._room_comes_back.set()
        if not self.is_stopping:
            self._begin_next()
        elif not self.begun:
            self._idle.set()
        await self._deliver(run, outcome)

    async def _call(self, run: Run) -> WireOutcome:
        job = run.job
        with performing(job.func, job.name, job.run, job.attempt, job.headers) as span:
            try:
                return await self._outcome(run, span)
            except BaseException as error:
                return self._outcome_of(error, job, run.function, span)

    async def _outcome(self, run: Run, span: Span) -> WireOutcome:
        job, function = run.job, run.function
        if function.threaded:
            threads = self._more_threads if job.broadcast else self._threads
            return await self._run_in_thread(function, job, threads, span)
        if not function.interrupt:
            return self._checked(await function.call(job), job)
        with run.scope:
            return self._checked(await function.call(job), job)
        return INTERRUPTED

    async def _run_in_thread(
        self, function: Function, job: Job, threads: trio.CapacityLimiter, span: Span
    ) -> WireOutcome:
        """What it raises comes beside what it returns, and is taken out. Raised through trio's frames, which hold it,
        it would hold them and so the job's workload, until Python looks for cycles.
        """
        raised: list[BaseException] = []
        returned = await trio.to_thread.run_sync(
            _call_in_thread, function.call, job, raised, limiter=threads, abandon_on_cancel=True
        )
        return self._outcome_of(raised.pop(), job, function, span) if raised else self._checked(returned, job)

    def _run_inline(self, function: Function, job: Job) -> WireOutcome:
        with performing(job.func, job.name, job.run, job.attempt, job.headers) as span:
            try:
                return self._checked(_call(function.call, job), job)
            except BaseException as error:
                return self._outcome_of(error, job, function, span)

    def _checked(self, returned: object, job: Job) -> WireOutcome:
        outcome = outcome_to_wire(returned, job.func)
        if outcome is not None:
            check_outcome(outcome, Rules(self.workload_bytes_max, int(time.time() * 1000)))
        return outcome

    def _outcome_of(self, error: BaseException, job: Job, function: Function, span: Span) -> WireOutcome:
        """Whatever a function raises is this run's failure. Raised on is what was meant for us: our being cancelled,
        and a Ctrl-C, which Python raises in whatever the main thread is at.
        """
        ours: tuple[type[BaseException], ...] = ()
        if self.expects_ctrl_c and not function.threaded:
            ours += (KeyboardInterrupt,)
        if trio.current_effective_deadline() == -inf:
            ours += (trio.Cancelled,)
        mine: BaseException | None
        theirs: BaseException | None
        if isinstance(error, BaseExceptionGroup):
            mine, theirs = error.split(ours)
        else:
            mine, theirs = (error, None) if isinstance(error, ours) else (None, error)
        if mine is None:
            span.failed(error)
            return _failure(job, error)
        if theirs is not None:
            log.error("%s %s: raised as it was cancelled", job.func, job.name, exc_info=theirs)
        raise mine

    async def _deliver(self, run: Run, outcome: WireOutcome) -> None:
        report = _report(run.job, outcome)
        if run.session.lost is None:
            self._reports.respond(run.session, run.msgid, report)
        else:
            await self._reports.finish(report)


def _is_async(call: Callable[[Job], Any]) -> bool:
    """A function, an object whose ``__call__`` is async, or a partial of either."""
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def _call(call: Callable[[Job], Any], job: Job) -> Any:
    returned = call(job)
    if inspect.iscoroutine(returned):
        returned.close()
        raise WrongValue(
            f"{job.func} is not async, but returned a coroutine: nobody awaits it; let the function be async"
        )
    return returned


def _call_in_thread(call: Callable[[Job], Any], job: Job, raised: list[BaseException]) -> Any:
    try:
        return _call(call, job)
    except BaseException as error:
        raised.append(error)


def _report(job: Job, outcome: WireOutcome) -> Report:
    return Report(job.handle, job.func, job.name, outcome)


def _failure(job: Job, error: BaseException) -> WireOutcome:
    failed = failure_of(error)
    if failed.final:
        log.warning("%s %s is given up: %s", job.func, job.name, failed.reason)
    else:
        log.error("%s %s failed: %s", job.func, job.name, failed.reason, exc_info=error)
    return failed.to_wire()
