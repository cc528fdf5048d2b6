"""What a client does with schedules: jobs that are submitted again and again, and when.

Each method here is one request of protocol.md; when a schedule fires, and what an instant means, is for the daemon to
say. Nothing here looks at a clock or knows a zone.
"""

from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple

from periodic_client.connected import Connected
from periodic_client.outcomes import ScheduledJob
from periodic_client.pages import Pages
from periodic_client.wire import limits

ScheduleMap = dict[str, Any]
"""A schedule as ``schedules`` shows it; the keys are in protocol.md (``list_schedules``)."""


class Scheduled(NamedTuple):
    """What became of a schedule that was set."""

    result: str
    """What happened: "created", "replaced", or "kept": it was the same already; later daemons may know more."""
    next_at_ms: int | None
    """Its next instant. None: there is none, or it is paused."""


class Fired(NamedTuple):
    """What became of a schedule that was to fire."""

    result: str
    """What happened: "fired", "left_out" (its last occurrence is live, or its function has as many jobs as it may), or
    "absent".
    """
    id: int | None
    """Of the occurrence, if it fired."""


class Scheduling(Connected):
    """The part of Client for schedules."""

    async def set_schedule(
        self,
        name: str,
        job: ScheduledJob,
        *,
        every_ms: int | None = None,
        cron: str | None = None,
        zone: str | None = None,
        jitter_ms: int | None = None,
        missed: Literal["skip", "once"] | None = None,
        overlap: Literal["skip", "queue"] | None = None,
        from_at_ms: int | None = None,
        until_at_ms: int | None = None,
    ) -> Scheduled:
        """Submit ``job`` again and again: all that there is to say of the schedule, in place of what was set before.

        It fires every ``every_ms``, or when ``cron`` says ("30 2 * * *") by the clocks of ``zone``, the name of an IANA
        time zone, UTC without one. One that is set again as it was goes on as it did, so do it at each start.

        ``jitter_ms``: each occurrence is due up to so much later. ``missed``: of instants that the daemon comes to more
        than a minute late, all are left out ("skip"), or the last one fires ("once"). ``overlap``: an instant at which
        the last occurrence waits or runs is left out ("skip"), or its job is submitted all the same ("queue"). No
        instant is before ``from_at_ms``, from which ``every_ms`` is counted; all are before ``until_at_ms``. What is
        None is left to the daemon's defaults: no jitter, "skip" and "skip", from now, for ever.
        """
        options = {
            "job": job.to_wire(), "every_ms": every_ms, "cron": cron, "zone": zone, "jitter_ms": jitter_ms,
            "missed": missed, "overlap": overlap, "from_at_ms": from_at_ms, "until_at_ms": until_at_ms,
        }  # fmt: skip
        answer = await self.request("set_schedule", name, options)
        return Scheduled(answer["result"], answer.get("next_at_ms"))

    async def remove_schedule(self, name: str) -> str:
        """No more of it: "removed" or "absent". Its occurrences stay."""
        answer = await self.request("remove_schedule", name)
        return str(answer["result"])

    async def pause_schedule(self, name: str) -> str:
        """It does not fire until ``resume_schedule``: "paused" or "absent". What it fired before runs all the same."""
        answer = await self.request("pause_schedule", name)
        return str(answer["result"])

    async def resume_schedule(self, name: str) -> str:
        """Go on with its next instant: "resumed" or "absent". What passed meanwhile is not made up for."""
        answer = await self.request("resume_schedule", name)
        return str(answer["result"])

    async def run_schedule(self, name: str) -> Fired:
        """An occurrence now, beside those of its instants, also of one that is paused."""
        answer = await self.request("run_schedule", name)
        return Fired(answer["result"], answer.get("id"))

    async def next_times(self, name: str, count: int | None = None) -> list[int] | None:
        """Its next instants, in milliseconds since 1970-01-01T00:00Z, or None if there is no such schedule.

        None are in the list if it is paused or will not fire again. ``count``: how many, up to 100; the daemon's own
        default is 5.
        """
        answer = await self.request("next_times", name, {"count": count})
        times: list[int] = answer["times"]
        return times if answer["result"] == "found" else None

    def schedules(self, prefix: str | None = None) -> AsyncIterator[ScheduleMap]:
        """All schedules by name, without the workloads of their jobs; a page at a time."""

        async def page(after: str | None) -> tuple[list[ScheduleMap], str | None]:
            query = {"prefix": prefix, "after": after, "limit": limits.LISTING_MAX}
            answer = await self.request("list_schedules", query)
            return answer["schedules"], answer.get("next")

        return Pages(page)
