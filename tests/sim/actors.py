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
NAMES = tuple("abcdefghijklmnopqrst")


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
            self.answered(method, memo, message.error, message.result)

    def answered(self, method: str, memo: Any, error: str | None, result: Any) -> None:
        """A request of this actor was answered."""


class Submitter(Actor):
    def __init__(self, rng: Random, book: Book) -> None:
        super().__init__(rng, book)
        self._flights: list[int] = []

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
            self._ask("submit", [job for job, _ in jobs], versions=versions, about=[each.key for each in versions])
        elif choice < 0.86:
            self.book.excuse(func, name, "a remove was sent")
            self._ask("remove", func, name, about=[(func, name)])
        elif choice < 0.91:
            self.link.ask("requeue", func, name)
        else:
            self.link.ask(
                *rng.choice((("get", func, name), ("list", {"limit": 3}), ("status",), ("ping",), ("oops", 1)))
            )

    def _job(self, now: Now) -> tuple[dict[str, Any], Version]:
        rng = self.rng
        keep = rng.random() < 0.1
        version = self.book.submit(rng.choice(FUNCS), rng.choice(NAMES), keep)
        job = {
            "func": version.func,
            "name": version.name,
            "workload": b"%d.%s" % (version.number, b"x" * rng.choice((0, 0, 30))),
            "priority": rng.choice((0, 0, 0, -1, 5)),
            "lease_ms": rng.choice((1_000, 5_000, 60_000)),
            "retry": {"limit": rng.choice((0, 1, 5)), "backoff": "fixed", "delay_ms": rng.choice((0, 100, 3_000))},
            "keep": keep,
        }
        if rng.random() < 0.5:
            job["delay_ms"] = rng.choice((0, 1, 50, 2_000, 20_000))
        elif rng.random() < 0.5:
            job["due_ms"] = max(0, now.wall_ms + rng.randrange(-5_000, 5_000))
        return job, version

    def answered(self, method: str, memo: Any, error: str | None, result: Any) -> None:
        if memo is None:
            return
        versions, flights = memo
        for flight in flights:
            self.book.lands(flight)
        if error is None:
            for version, outcome in zip(
                versions, result if isinstance(result, list) else [result], strict=bool(versions)
            ):
                version.acknowledged = outcome != "kept"


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
        link.ask("hello", {"credit": rng.choice((1, 3, 1000)), "disconnect_grace_ms": rng.choice((0, 0, 2_000))})
        for job, outcome in self.unreported:
            self._finish(job, outcome)
        self.unreported = []
        for _, _, job in self.runs:
            link.ask("extend", job["handle"])
        for func in rng.sample(FUNCS, rng.randrange(1, 4)):
            link.ask("subscribe", func, rng.choice((1, 2, 10)))

    def act(self, now: Now) -> None:
        assert self.link is not None
        rng = self.rng
        self.link.ask("ping")
        if rng.random() < 0.05:
            self.link.ask("unsubscribe", *rng.choice(((), (rng.choice(FUNCS),))))
        elif rng.random() < 0.1:
            self.link.ask("subscribe", rng.choice(FUNCS), rng.choice((1, 3)))
        self.work(now)
        if self.manners == "dying" and rng.random() < 0.1:
            self.wants_to_die = True
        if self.manners == "rude":
            self._be_rude()

    def _be_rude(self) -> None:
        assert self.link is not None
        rng = self.rng
        handle = f"{rng.randrange(4)}-{rng.randrange(40)}-{rng.randrange(40)}"
        rng.choice((
            lambda link: link.respond(10_000 + rng.randrange(20), None),
            lambda link: link.ask("finish", handle, {"outcome": "later", "delay_ms": 5}),
            lambda link: link.ask("extend", handle, 1_000),
            lambda link: link.ask("finish", "nonsense", 7),
            lambda link: link.ask("subscribe", "f", 0),
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
            self._reported_done(job)
            return rng.choice((None, b"result", {"outcome": "done", "submit": self._follow_on()}))
        if choice < 0.75:
            return {"outcome": "later", "delay_ms": rng.choice((0, 10, 1_000))}
        if choice < 0.8 and self.manners == "rude":
            return {"outcome": "perhaps"}
        return {"outcome": "failed", "reason": "simulated", "retry": rng.random() < 0.8}

    def _reported_done(self, job: dict[str, Any]) -> None:
        self.book.versions[token(job["workload"])].excuses.append("was reported done")

    def _follow_on(self) -> list[dict[str, Any]]:
        rng = self.rng
        if rng.random() < 0.5:
            return []
        # It is stored if the outcome is, which nobody is told, so it is never acknowledged.
        version = self.book.submit(rng.choice(FUNCS), f"follows-{len(self.book.versions)}", False)
        return [{"func": version.func, "name": version.name, "workload": b"%d." % version.number}]

    def _report(self, msgid: int | None, job: dict[str, Any], outcome: Any) -> None:
        link = self.link
        if link is None or not link.is_up:
            self.unreported.append((job, outcome))
        elif msgid is None or self.rng.random() < 0.3:
            self._finish(job, outcome)
            if msgid is not None:
                link.respond(msgid, outcome)
        elif isinstance(outcome, dict) and outcome["outcome"] == "failed" and outcome.get("retry"):
            link.refuse(msgid, "simulated")
        else:
            link.respond(msgid, outcome)

    def _finish(self, job: dict[str, Any], outcome: Any) -> None:
        assert self.link is not None
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
            done = outcome is None or isinstance(outcome, bytes) or outcome["outcome"] == "done"
            if done:
                self.book.versions[token(job["workload"])].finished = True
        elif error.startswith("LEASE_LOST"):
            self.book.orphans += 1
