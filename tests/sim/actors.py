"""Who speaks to the daemon: submitters, and workers that are honest, slow, dying or rude. All chance is the world's.

An actor sees only what its link delivers. To add a message, add it where an actor acts, and what its answer means to
``answered``.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from periodic_client.wire import Notification, Request, Response
from periodicd.clock import Now
from tests.sim.network import Link
from tests.sim.promises import Book, Version, token

FUNCS = ("f", "g", "h")
EXISTING = ("replace", "replace", "replace", "keep", "keep_live", "refuse", None)
NAMES = tuple("abcdefghijklmnopqrst")
RICH = ("final", "delay_ms", "submit")
"""What an error that is only a text cannot say."""


class Actor:
    def __init__(self, rng: Random, book: Book) -> None:
        self.rng = rng
        self.book = book
        self.link: Link | None = None

    def connected(self, link: Link) -> None:
        self.link = link

    def act(self, now: Now) -> None:
        """Do something of one's own accord; the link is up."""

    def hear(self, message: Request | Response | Notification, now: Now) -> None:
        if isinstance(message, Response) and message.msgid is not None:
            assert self.link is not None
            method, memo = self.link.asked.pop(message.msgid)
            assert message.error is not None or type(message.result) is dict, "every answer is a map"
            self.answered(method, memo, message.error, message.result)

    def answered(self, method: str, memo: Any, error: str | None, result: Any) -> None:
        """A request of this actor was answered."""


class Submitter(Actor):
    def __init__(self, rng: Random, book: Book) -> None:
        super().__init__(rng, book)
        self._flights: list[int] = []
        self._ids: dict[tuple[str, str], int] = {}
        """As they were last answered."""

    def connected(self, link: Link) -> None:
        super().connected(link)
        for flight in self._flights:
            self.book.lands(flight)
        self._flights = []

    def _ask(
        self, method: str, *params: Any, versions: Sequence[Version] = (), about: Sequence[tuple[str, str]]
    ) -> None:
        assert self.link is not None
        flights = [self.book.takes_off(func, name) for func, name in about]
        self._flights += flights
        self.link.ask(method, *params, memo=(versions, flights))

    def act(self, now: Now) -> None:
        assert self.link is not None
        rng = self.rng
        func, name = rng.choice(FUNCS), rng.choice(NAMES)
        choice = rng.random()
        if choice < 0.70:
            job, version = self._job(now)
            self._ask("submit", job, versions=[version], about=[version.key])
        elif choice < 0.80:
            jobs = [self._job(now) for _ in range(rng.randrange(10))]
            versions = [version for _, version in jobs]
            self._ask(
                "submit_batch", [job for job, _ in jobs], versions=versions, about=[each.key for each in versions]
            )
        elif choice < 0.86:
            self.book.excuse(func, name, "a remove was sent")
            self._ask("remove", func, name, self._maybe_id(func, name), about=[(func, name)])
        elif choice < 0.91:
            self.link.ask("requeue", func, name, self._maybe_id(func, name))
        else:
            self._look(func, name)

    def _maybe_id(self, func: str, name: str) -> dict[str, Any] | None:
        """The id that was seen last, perhaps an old one, or none."""
        return {"id": self._ids.get((func, name))} if self.rng.random() < 0.5 else None

    def _look(self, func: str, name: str) -> None:
        assert self.link is not None
        rng = self.rng
        self.link.ask(
            *rng.choice((
                ("get", func, name),
                ("get", func, name, {"workload": True, "id": self._ids.get((func, name))}),
                ("list", {"limit": 3, "after": rng.choice((None, "j3"))}),
                ("status", {"limit": rng.choice((1, None)), "after": rng.choice((None, "f"))}),
                ("hello", {"client": "sim", "not yet known": 1}),
                ("ping",),
                ("oops", 1),
            ))
        )  # fmt: skip

    def _job(self, now: Now) -> tuple[dict[str, Any], Version]:
        rng = self.rng
        existing = rng.choice(EXISTING)
        version = self.book.submit(rng.choice(FUNCS), rng.choice(NAMES), existing)
        job = {
            "func": version.func,
            "name": version.name,
            "workload": b"%d.%s" % (version.number, b"x" * rng.choice((0, 0, 30))),
            "priority": rng.choice((0, 0, 0, -1, 5)),
            "lease_ms": rng.choice((1_000, 5_000, 60_000)),
            "retry": {"limit": rng.choice((0, 1, 5)), "backoff": "fixed", "delay_ms": rng.choice((0, 100, 3_000))},
            "existing": existing,
            "headers": rng.choice((None, {}, {"a": "b"})),
        }
        if rng.random() < 0.5:
            job["delay_ms"] = rng.choice((0, 1, 50, 2_000, 20_000))
        elif rng.random() < 0.5:
            job["due_at_ms"] = rng.choice((0, now.wall_ms + rng.randrange(-5_000, 5_000)))
        return job, version

    def answered(self, method: str, memo: Any, error: str | None, result: Any) -> None:
        if memo is None:
            return
        versions, flights = memo
        for flight in flights:
            self.book.lands(flight)
        if error is not None or method == "remove":
            return
        results = result["results"] if method == "submit_batch" else [result["result"]]
        ids = result["ids"] if method == "submit_batch" else [result["id"]]
        for version, word, job_id in zip(versions, results, ids, strict=True):
            self._ids[version.key] = job_id
            version.acknowledged = word in ("created", "replaced", "queued_behind")
            version.unwanted = word in ("kept", "refused")


