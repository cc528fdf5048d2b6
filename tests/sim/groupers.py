"""Clients that submit groups, add to them, and do with a group's job and its members whatever can be done with jobs."""

from random import Random
from typing import Any

from periodicd.clock import Now
from tests.sim.actors import FUNCS, NAMES, SUBMITTER_ACTS, Acts, Submitter
from tests.sim.book import Book, Version


class Grouper(Submitter):
    def __init__(self, rng: Random, book: Book) -> None:
        super().__init__(rng, book)
        self._groups: list[tuple[str, str]] = []
        """By the names of their jobs, those that were submitted."""
        self._members: dict[tuple[str, str], list[tuple[str, str]]] = {}
        """As they were submitted last."""

    def act(self, now: Now) -> None:
        self.choose(GROUPER_ACTS if self.rng.random() < 0.5 else SUBMITTER_ACTS, now)

    def submit_group(self, now: Now) -> None:
        self._groups.append(self._key())
        self._submit(now, self._groups[-1])

    def add_to_group(self, now: Now) -> None:
        """Or the same once more, of which nobody knows whether it is open."""
        self._submit(now, self._group())

    def _submit(self, now: Now, key: tuple[str, str]) -> None:
        rng = self.rng
        then, *jobs = self._job(now, key=key), *(self._job(now) for _ in range(rng.choice((0, 1, 2, 2, 5))))
        jobs = [each for each in jobs if each[1].key != key]
        self._members[key] = [version.key for _, version in jobs]
        versions = [version for _, version in (then, *jobs)]
        group = {"then": then[0], "jobs": [job for job, _ in jobs], "sealed": rng.choice((None, True, False))}
        self._change("submit_group", group, versions=versions, about=[version.key for version in versions])

    def cancel_group(self, now: Now) -> None:
        self._take_away("cancel", self._group(), {"reason": "not wanted"})

    def remove_group(self, now: Now) -> None:
        self._take_away("remove", self._group(), None)

    def move_group(self, now: Now) -> None:
        self.ask("move", *self._group(), self.rng.choice(({"priority": -1}, {"delay_ms": 0}, {"delay_ms": 2_000})))

    def end_and_move_group(self, now: Now) -> None:
        """Perhaps it goes free in the very step in which it is moved."""
        key = self._group()
        for member in self._members.get(key, ()):
            self._take_away("remove", member, None)
        self.ask("move", *key, {"priority": 3})

    def explain_group(self, now: Now) -> None:
        self.ask("explain", *self._group())

    def get_group(self, now: Now) -> None:
        self.ask("get", *self._group(), {"data": False})

    def list_members(self, now: Now) -> None:
        self.ask("list", {"group_id": self._ids.get(self._group())})

    def cancel_members(self, now: Now) -> None:
        """Those that wait."""
        group_id = self._ids.get(self._group())
        keys = [(func, name) for func in FUNCS for name in NAMES]
        if group_id is not None:
            for key in keys:
                self.book.excuse_many(*key, "waiting", None)
                self.book.sent["cancel", key] += 1
            self._change("cancel_matching", {"group_id": group_id, "state": "waiting"}, {}, about=keys)

    def _group(self) -> tuple[str, str]:
        return self.rng.choice(self._groups[-3:]) if self._groups else self._key()

    def answered(self, method: str, memo: Any, error: str | None, result: Any, now: Now) -> None:
        if method != "submit_group":
            super().answered(method, memo, error, result, now)
            return
        versions: list[Version]
        versions, flights = memo
        for flight in flights:
            self.book.lands(flight)
        if error is not None:
            for version in versions if error.startswith("FULL") else ():
                version.unwanted = True
            return
        words = [result["result"], *(result["results"] or ["kept"] * (len(versions) - 1))]
        ids = [result["id"], *(result["ids"] or [None] * (len(versions) - 1))]
        for version, word, job_id in zip(versions, words, ids, strict=True):
            self._is_put(version, word, job_id)


GROUPER_ACTS: Acts = (
    (40, Grouper.submit_group),
    (20, Grouper.add_to_group),
    (4, Grouper.cancel_group),
    (4, Grouper.remove_group),
    (15, Grouper.move_group),
    (8, Grouper.end_and_move_group),
    (6, Grouper.explain_group),
    (4, Grouper.get_group),
    (2, Grouper.list_members),
    (2, Grouper.cancel_members),
)
