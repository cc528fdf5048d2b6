"""Clients that set schedules, again and otherwise, and do with them whatever can be done."""

from random import Random
from typing import Any

from periodicd.clock import Now
from periodicd.protocol import order_fields
from tests.sim.actors import FUNCS, SCHEDULES, SUBMITTER_ACTS, Acts, Submitter
from tests.sim.book import Book
from tests.sim.ranges import words

CRONS = ("* * * * *", "*/2 * * * *", "10-30 22,23 * * *", "*/3 0-8 * * TUE,WED")
ZONES = (None, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu")


class Planner(Submitter):
    def __init__(self, rng: Random, book: Book) -> None:
        super().__init__(rng, book)
        self._options: dict[str, dict[str, Any]] = {}
        """As they were sent last."""

    def act(self, now: Now) -> None:
        self.choose(PLANNER_ACTS if self.rng.random() < 0.5 else SUBMITTER_ACTS, now)

    def set(self, now: Now) -> None:
        rng, name = self.rng, self._name()
        func = rng.choice(FUNCS)
        version = self.book.schedule(func, name)
        job = {
            "func": func, "workload": b"%d." % version.number, "lease_ms": rng.choice((1_000, 5_000)),
            "result_ms": rng.choice((None, 60_000)), "locks": rng.choice((None, None, {"k": 1})),
        }  # fmt: skip
        self._options[name] = self._recurrence(now) | {
            "job": job,
            "jitter_ms": self.number(order_fields.ScheduleOptions, "jitter_ms", None, 0, 500, 5_000),
            "missed": rng.choice((None, *words(order_fields.ScheduleOptions, "missed"))),
            "overlap": rng.choice((None, *words(order_fields.ScheduleOptions, "overlap"))),
        }
        self.ask("set_schedule", name, self._options[name])

    def _recurrence(self, now: Now) -> dict[str, Any]:
        rng = self.rng
        if rng.random() < 0.4:
            said: dict[str, Any] = {"cron": rng.choice(CRONS), "zone": rng.choice(ZONES)}
        else:
            said = {"every_ms": self.number(order_fields.ScheduleOptions, "every_ms", 1_000, 1_700, 7_000, 40_000)}
        from_at_ms = rng.choice((None, None, now.wall_ms - 100_000, now.wall_ms + 3_000))
        until_at_ms = rng.choice((None, None, now.wall_ms + 30_000))
        return said | {"from_at_ms": from_at_ms, "until_at_ms": until_at_ms}

    def set_again(self, now: Now) -> None:
        """As it was, or with one thing changed."""
        name = self._name()
        if name in self._options:
            overlap = self.rng.choice((self._options[name]["overlap"], "queue"))
            self._options[name] = self._options[name] | {"overlap": overlap}
            self.ask("set_schedule", name, self._options[name])

    def remove_schedule(self, now: Now) -> None:
        self.ask("remove_schedule", self._name())

    def pause_schedule(self, now: Now) -> None:
        self.ask("pause_schedule", self._name())

    def resume_schedule(self, now: Now) -> None:
        self.ask("resume_schedule", self._name())

    def run(self, now: Now) -> None:
        self.ask("run_schedule", self._name())

    def next_times(self, now: Now) -> None:
        count = self.number(order_fields.NextTimesOptions, "count", None, 3)
        self.ask("next_times", self._name(), {"count": count})

    def list_schedules(self, now: Now) -> None:
        limit = self.number(order_fields.SchedulesQuery, "limit", 1, None)
        self.ask("list_schedules", {"limit": limit, "after": self.rng.choice((None, "x"))})

    def cancel_occurrences(self, now: Now) -> None:
        self._change("cancel_matching", {"prefix": f"{self._name()}@"}, {}, about=[])

    def _name(self) -> str:
        return self.rng.choice(SCHEDULES)


PLANNER_ACTS: Acts = (
    (30, Planner.set),
    (15, Planner.set_again),
    (4, Planner.remove_schedule),
    (5, Planner.pause_schedule),
    (10, Planner.resume_schedule),
    (8, Planner.run),
    (2, Planner.next_times),
    (6, Planner.list_schedules),
    (4, Planner.cancel_occurrences),
)
