"""The client: submit jobs, look at them, take them away.

Every method here is one request of protocol.md under the same name; an option that was not given is sent as nil, which
there means absent. The client connects when a request needs it, and never sends a request twice by itself: whether to
submit again is for the caller to say, who is told when an answer was lost. What changes many jobs is in matching.py,
what waits for jobs in waiting.py, what is submitted again and again in scheduling.py.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Unpack

import trio

from periodic_client.matching import Matching, More
from periodic_client.outcomes import FunctionSettings, NewJob, Rate
from periodic_client.pages import Pages
from periodic_client.scheduling import Scheduling
from periodic_client.session import ConnectionLost, Session
from periodic_client.tracing import submitting
from periodic_client.wire import PeriodicError, limits

JobMap = dict[str, Any]
"""A job as ``get`` and ``list`` show it; the keys are in protocol.md."""
JobMaps = list[JobMap]
GateMaps = list[dict[str, Any]]
"""What is closed to a job, as ``explain`` shows it; the keys are in protocol.md."""
FunctionMap = dict[str, Any]
"""A function as ``status`` shows it; the keys are in protocol.md."""
WorkerMap = dict[str, Any]
"""A connection as ``workers`` shows it; the keys are in protocol.md."""
LockMap = dict[str, Any]
"""A lock as ``locks`` shows it; the keys are in protocol.md."""


class Submitted(NamedTuple):
    """What became of a job that was submitted."""

    result: str
    """What happened: "created", "replaced", "queued_behind", "kept", "refused" or, in a batch, "full"; later daemons
    may know more.
    """
    id: int | None
    """Of the job that was put, or of the one that was there and left alone. None: there is neither."""


class SubmittedGroup(NamedTuple):
    """What became of a group that was submitted."""

    result: str
    """What happened to its job, as in Submitted; or "added": a group of its name was open, and the jobs are its
    members too; or "kept": it is open and sealed, and nothing changed.
    """
    id: int
    """Of the group's job; ``list(group_id=...)`` goes through its members."""
    jobs: Sequence[Submitted]
    """Of each job; none if none was put. One that was kept or refused is no member."""


class Look(NamedTuple):
    """What there is to see of a job; the keys of the maps are in protocol.md (``get``)."""

    job: JobMap | None
    """None if there is no such job."""
    worker: str | None
    """Who runs it, if that is connected."""
    last: dict[str, Any] | None
    """How it, or else the last job of its name, ended, if that is kept (``result_ms``)."""
    group: dict[str, Any] | None = None
    """How far its group is, if it is the job of one that has not finished."""


