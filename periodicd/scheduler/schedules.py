"""Schedules: what is submitted again and again, and when. Each instant is dealt with once, whatever the clock does.

An instant *fires*: an occurrence is submitted, a job of the schedule's name with the instant. Or it is *left out*, as
the last occurrence is live; or it was *missed*, as the daemon came to it too late. In the same commit its row
says that it is dealt with, so no crash doubles one. Of several that have passed only the last can fire.

All schedules are in memory; when the next instant is, is calendar.py's.
"""

from typing import Literal, NamedTuple
from zlib import crc32

from msgspec.structs import replace
from sortedcontainers import SortedDict

from periodic_client.wire import Invalid
from periodic_client.wire.limits import SCHEDULES_MAX
from periodicd import calendar
from periodicd.protocol import order as checks
from periodicd.protocol import requests
from periodicd.schedule import MISSED_AFTER_MS, Schedule
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.events import UnknownZone
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.timers import Deadlines
from periodicd.store import order
from periodicd.store.ops import PutResult

FIRED_A_STEP = 256
"""The rest waits for the next one."""


class Set(NamedTuple):
    result: Literal["created", "replaced", "kept"]
    next_at_ms: int | None


class Schedules:
    def __init__(
        self,
        step: Step,
        settings: Settings,
        jobs: Jobs,
        functions: Functions,
        ring: EventRing,
        known: dict[str, Schedule],
    ) -> None:
        self._step = step
        self._settings = settings
        self._jobs = jobs
        self._functions = functions
        self._ring = ring
        self.known: SortedDict[str, Schedule] = SortedDict(known)
        """Not to be changed elsewhere."""
        self._due: Deadlines[str] = Deadlines()
        """Their next instants (wall clock)."""
        for name, schedule in known.items():
            self._await_next(name)
            if calendar.check_zone(schedule.recurrence.zone) is not None:
                step.tell(UnknownZone(name, schedule.recurrence.zone))

    # -- set -----------------------------------------------------------------------------------------------------------

    def set(self, said: checks.SetSchedule) -> Set:
        """One that is set again as it was goes on as it did. Raises Invalid."""
        now_ms, old, recurrence = self._step.now.wall_ms, self.known.get(said.name), said.schedule.recurrence
        if old is None and len(self.known) >= SCHEDULES_MAX:
            raise Invalid(f"there are {SCHEDULES_MAX:,} schedules already; remove one")
        if recurrence.every_ms is not None and not said.has_from:
            goes_on = old is not None and old.recurrence.every_ms == recurrence.every_ms
            from_at_ms = old.recurrence.from_at_ms if old is not None and goes_on else now_ms
            recurrence = replace(recurrence, from_at_ms=from_at_ms)
        schedule = replace(said.schedule, recurrence=recurrence, fired_at_ms=now_ms)
        if old is None:
            self._keep(said.name, schedule)
            return Set("created", self.next_at_ms(said.name))
        past = {"paused": old.paused, "last_id": old.last_id}
        if replace(schedule, fired_at_ms=old.fired_at_ms, **past) == old:
            return Set("kept", self.next_at_ms(said.name))
        self._keep(said.name, replace(schedule, fired_at_ms=max(old.fired_at_ms, now_ms), **past))
        return Set("replaced", self.next_at_ms(said.name))

    def remove(self, name: str) -> bool:
        """Whether there was one. Its occurrences stay."""
        self._due.discard(name)
        if self.known.pop(name, None) is None:
            return False
        self._step.write(order.SetSchedule(name, None))
        return True

    def pause(self, name: str, paused: bool) -> bool:
        """Or resume: what passed meanwhile is not made up for. Whether there is one."""
        old = self.known.get(name)
        if old is not None and old.paused != paused:
            fired_at_ms = old.fired_at_ms if paused else max(old.fired_at_ms, self._step.now.wall_ms)
            self._keep(name, replace(old, paused=paused, fired_at_ms=fired_at_ms))
        return old is not None

    def _keep(self, name: str, schedule: Schedule) -> None:
        self.known[name] = schedule
        self._step.write(order.SetSchedule(name, schedule))
        self._await_next(name)

    # -- looking -------------------------------------------------------------------------------------------------------

    def next_at_ms(self, name: str) -> int | None:
        """None: never again, or not while it is paused."""
        return self._due.get(name)

    def next_times(self, name: str, count: int) -> list[int]:
        """Without the jitter."""
        schedule, times = self.known[name], list[int]()
        at_ms: int | None = schedule.fired_at_ms
        while not schedule.paused and at_ms is not None and len(times) < count:
            at_ms = _after(schedule, at_ms)
            times += [] if at_ms is None else [at_ms]
        return times

    # -- firing --------------------------------------------------------------------------------------------------------

    def run(self, name: str, then: Then[PutResult | None]) -> None:
        """An occurrence now, beside those of the instants."""
        self._fire(name, self.known[name], self._step.now.wall_ms, then)

    def _await_next(self, name: str) -> None:
        schedule = self.known[name]
        next_at_ms = None if schedule.paused else _after(schedule, schedule.fired_at_ms)
        if next_at_ms is None:
            self._due.discard(name)
        else:
            self._due.set(name, next_at_ms)

    def _deal_with(self, name: str) -> None:
        """With the instants that have passed."""
        schedule, now_ms = self.known[name], self._step.now.wall_ms
        at_ms = calendar.latest(schedule.recurrence, schedule.fired_at_ms, now_ms)
        if at_ms is not None:
            schedule = replace(schedule, fired_at_ms=at_ms)
            if schedule.missed == "skip" and now_ms - at_ms > MISSED_AFTER_MS:
                self._keep(name, schedule)
                self._note("missed", name, schedule, calendar.instant_text(at_ms))
            else:
                self._fire(name, schedule, at_ms)
        self._await_next(name)

    def _fire(self, name: str, schedule: Schedule, at_ms: int, then: Then[PutResult | None] | None = None) -> None:
        self.known[name] = schedule
        occurrence = f"{name}@{calendar.instant_text(at_ms)}"
        now_ms, known = self._step.now.wall_ms, self._functions.known
        try:
            rules = requests.Rules(now_ms, self._settings.workload_bytes, known)
            submission = checks.occurrence(schedule.job, occurrence, rules)
        except Invalid as error:
            # The daemon may have been told since that workloads are smaller.
            self._keep(name, schedule)
            self._note("left_out", name, schedule, str(error))
            if then is not None:
                then(None)
            return
        job = submission.job
        job.due_at_ms = max(now_ms, at_ms + crc32(occurrence.encode()) % (schedule.jitter_ms + 1))
        job.dated = job.due_at_ms > now_ms

        def on_fired(put: PutResult | None) -> None:
            if put is None or put.id != job.id:
                self._note("left_out", name, schedule, occurrence)
            elif (now := self.known.get(name)) is not None:
                self.known[name] = replace(now, last_id=put.id)
                if now is not schedule:
                    # Changed later in this step, before the id was known: so its row does not have it.
                    self._step.write(order.SetSchedule(name, self.known[name]))
            if then is not None:
                then(put)

        unless_live = schedule.last_id if schedule.overlap == "skip" and schedule.last_id else None
        self._jobs.fire(name, schedule, submission, unless_live, on_fired)

    def _note(self, how: str, name: str, schedule: Schedule, text: str) -> None:
        """Of one that may be removed by now."""
        if self._ring.is_on:
            self._ring.note(how, schedule.job["func"], name=name, text=text)

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        if not self.known:
            return
        due = self._due.pop_due(self._step.now.wall_ms)
        for _, name in zip(range(FIRED_A_STEP), due, strict=False):
            self._deal_with(name)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        at_ms = self._due.next_ms() if self.known else None
        return None if at_ms is None else at_ms - self._step.now.wall_ms


def _after(schedule: Schedule, at_ms: int) -> int | None:
    """None too if this machine does not know the zone: the file may have come from another."""
    known = calendar.check_zone(schedule.recurrence.zone) is None
    return calendar.after(schedule.recurrence, at_ms) if known else None
