"""What is promised of schedules: each instant is dealt with once, and what becomes of it is as it was said."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from periodicd import calendar
from periodicd.clock import Now
from periodicd.function import NOTHING_SET
from periodicd.job import Job, State
from periodicd.schedule import MISSED_AFTER_MS, Schedule
from tests.sim.book import Book, Broken
from tests.sim.network import Asked
from tests.sim.store import Image

CHANGES = ("set_schedule", "remove_schedule", "pause_schedule", "resume_schedule")


class Schedules:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._fired: dict[str, set[str]] = {}
        """Of each schedule, since it was set for the first time, the occurrences of its instants."""
        self.fired = 0
        """Instants of all of them."""
        self.begin()

    def begin(self) -> None:
        """A step has ended, and what it says is judged next."""
        self._changed: set[str] = set()
        self._removed: set[str] = set()
        self._run: set[str] = set()
        self._run_ids: set[int] = set()

    def answered(self, asked: Asked, result: dict[str, Any]) -> None:
        name, word = str(asked.params[0]) if asked.params else "", result.get("result")
        if asked.method == "run_schedule":
            self._run.add(name)
            self._run_ids |= {result["id"]} - {None}
        elif asked.method in CHANGES and word not in ("kept", "absent"):
            self._changed.add(name)
            if word == "removed":
                self._removed.add(name)

    def cut_off(self, before: Image, after: Image, asked: list[Asked]) -> None:
        """Nobody heard of the step, but all of it may be on disk. ``asked``: what it may have heard."""
        self.begin()
        for each in asked:
            if each.method in CHANGES and each.params[0] in before.schedules:
                self._changed.add(each.params[0])
            if each.method == "remove_schedule":
                self._removed.add(each.params[0])
            if each.method == "run_schedule":
                self._run.add(each.params[0])
        for name in self._removed:
            self._fired.pop(name, None)
        for job in self._new(before, after):
            name = self._schedule_of(job)
            if name not in self._run:
                self._is_new(name, job)

    def check(self, before: Image, after: Image, now: Now) -> None:
        """After every step that ended well."""
        for name in self._removed:
            self._fired.pop(name, None)
        new: dict[str, list[Job]] = {}
        for job in self._new(before, after):
            if job.id not in self._run_ids:
                name = self._schedule_of(job)
                new.setdefault(name, []).append(job)
                self._is_new(name, job)
        for name, schedule in after.schedules.items():
            old = before.schedules.get(name)
            if old is not None and name not in self._removed and schedule.fired_at_ms < old.fired_at_ms:
                raise Broken(f"schedule {name} goes back: {old}, {schedule}")
            if not schedule.paused and calendar.count(schedule.recurrence, schedule.fired_at_ms, now.wall_ms, 1):
                raise Broken(f"schedule {name} has an instant that passed, at {now}: {schedule}")
            fired = new.pop(name, [])
            if name in self._changed:
                # One that is resumed, and was not paused, fires all the same.
                if [job.name for job in fired] not in ([], [f"{name}@{calendar.instant_text(schedule.fired_at_ms)}"]):
                    raise Broken(f"{schedule} was changed, and fires {fired}")
            else:
                if old is None:
                    raise Broken(f"nobody has set {schedule}")
                Judged(name, old, schedule, fired, now).judge(before, after, has_run=name in self._run)
        if new:
            raise Broken(f"these occurrences have no instant: {new}")

    def _new(self, before: Image, after: Image) -> Iterator[Job]:
        """Occurrences; of those that are requeued there was one that was dead."""
        dead = {job.key for job in before.jobs.values() if job.state is State.DEAD}
        for job in after.jobs.values():
            if job.id not in before.jobs and self._book.is_occurrence(job.workload) and job.key not in dead:
                yield job

    def _schedule_of(self, job: Job) -> str:
        return job.name.rpartition("@")[0]

    def _is_new(self, name: str, job: Job) -> None:
        fired = self._fired.setdefault(name, set())
        if job.name in fired:
            raise Broken(f"{job} is put twice")
        fired.add(job.name)
        self.fired += 1


class Judged:
    """A schedule that a step left as it was set: whether what became of its instants is as it should."""

    def __init__(self, name: str, old: Schedule, schedule: Schedule, fired: list[Job], now: Now) -> None:
        self._name = name
        self._old = old
        self._schedule = schedule
        self._fired = fired
        self._now_ms = now.wall_ms

    def judge(self, before: Image, after: Image, has_run: bool) -> None:
        old, schedule = self._old, self._schedule
        if replace(old, fired_at_ms=schedule.fired_at_ms, last_id=schedule.last_id) != schedule:
            raise self._broken("nobody has changed")
        at_ms = None if old.paused else calendar.latest(old.recurrence, old.fired_at_ms, self._now_ms)
        if at_ms is None:
            if self._fired or schedule.fired_at_ms != old.fired_at_ms:
                raise self._broken("no instant has passed of")
            return
        if schedule.fired_at_ms != at_ms:
            raise self._broken(f"{at_ms} is the last instant that has passed of")
        is_missed = old.missed == "skip" and self._now_ms - at_ms > MISSED_AFTER_MS
        occurrence = f"{self._name}@{calendar.instant_text(at_ms)}"
        if is_missed or (not has_run and self._is_live(before) and self._is_live(after)):
            if self._fired:
                raise self._broken("missed, or the last occurrence is live, of")
        elif not self._fired:
            if not has_run and not any(self._may_hinder(image, occurrence) for image in (before, after)):
                raise self._broken(f"{occurrence} is left out of")
        else:
            self._has_fired(occurrence, at_ms)

    def _has_fired(self, occurrence: str, at_ms: int) -> None:
        job, *more = self._fired
        if more or job.name != occurrence or self._schedule.last_id != job.id:
            raise self._broken(f"{occurrence} is the one that fires of")
        if not at_ms <= job.due_at_ms <= max(self._now_ms, at_ms + self._old.jitter_ms):
            raise self._broken("not due at its instant, of")

    def _is_live(self, image: Image) -> bool:
        """The last occurrence, if that matters."""
        last = image.jobs.get(self._old.last_id)
        return self._old.overlap == "skip" and last is not None and last.state is not State.DEAD

    def _may_hinder(self, image: Image, occurrence: str) -> bool:
        func = self._old.job["func"]
        live = [job.name for job in image.jobs.values() if job.func == func and job.state is not State.DEAD]
        queue_max = image.functions.get(func, NOTHING_SET).queue_max
        is_full = queue_max is not None and len(live) >= queue_max
        return is_full or occurrence in live or self._is_live(image)

    def _broken(self, what: str) -> Broken:
        return Broken(f"{what} schedule {self._name}: {self._old}, {self._schedule}, {self._fired} at {self._now_ms}")