class Worker(Actor):
    """``manners``: honest, slow (outlives its leases), dying (cuts its connection), rude (says what it likes)."""

    def __init__(self, rng: Random, book: Book, manners: str) -> None:
        super().__init__(rng, book)
        self.manners = manners
        self.runs: list[tuple[int, int | None, dict[str, Any]]] = []
        """When each is over, its msgid on this link, its job."""
        self.unreported: list[tuple[dict[str, Any], Any]] = []
        """Outcomes that a lost link kept from being delivered."""
        self.wants_to_die = False

    def connected(self, link: Link) -> None:
        super().connected(link)
        rng = self.rng
        self.wants_to_die = False
        self.runs = [(over_ms, None, job) for over_ms, _, job in self.runs]
        link.ask("hello", {"credit": rng.choice((1, 3, 1000)), "disconnect_grace_ms": rng.choice((0, None, 2_000))})
        for job, outcome in self.unreported:
            self._finish(job, outcome)
        self.unreported = []
        for _, _, job in self.runs:
            link.ask("extend", job["handle"], {"own": rng.random() < 0.8})
        for func in rng.sample(FUNCS, rng.randrange(1, 4)):
            link.ask("subscribe", func, {"limit": rng.choice((None, 1, 2, 10))})

    def act(self, now: Now) -> None:
        assert self.link is not None
        rng = self.rng
        self.link.ask("ping")
        if rng.random() < 0.05:
            self.link.ask(*rng.choice((("unsubscribe_all",), ("unsubscribe", rng.choice(FUNCS)))))
        elif rng.random() < 0.1:
            self.link.ask("subscribe", rng.choice(FUNCS), {"limit": rng.choice((1, 3))})
        self.work(now)
        if self.manners == "dying" and rng.random() < 0.1:
            self.wants_to_die = True
        if self.manners == "rude":
            self._be_rude()

    def _be_rude(self) -> None:
        assert self.link is not None
        rng = self.rng
        handle = f"{rng.randrange(4)}-{rng.randrange(40)}-{rng.randrange(40)}-{rng.randrange(10):016x}"
        rng.choice((
            lambda link: link.respond(10_000 + rng.randrange(20), None),
            lambda link: link.ask("finish", handle, {"outcome": "later", "delay_ms": 5}),
            lambda link: link.ask("extend", handle, {"lease_ms": 1_000, "own": True}),
            lambda link: link.ask("finish", "nonsense", 7),
            lambda link: link.ask("subscribe", "f", {"limit": 0}),
        ))(self.link)  # fmt: skip

    def work(self, now: Now) -> None:
        """Report the runs that are over."""
        over = [run for run in self.runs if run[0] <= now.mono_ms]
        self.runs = [run for run in self.runs if run[0] > now.mono_ms]
        for _, msgid, job in over:
            self._report(msgid, job, self._outcome(job))

    def _outcome(self, job: dict[str, Any]) -> Any:
        rng = self.rng
        choice = rng.random()
        if choice < 0.6:
            self._version(job).excuses.append("was reported done")
            return rng.choice((None, b"result", {"outcome": "done", "submit": self._follow_ons(job)}))
        if choice < 0.75:
            return {"outcome": "later", "delay_ms": rng.choice((0, 10, 1_000)), "submit": self._follow_ons(job)}
        self._version(job).fails_sent += 1
        if choice < 0.8 and self.manners == "rude":
            return {"outcome": "perhaps"}
        return {
            "outcome": "failed", "reason": "simulated", "final": rng.random() < 0.2, "delay_ms": rng.choice((0, 700)),
            "submit": self._follow_ons(job),
        }  # fmt: skip

    def _version(self, job: dict[str, Any]) -> Version:
        return self.book.versions[token(job["workload"])]

    def _follow_ons(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """They are stored if the outcome is, which nobody is told, so they are never acknowledged."""
        rng = self.rng
        versions = []
        if rng.random() < 0.3:
            versions.append(self.book.follow_on(rng.choice(FUNCS), f"follows-{len(self.book.versions)}", None))
        if rng.random() < 0.2:
            versions.append(self.book.follow_on(job["func"], job["name"], self._version(job)))
        return [
            {"func": version.func, "name": version.name, "workload": b"%d." % version.number} for version in versions
        ]

    def _report(self, msgid: int | None, job: dict[str, Any], outcome: Any) -> None:
        link = self.link
        if link is None or not link.is_up:
            self.unreported.append((job, outcome))
        elif msgid is None or self.rng.random() < 0.3:
            self._finish(job, outcome)
            if msgid is not None:
                link.respond(msgid, outcome)
        elif isinstance(outcome, dict) and outcome["outcome"] == "failed" and not any(map(outcome.get, RICH)):
            link.refuse(msgid, "simulated")
        else:
            self.book.reports_sent[job["handle"]] += 1
            link.respond(msgid, outcome)

    def _finish(self, job: dict[str, Any], outcome: Any) -> None:
        assert self.link is not None
        self.book.reports_sent[job["handle"]] += 1
        self.link.ask("finish", job["handle"], outcome, memo=(job, outcome))

    def hear(self, message: Request | Response | Notification, now: Now) -> None:
        super().hear(message, now)
        if isinstance(message, Request):
            (job,) = message.params
            slow = self.manners == "slow" and self.rng.random() < 0.5
            over_ms = now.mono_ms + (job["lease_ms"] * 2 if slow else self.rng.choice((0, 1, 20, 500)))
            self.runs.append((over_ms, message.msgid, job))

    def answered(self, method: str, memo: Any, error: str | None, result: Any) -> None:
        if method != "finish" or memo is None:
            return
        job, outcome = memo
        if error is None:
            self.book.is_accepted(job["handle"])
            done = outcome is None or isinstance(outcome, bytes) or outcome["outcome"] == "done"
            if done:
                self._version(job).finished = True
        elif error.startswith("LEASE_LOST"):
            self.book.orphans += 1
            if isinstance(outcome, dict) and self.book.reports_sent[job["handle"]] == 1:
                for follow_on in outcome.get("submit", ()):
                    self.book.versions[token(follow_on["workload"])].unwanted = True