class Client(Matching, Scheduling):
    """One connection to a daemon, for any number of tasks at once.

        async with Client("tcp://127.0.0.1:5000") as client:
            await client.submit(NewJob("resize", "a.jpg", picture))

    ``url``: ``tcp://host:port`` or ``unix:///path``; without it the environment variable PERIODIC_URL, or
    ``tcp://127.0.0.1:5000``. ``timeout_s`` limits each call, connecting included. ``open_stream`` is what connects,
    given the url: another one can put TLS or a tunnel between.

    Every call raises CannotConnect if there is no daemon; ConnectionLost if the connection ended before the answer, and
    TimedOut if none came: then it may or may not have happened; and a PeriodicError if the daemon refused, or if the
    request can not be sent. The next call after a lost connection connects again.

    ``call``, ``submit_and_watch``, ``watch`` and ``events`` go on over lost connections instead, once they had one.

    When the answer to a submit was lost, submit the same name again; how to do that safely, and what each ``existing``
    then means, is in protocol.md, section 6.
    """

    # -- jobs ----------------------------------------------------------------------------------------------------------

    async def submit(self, job: NewJob) -> Submitted:
        """Put one job. The answer means that it is on disk."""
        with submitting(job.func):
            return _submitted(await self.request("submit", job.to_wire()))

    async def submit_batch(self, jobs: Iterable[NewJob]) -> list[Submitted]:
        """Put up to 1,000 jobs in one commit; the results in the order of the jobs.

        If one is Invalid none is taken, and ``error.details["path"]`` names it. What is kept or refused for the sake of
        an existing job, or is more than its function may have ("full"), is no error: the others are stored. Raises
        ValueError for more than 1,000; for any number of jobs there is ``submit_many``.
        """
        batch = list(jobs)
        if len(batch) > limits.BATCH_JOBS_MAX:
            raise ValueError(
                f"a batch of {len(batch)} jobs; {limits.BATCH_JOBS_MAX} are the most, submit_many takes any number"
            )
        with submitting(batch[0].func if batch else "", len(batch)):
            return _each_submitted(await self.request("submit_batch", [job.to_wire() for job in batch]))

    async def submit_group(self, then: NewJob, jobs: Iterable[NewJob] = (), *, sealed: bool = True) -> SubmittedGroup:
        """Put up to 1,000 jobs, and one that is due when all of them have ended, however: all in one commit, or none.

        ``then`` is the group: ``look``, ``watch`` and ``explain`` tell of it by its name, and its run is told in
        ``job.group`` how the others ended. ``sealed=False``: more are added by the same call with the same ``then``,
        until one says that it is sealed. After a lost answer the same call puts nothing twice as long as the group is
        open and sealed. Raises Full if any of their functions would have more jobs than its ``queue_max``, and
        ValueError for more than 1,000.
        """
        members = list(jobs)
        if len(members) > limits.BATCH_JOBS_MAX:
            raise ValueError(
                f"a group of {len(members)} jobs; {limits.BATCH_JOBS_MAX} are the most at once, sealed=False lets more"
                " be added"
            )
        with submitting(then.func, 1 + len(members)):
            jobs_said = [job.to_wire() for job in members]
            group = {"then": then.to_wire(), "jobs": jobs_said, "sealed": sealed}
            answer = await self.request("submit_group", group)
        return SubmittedGroup(answer["result"], answer["id"], _each_submitted(answer))

    async def submit_many(self, jobs: Iterable[NewJob], window: int = 1000) -> list[Submitted]:
        """Put any number of jobs, each by itself, without waiting for one answer before the next is sent.

        ``window``: how many may be unanswered at once. The results are in the order of the jobs. ``timeout_s`` limits
        not the whole but the time in which half a window must be answered. After an error no more are sent, and it is
        raised once all that were sent are answered; its note tells which job it was.
        """
        if window < 1:
            raise ValueError(f"window is {window}; it must be at least 1")
        with self._time_limit("submit"):
            session = await self._connected()
        pipeline = _Pipeline(session)
        for job in jobs:
            pipeline.submit(job)
            if pipeline.in_flight >= window or session.is_full:
                with self._time_limit("submit"):
                    await session.room()
                    await pipeline.wait_until(window // 2)
            if pipeline.failure is not None:
                break
        with self._time_limit("submit"):
            await pipeline.wait_until(0)
        if pipeline.failure is not None:
            raise pipeline.failure
        return [_submitted(answer) for answer in pipeline.answers]

    async def remove(self, func: str, name: str, *, id: int | None = None) -> str:  # noqa: A002 - the protocol's word
        """Take a job away in any state: "removed" or "absent". A run in progress is not interrupted.

        With ``id`` only the job that has it, and "changed" if the one of this name is another by now.
        """
        answer = await self.request("remove", func, name, {"id": id})
        return str(answer["result"])

    async def requeue(self, func: str, name: str, *, id: int | None = None) -> str:  # noqa: A002
        """Give a dead job a new life, due now: "requeued", "not_dead" or "absent"; with ``id`` as in ``remove``."""
        answer = await self.request("requeue", func, name, {"id": id})
        return str(answer["result"])

    async def cancel(self, func: str, name: str, *, id: int | None = None, reason: str | None = None) -> str:  # noqa: A002
        """Nobody needs the job any more: "cancelled" (it is gone), "asked" (it runs, and ends with its run), "absent",
        "changed" or "not_live" (it is dead).

        Its worker is told, with ``reason``. If the run is done all the same, the job is done. ``id`` as in ``remove``.
        """
        answer = await self.request("cancel", func, name, {"id": id, "reason": reason})
        return str(answer["result"])

    async def move(
        self,
        func: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002
        due_at_ms: int | None = None,
        delay_ms: int | None = None,
        priority: int | None = None,
    ) -> str:
        """Give a waiting job another due time or priority: "moved", "absent", "changed" or "not_waiting".

        With ``id`` also one that waits behind another.
        """
        where = {"id": id, "due_at_ms": due_at_ms, "delay_ms": delay_ms, "priority": priority}
        answer = await self.request("move", func, name, where)
        return str(answer["result"])

    async def end_run(
        self,
        func: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002
        count_as: Literal["failed", "later"] | None = None,
        reason: str | None = None,
    ) -> str:
        """End a run that hangs, as if its worker had reported so: "ended", "absent", "changed" or "not_running".

        ``count_as``: what the run counts as; the daemon's own default is "failed". Its worker is told that it is lost.
        """
        answer = await self.request("end_run", func, name, {"id": id, "as": count_as, "reason": reason})
        return str(answer["result"])

    async def get(
        self,
        func: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002
        workload: bool = False,
    ) -> JobMap | None:
        """One job, or None if there is none; with ``id`` only the job that has it, also one behind another.

        ``workload``: have it in the answer too.
        """
        return (await self.look(func, name, id=id, workload=workload)).job

    async def look(
        self,
        func: str,
        name: str,
        *,
        id: int | None = None,  # noqa: A002
        workload: bool = False,
        data: bool = False,
    ) -> Look:
        """As ``get``, with who runs the job, and how the last one of its name ended. ``data``: with its result."""
        options = {"id": id, "workload": workload} | ({"data": True} if data else {})
        answer = await self.request("get", func, name, options)
        return Look(*[answer.get(key) for key in Look._fields])

    async def explain(self, func: str, name: str, *, id: int | None = None) -> GateMaps:  # noqa: A002
        """Why the job does not run: what is closed to it, with the keys of protocol.md. Nothing: it is about to run.

        With ``id`` only the job that has it, also one behind another.
        """
        answer = await self.request("explain", func, name, {"id": id})
        gates: GateMaps = answer["gates"]
        return gates

    async def list_page(
        self,
        func: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
        **more: Unpack[More],
    ) -> tuple[JobMaps, str | None]:
        """A page of jobs, oldest first, and what to pass as ``after`` for the next one: None after the last.

        ``state``: "waiting", "running", "behind", "dead" or "parked". A page may be short, even empty, and not be the
        last.
        """
        page = await self.request("list", {"func": func, "state": state, "after": after, "limit": limit, **more})
        return page["jobs"], page.get("next")

    def list(self, func: str | None = None, state: str | None = None, **more: Unpack[More]) -> AsyncIterator[JobMap]:
        """All jobs, oldest first, fetched a page at a time; what is submitted or removed meanwhile may show or not.

        With both a function and a prefix they come by name. While the daemon makes as many pages as it can, the next
        one waits its turn, for ``timeout_s`` at the most.
        """

        async def page(after: str | None) -> tuple[JobMaps, str | None]:
            query = {"func": func, "state": state, "after": after, "limit": limits.LISTING_MAX, **more}
            answer = await self._in_turn("list", query)
            return answer["jobs"], answer.get("next")

        return Pages(page)

    # -- the daemon ----------------------------------------------------------------------------------------------------

    async def status(
        self, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> dict[str, Any]:
        """What the daemon is doing, with a page of its functions; the keys are in protocol.md.

        ``prefix``: only functions that begin so. ``after``: the ``next`` of the page before, which is None on the last.
        ``limit``: how many functions at the most; the daemon's own default is 100.
        """
        status: dict[str, Any] = await self.request("status", {"prefix": prefix, "after": after, "limit": limit})
        return status

    def functions(self, prefix: str | None = None) -> AsyncIterator[FunctionMap]:
        """All functions with a job, a worker or settings, sorted, as ``status`` shows them; a page at a time."""

        async def page(after: str | None) -> tuple[list[FunctionMap], str | None]:
            status = await self.status(prefix, after, limits.LISTING_MAX)
            return status["functions"], status.get("next")

        return Pages(page)

    async def set_function(self, func: str, settings: FunctionSettings | None = None) -> None:
        """All that is set of a function, in place of what was set before; without settings nothing is."""
        await self.request("set_function", func, (settings or FunctionSettings()).to_wire())

    async def pause(self, func: str) -> None:
        """Give out no jobs of the function until ``resume``. What runs goes on; jobs can be submitted."""
        await self.request("pause", func)

    async def resume(self, func: str) -> None:
        """Give out the jobs of a paused function again."""
        await self.request("resume", func)

    async def set_lock(self, name: str, *, capacity: int | None = None, rate: Rate | None = None) -> None:
        """All that is set of a lock, in place of what was set before; what is not given is not set any more.

        ``capacity``: how much of it can be held at once, 1 if that is not set. ``rate``: how often it is taken, by the
        runs of all functions together. What holds it by now keeps it.
        """
        limit = None if rate is None else rate.to_wire()
        await self.request("set_lock", name, {"capacity": capacity, "rate": limit})

    def locks(self, prefix: str | None = None) -> AsyncIterator[LockMap]:
        """All locks that somebody holds or waits for, or of which something is set, by name; a page at a time."""

        async def page(after: str | None) -> tuple[list[LockMap], str | None]:
            answer = await self.request("locks", {"prefix": prefix, "after": after, "limit": limits.LISTING_MAX})
            return answer["locks"], answer.get("next")

        return Pages(page)

    def workers(self, func: str | None = None) -> AsyncIterator[WorkerMap]:
        """Who takes jobs, in the order in which they came, fetched a page at a time; only those of ``func``, if given.

        Who asks for jobs with ``take`` is not among them.
        """

        async def page(after: str | None) -> tuple[list[WorkerMap], str | None]:
            answer = await self.request("workers", {"func": func, "after": after, "limit": limits.LISTING_MAX})
            return answer["workers"], answer.get("next")

        return Pages(page)

    async def ping(self) -> None:
        """Return if the daemon answers."""
        await self.request("ping")

    async def hello(self) -> dict[str, Any]:
        """The daemon's version, limits and durability; the keys are in protocol.md."""
        answer: dict[str, Any] = await self.request("hello")
        return answer

    async def shutdown(self) -> None:
        """Stop the daemon. It was told; it may still wait for running jobs."""
        await self.request("shutdown")


def _submitted(answer: dict[str, Any]) -> Submitted:
    return Submitted(answer["result"], answer["id"])


def _each_submitted(answer: dict[str, Any]) -> list[Submitted]:
    return [Submitted(*each) for each in zip(answer["results"], answer["ids"], strict=True)]


class _Pipeline:
    """Submits in flight: what was answered, what failed first, and how many are not answered yet."""

    def __init__(self, session: Session) -> None:
        self.answers: list[Any] = []
        """In the order of the jobs; None until it has come."""
        self.failure: Exception | None = None
        self.in_flight = 0
        self._session = session
        self._goal = 0
        self._reached = trio.Event()

    def submit(self, job: NewJob) -> None:
        answer = partial(self._answer, len(self.answers), job)
        self.answers.append(None)
        self.in_flight += 1
        try:
            self._session.call("submit", (job.to_wire(),), answer)
        except (PeriodicError, ConnectionLost) as error:
            answer(error, None)

    def _answer(self, index: int, job: NewJob, error: Exception | None, answer: Any) -> None:
        self.in_flight -= 1
        if error is None:
            self.answers[index] = answer
        elif self.failure is None:
            error.add_note(f"submit_many: jobs[{index}], {job.func} {job.name}")
            self.failure = error
        if self.in_flight <= self._goal:
            self._reached.set()

    async def wait_until(self, in_flight: int) -> None:
        self._goal = in_flight
        while self.in_flight > in_flight:
            self._reached = trio.Event()
            await self._reached.wait()
