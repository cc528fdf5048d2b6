"""What a client waits for: the end of a job, what its run tells, what happens at the daemon, and jobs to be done.

All are long polls of protocol.md. Who is cancelled while he waits has the daemon told so.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, NamedTuple, Self

import trio

from periodic_client.connected import Connected
from periodic_client.endings import Group, News, result_of
from periodic_client.following import POLL_S, Following
from periodic_client.outcomes import Later, NewJob, Outcome, outcome_to_wire
from periodic_client.reconnect import Backoff
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.wire import Busy

CALL_RESULT_MS = 600_000
"""How long the result of a called job is kept: for longer than a connection is lost, or a daemon is down."""

EventMap = dict[str, Any]
"""An event as ``events`` tells it; the keys are in protocol.md."""


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job that was taken; it means what it does in Job.

    ``handle`` is for ``finish`` and ``extend``. Whoever has it may report the run, so it is not for logs.
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

    @property
    def group(self) -> Group | None:
        return Group.from_headers(self.headers)

    @classmethod
    def from_wire(cls, given: dict[str, Any]) -> Self:
        return cls(**{each.name: given[each.name] for each in fields(cls)})


class Extended(NamedTuple):
    lease_until_at_ms: int
    """When the lease ends now."""
    cancelled: bool
    """Somebody asked to cancel the job: it need not go on."""


class EventsPage(NamedTuple):
    events: list[EventMap]
    missed: int | None
    """Events since ``after`` that are not kept any more; None: unknown, the daemon was started anew."""
    next: str
    """To be given as ``after`` for what comes then."""


class Waiting(Connected):
    """The part of Client that waits."""

    # -- for jobs' ends ------------------------------------------------------------------------------------------------

    async def call(self, job: NewJob, *, timeout_s: float = inf) -> bytes:
        """Submit a job, wait for its end, and return its result.

            thumbnail = await client.call(NewJob("resize", "a.jpg", picture), timeout_s=60)

        Raises by the ending: JobDead, JobRemoved, JobReplaced, JobCancelled, JobExpired, and ResultLost if its result
        is not known any more, all of them NotDone; TimedOut after ``timeout_s``. Then the job goes on: ``cancel`` ends
        it.

        A lost connection or a restart of the daemon is waited out, and the job is not put twice: the submit is sent
        again only as long as it was not answered, and then with ``existing`` "keep". What is there under this name
        counts as this job then, so give each thing to be done a name of its own. The result is kept for ``result_ms``
        of the job, or for ten minutes. CannotConnect and Busy, from the first attempt only, mean that nothing happened.
        """
        with trio.move_on_after(timeout_s):
            news = await anext(self._submitted(job, only_end=True))
            return result_of(job.func, job.name, news)
        raise TimedOut(
            f"{job.func} {job.name} has not ended in {timeout_s:g} s, as far as is known; if it was put it goes on"
        )

    def submit_and_watch(self, job: NewJob) -> AsyncIterator[News]:
        """Submit a job and tell its news to the end, as ``call`` does with the end alone.

        The last of the News has ``ended``; ``endings.result_of`` makes a result or an exception of it.
        """
        return self._submitted(job, only_end=False)

    def _submitted(self, job: NewJob, only_end: bool) -> Following:
        job = job if job.result_ms else replace(job, result_ms=CALL_RESULT_MS)
        return Following(self, job.func, job.name, job=job, only_end=only_end)

    def watch(self, func: str, name: str, *, id: int | None = None) -> AsyncIterator[News]:  # noqa: A002
        """The news of a job to its end, over lost connections, however many others watch it.

            async for news in client.watch("resize", "a.jpg"):
                show(news.state, news.progress, b"".join(news.chunks))

        Of the job that waits, runs or is dead, or else of the one that ended last; with ``id`` of that one, also if it
        waits behind another. Leave the loop when you like. Raises ResultLost if nothing is known of such a job.
        """
        return Following(self, func, name, job_id=id)

    # -- for what happens ----------------------------------------------------------------------------------------------

    async def events_page(
        self,
        after: str | None = None,
        *,
        kinds: Sequence[str] | None = None,
        func: str | None = None,
        limit: int | None = None,
        wait_s: float = 0.0,
    ) -> EventsPage:
        """What happened since ``after``, the ``next`` of the page before; without it, all that is kept.

        ``kinds``: only of these, as "done" or "failed". ``wait_s``: how long to wait for the first, up to an hour. The
        daemon keeps events only while somebody has asked within the last minute.
        """
        query = {
            "after": after, "timeout_ms": round(wait_s * 1000), "kinds": kinds and list(kinds), "func": func,
            "limit": limit,
        }  # fmt: skip
        answer = await self.poll("events", query, wait_s=wait_s)
        return EventsPage(answer["events"], answer.get("missed"), answer["next"])

    def events(
        self, *, kinds: Sequence[str] | None = None, func: str | None = None, after: str | None = None
    ) -> AsyncIterator[EventMap]:
        """What happens, for ever, over lost connections.

        Where events are not kept any more, since they came too fast or the daemon was started anew, there is one of the
        kind "not_kept", whose "text" says how many, and which has no "at_ms".
        """
        return _Events(self, kinds, func, after)

    # -- for jobs to be done -------------------------------------------------------------------------------------------

    async def take(
        self,
        *funcs: str,
        max: int = 1,  # noqa: A002
        wait_s: float = POLL_S,
        lease_ms: int | None = None,
    ) -> list[TakenJob]:
        """Jobs of these functions, as soon as some are due, and ``max`` at the most; none after ``wait_s``.

        For workers that ask; Worker is given jobs, which is faster, and knows more. Report each with ``finish``. Only
        its lease brings back a job that is not reported, so choose a short ``lease_ms``, and ``extend`` it.
        """
        options = {"funcs": list(funcs), "max": max, "wait_ms": round(wait_s * 1000), "lease_ms": lease_ms}
        answer = await self.poll("take", options, wait_s=wait_s, on_late=self._hand_back)
        return [TakenJob.from_wire(each) for each in answer["jobs"]]

    def _hand_back(self, answer: dict[str, Any]) -> None:
        """Jobs that came when nobody waited for them any more."""
        for each in answer["jobs"]:
            self.tell("finish", each["handle"], Later(0).to_wire())

    async def finish(self, handle: str, outcome: Outcome = None) -> None:
        """Report how a run ended: what a worker's function returns. Raises LeaseLost if it does not count any more,
        and WrongValue for what is no outcome.

        If the answer was lost, report again: LeaseLost then says that the first report had arrived, or came too late.
        """
        await self.request("finish", handle, outcome_to_wire(outcome, "finish"))

    async def extend(self, handle: str, lease_ms: int | None = None) -> Extended:
        """The run's lease ends ``lease_ms`` from now; without it the job's own. Raises LeaseLost."""
        answer = await self.request("extend", handle, {"lease_ms": lease_ms})
        return Extended(answer["lease_until_at_ms"], bool(answer.get("cancelled")))


class _Events:
    """An iterator and not a generator: who stops early has nothing to close."""

    def __init__(self, waiting: Waiting, kinds: Sequence[str] | None, func: str | None, after: str | None) -> None:
        self._waiting = waiting
        self._kinds, self._func, self._after = kinds, func, after
        self._page: deque[EventMap] = deque()
        self._backoff: Backoff | None = None
        """None until the daemon has answered once."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventMap:
        while not self._page:
            try:
                page = await self._waiting.events_page(self._after, kinds=self._kinds, func=self._func, wait_s=POLL_S)
            except (CannotConnect, ConnectionLost, TimedOut, Busy):
                if self._backoff is None:
                    raise
                await trio.sleep(self._backoff.next_s())
                await self._waiting.come_back()
                continue
            self._backoff = Backoff(self._waiting.rng)
            if page.missed != 0 and self._after is not None:
                self._page.append(_not_kept(page.missed))
            self._page += page.events
            self._after = page.next
        return self._page.popleft()


def _not_kept(count: int | None) -> EventMap:
    many = "it is not known how many" if count is None else f"{count}"
    absent = dict.fromkeys(("at_ms", "func", "name", "id", "run", "worker"))
    return {"kind": "not_kept", **absent, "text": f"events are not kept any more: {many}"}
