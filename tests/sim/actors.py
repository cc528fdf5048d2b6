"""Who speaks to the daemon: submitters, and workers that are honest, slow, dying or rude. All chance is the world's.

An actor sees only what its link delivers. Where a field has a range it says likely values, and now and then an end of
the range, as the type of the message has it; but not in an outcome, whose longest wait would lead past the year 9999,
which makes it another outcome. To add a message, add a function, a line with its weight to the actor's table of acts,
and what its answer means to ``answered``.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from periodic_client.wire import Notification, Request, Response
from periodic_client.wire.limits import MSGID_MAX
from periodicd.clock import Now
from periodicd.protocol import fields, order_fields
from periodicd.protocol.words import Said
from tests.sim.book import LARGE_BYTES, Book, Version, job_of, token
from tests.sim.network import Link
from tests.sim.ranges import ends, longest, words

FUNCS = ("f", "g", longest(fields.Job, "func", "h"))
EXISTING = ("replace", "replace", None, *words(fields.Job, "existing"))
LOCKS = ("k", "l", "m")
SCHEDULES = ("x", "y", longest(order_fields.SetSchedule, "schedule", "z"))
"""No name of a job begins so: their occurrences are nobody else's."""
THEN_NAMES = ("u", "v")
"""Of groups that workers put, whatever is there."""
NAMES = (*"abcdefghijklmnopqrs", longest(fields.Job, "name", "t"), *THEN_NAMES)
AT_AN_END = 0.05
"""How likely a number is the least or the most that it may be."""
OUTLIVED_MS_MAX = 120_000
WAITS_MS = (0, 100, 5_000, 60_000)
RICH = ("final", "delay_ms", "submit", "then")
"""What an error that is only a text cannot say."""


Acts = Sequence[tuple[int, Callable[[Any, Now], None]]]
"""What an actor may do, each with its weight."""


class Actor:
    def __init__(self, rng: Random, book: Book) -> None:
        self.rng = rng
        self.book = book
        self.link: Link | None = None
        self._flights: list[int] = []

    def connected(self, link: Link) -> None:
        self.link = link
        for flight in self._flights:
            self.book.lands(flight)
        self._flights = []

    def act(self, now: Now) -> None:
        """Do something of one's own accord; the link is up."""

    def choose(self, acts: Acts, now: Now) -> None:
        """One of them."""
        ((_, act),) = self.rng.choices(acts, [weight for weight, _ in acts])
        act(self, now)

    def number(self, said: type[Said], name: str, *likely: int | None) -> int | None:
        """For this field: one of these, or an end of its range."""
        if self.rng.random() < AT_AN_END:
            return self.rng.choice(ends(said, name))
        return self.rng.choice(likely)

    def ask(self, method: str, *params: Any, memo: Any = None) -> None:
        assert self.link is not None
        self.link.ask(method, *params, memo=memo)

    def _change(
        self, method: str, *params: Any, versions: Sequence[Version] = (), about: Sequence[tuple[str, str]]
    ) -> None:
        flights = [self.book.takes_off(func, name) for func, name in about]
        self._flights += flights
        self.ask(method, *params, memo=(versions, flights))

    def _take_away(self, method: str, key: tuple[str, str], options: dict[str, Any] | None) -> None:
        """By ``remove`` or ``cancel``."""
        self.book.excuse(*key, f"a {method} was sent")
        self.book.sent[method, key] += 1
        self.book.removed.add(key)
        self._change(method, *key, options, about=[key])

    def hear(self, message: Request | Response | Notification, now: Now) -> None:
        if isinstance(message, Response) and message.msgid is not None:
            assert self.link is not None
            method, _, memo = self.link.asked.pop(message.msgid)
            assert message.error is not None or type(message.result) is dict, "every answer is a map"
            self.book.answers[method, message.error is None] += 1
            self.answered(method, memo, message.error, message.result, now)

    def answered(self, method: str, memo: Any, error: str | None, result: Any, now: Now) -> None:
        """A request of this actor was answered."""


class Submitter(Actor):
    def __init__(self, rng: Random, book: Book) -> None:
        super().__init__(rng, book)
        self._ids: dict[tuple[str, str], int] = {}
        """As they were last answered."""
        self._cursors: dict[tuple[str, str], str] = {}
        """The last of each that was watched."""

    def act(self, now: Now) -> None:
        self.choose(SUBMITTER_ACTS, now)

    def submit(self, now: Now) -> None:
        job, version = self._job(now)
        self._change("submit", job, versions=[version], about=[version.key])

    def submit_batch(self, now: Now) -> None:
        jobs = [self._job(now) for _ in range(self.rng.randrange(10))]
        versions = [version for _, version in jobs]
        self._change("submit_batch", [job for job, _ in jobs], versions=versions, about=[each.key for each in versions])

    def remove(self, now: Now) -> None:
        key = self._key()
        self._take_away("remove", key, self._maybe_id(key))

    def cancel(self, now: Now) -> None:
        key = self._key_that_ran()
        self._take_away("cancel", key, {**(self._maybe_id(key) or {}), "reason": "not wanted"})

    def move(self, now: Now) -> None:
        key = self._key()
        options = self._maybe_id(key) or {}
        moved = self.rng.choice(("priority", "delay_ms", "due_at_ms"))
        options[moved] = {"priority": 3, "delay_ms": 2_000, "due_at_ms": now.wall_ms + 5_000}[moved]
        self.ask("move", *key, options)

    def end_run(self, now: Now) -> None:
        key = self._key_that_ran()
        counts_as = self.rng.choice(("failed", "later"))
        self.book.sent["end_run", key] += 1
        self.ask("end_run", *key, {**(self._maybe_id(key) or {}), "as": counts_as, "reason": "hangs"})

    def watch(self, now: Now) -> None:
        """Mostly what was submitted."""
        key = self.rng.choice(list(self._ids)) if self._ids and self.rng.random() < 0.8 else self._key()
        options = self._maybe_id(key) or {}
        if self.rng.random() < 0.7:
            options["after"] = self._cursors.get(key)
        self._watch(key, options | {"only_end": self.rng.random() < 0.3})

    def call(self, now: Now) -> None:
        """Run and wait: a lost answer is asked for again by the same."""
        job, version = self._job(now, existing="keep")
        job["result_ms"] = 600_000
        self._change("submit", job, versions=[version], about=[version.key])
        self._watch(version.key, {"only_end": True})

    def unwait(self, now: Now) -> None:
        assert self.link is not None
        waiting = [msgid for msgid, asked in self.link.asked.items() if asked.method in ("watch", "events")]
        self.ask("unwait", self.rng.choice(waiting) if waiting else MSGID_MAX)

    def _watch(self, key: tuple[str, str], options: dict[str, Any]) -> None:
        self.ask("watch", *key, options | {"timeout_ms": self.rng.choice(WAITS_MS)}, memo=key)

    def watch_and_unwait(self, now: Now) -> None:
        """The same in one write, if this is one."""
        assert self.link is not None
        self.watch(now)
        self.ask("unwait", max(self.link.asked))

    def set_function(self, now: Now) -> None:
        settings: dict[str, Any] = {
            "running_max": self.number(order_fields.FunctionSettings, "running_max", None, 1, 2),
            "queue_max": self.number(order_fields.FunctionSettings, "queue_max", None, 3, 20),
            "lease_ms": self.number(order_fields.FunctionSettings, "lease_ms", None, 5_000),
        }
        if self.rng.random() < 0.5:
            settings["rate"] = {"count": self.rng.choice((1, 5)), "per_ms": self.rng.choice((100, 5_000, 60_000))}
        func = self.rng.choice(FUNCS)
        self.ask("set_function", func, settings, memo=func)

    def set_lock(self, now: Now) -> None:
        lock = self.rng.choice(LOCKS)
        rate = {"count": self.rng.choice((1, 5)), "per_ms": self.rng.choice((100, 5_000))}
        capacity = self.number(order_fields.LockSettings, "capacity", None, 1, 2, 3, 3)
        self.ask("set_lock", lock, {"capacity": capacity, "rate": self.rng.choice((None, None, rate))}, memo=lock)

    def locks(self, now: Now) -> None:
        self.ask("locks", {"limit": self.number(fields.LocksQuery, "limit", 1, None)})

    def explain(self, now: Now) -> None:
        key = self._key()
        self.ask("explain", *key, self._maybe_id(key))

    def pause(self, now: Now) -> None:
        self.ask("pause", self.rng.choice(FUNCS))

    def resume(self, now: Now) -> None:
        self.ask("resume", self.rng.choice(FUNCS))

    def requeue(self, now: Now) -> None:
        key = self._key()
        self.ask("requeue", *key, self._maybe_id(key))

    def remove_matching(self, now: Now) -> None:
        """Of what does not run; perhaps only of what was there before a job that was answered, or only counted."""
        self.take_away_many("remove_matching", ("waiting", "waiting", "behind", "dead"))

    def take_away_many(self, method: str, states: Sequence[str]) -> None:
        rng = self.rng
        func, prefix = key = self._key()
        state = rng.choice(states)
        query = {"func": rng.choice((func, None)), "prefix": prefix, "state": state}
        before_id = rng.choice((None, self._ids.get(key)))
        options = {
            "after": None if before_id is None else f"j0.{before_id:x}-", "dry_run": rng.choice((None, False, True)),
        }  # fmt: skip
        keys = [
            (each, name)
            for each in FUNCS
            for name in NAMES
            if query["func"] in (None, each) and name.startswith(prefix)
        ]
        for key in keys if not options["dry_run"] else ():
            self.book.excuse_many(*key, state, before_id)
            self.book.sent[method.removesuffix("_matching"), key] += 1
        self._change(method, query, options, about=keys)

    def cancel_matching(self, now: Now) -> None:
        """As ``remove_matching``; the dead are left alone."""
        self.take_away_many("cancel_matching", ("waiting", "waiting", "behind"))

    def move_matching(self, now: Now) -> None:
        due = self.rng.choice(({"delay_ms": 0}, {"delay_ms": 5_000}, {"due_at_ms": now.wall_ms + 100}, {"priority": 3}))
        self.ask("move_matching", {"prefix": self.rng.choice(NAMES)}, due | {"dry_run": self.rng.choice((None, True))})

    def requeue_matching(self, now: Now) -> None:
        query = self.rng.choice(({"all": True}, {"reason": "simulated"}, {"func": "f"}, {"prefix": "a", "func": "g"}))
        self.ask("requeue_matching", query, {"dry_run": self.rng.choice((None, True))})

    def get(self, now: Now) -> None:
        self.ask("get", *self._key(), {"data": self.rng.random() < 0.5})

    def get_what_was_seen(self, now: Now) -> None:
        key = self._key()
        self.ask("get", *key, {"workload": True, "id": self._ids.get(key), "data": True})

    def list(self, now: Now) -> None:
        query = {"prefix": self.rng.choice((None, "a")), "func": self.rng.choice((None, "f"))}
        limit = self.number(fields.ListQuery, "limit", 3)
        self.ask("list", query | {"limit": limit, "after": self.rng.choice((None, "j3"))})

    def events(self, now: Now) -> None:
        self.ask(
            "events", {"timeout_ms": self.rng.choice(WAITS_MS), "kinds": self.rng.choice((None, ["done", "lost"]))}
        )

    def workers(self, now: Now) -> None:
        self.ask("workers", {"limit": self.number(fields.WorkersQuery, "limit", 1, None)})

    def status(self, now: Now) -> None:
        limit = self.number(fields.StatusQuery, "limit", 1, None)
        self.ask("status", {"limit": limit, "after": self.rng.choice((None, "f"))})

    def hello(self, now: Now) -> None:
        self.ask("hello", {"client": "sim", "not yet known": 1})

    def ping(self, now: Now) -> None:
        self.ask("ping")

    def ask_what_there_is_not(self, now: Now) -> None:
        self.ask("oops", 1)

    def _key(self) -> tuple[str, str]:
        return self.rng.choice(FUNCS), self.rng.choice(NAMES)

    def _key_that_ran(self) -> tuple[str, str]:
        """Perhaps it still does."""
        latest = list(self.book.runs.values())[-4:]
        return self.rng.choice(latest).key if latest and self.rng.random() < 0.5 else self._key()

    def _maybe_id(self, key: tuple[str, str]) -> dict[str, Any] | None:
        """The id that was seen last, perhaps an old one, or none."""
        return {"id": self._ids.get(key)} if self.rng.random() < 0.5 else None

    def _job(
        self, now: Now, existing: str | None = None, key: tuple[str, str] | None = None
    ) -> tuple[dict[str, Any], Version]:
        rng = self.rng
        existing = existing or rng.choice(EXISTING)
        version = self.book.submit(*(key or self._key()), existing)
        if version.name in THEN_NAMES:
            version.excuses.append("a worker may put a group of its name")
        job = {
            "func": version.func,
            "name": version.name,
            "workload": b"%d.%s" % (version.number, b"x" * rng.choice((0, 0, 30))),
            "priority": self.number(fields.Job, "priority", 0, 0, 0, -1, 5),
            "lease_ms": self.number(fields.Job, "lease_ms", 1_000, 5_000, 60_000),
            "retry": {
                "limit": self.number(fields.Retry, "limit", 0, 1, 5),
                "backoff": rng.choice(("fixed", "fixed", *words(fields.Retry, "backoff"))),
                "delay_ms": self.number(fields.Retry, "delay_ms", 0, 100, 3_000),
                "cap_ms": self.number(fields.Retry, "cap_ms", 20_000, None),
                "jitter_percent": self.number(fields.Retry, "jitter_percent", None),
            },
            "existing": existing,
            "headers": rng.choice((None, {}, {"a": "b"})),
            "locks": rng.choice((None, None, {}, {"k": 1}, {"k": 2}, {"k": 1, "l": 1}, {"l": 3, "m": 1})),
            "result_ms": rng.choice((None, 0, 60_000, 600_000)),
            "run_max_ms": rng.choice((None, None, 1_000, 5_000)),
        }
        if rng.random() < 0.5:
            job["delay_ms"] = self.number(fields.Job, "delay_ms", 0, 1, 50, 2_000, 20_000)
        elif rng.random() < 0.5:
            job["due_at_ms"] = self.number(fields.Job, "due_at_ms", 0, now.wall_ms + rng.randrange(-5_000, 5_000))
        if rng.random() < 0.08:
            # It ends with its runs, whatever becomes of them.
            version.excuses.append("it is broadcast")
            version.broadcast = True
            job |= {"broadcast": True, "locks": None, "retry": None}
        if rng.random() < 0.15:
            # While it is behind it is gone then.
            version.excuses.append("it may expire")
            job["expires_at_ms"] = now.wall_ms + rng.choice((5, 1_000, 6_000, 20_000))
        return job, version

    def answered(self, method: str, memo: Any, error: str | None, result: Any, now: Now) -> None:
        if method == "watch" and error is None and result["next"] is not None:
            self._cursors[memo] = result["next"]
            if not result["ended"] and self.rng.random() < 0.7:
                self._watch(memo, {"after": result["next"], "only_end": False})
        if method not in ("submit", "submit_batch", "remove", "cancel", "remove_matching", "cancel_matching"):
            return
        versions, flights = memo
        for flight in flights:
            self.book.lands(flight)
        if method == "submit" and error is not None and error.startswith("FULL"):
            versions[0].unwanted = True
        if error is not None or method in ("remove", "cancel", "remove_matching", "cancel_matching"):
            return
        results = result["results"] if method == "submit_batch" else [result["result"]]
        ids = result["ids"] if method == "submit_batch" else [result["id"]]
        for version, word, job_id in zip(versions, results, ids, strict=True):
            self._is_put(version, word, job_id)

    def _is_put(self, version: Version, word: str, job_id: int | None) -> None:
        """So it was answered."""
        if job_id is not None:
            self._ids[version.key] = job_id
        version.acknowledged = word in ("created", "replaced", "queued_behind")
        version.id = job_id
        version.unwanted = word in ("kept", "refused", "full", "added")


SUBMITTER_ACTS: Acts = (
    (700, Submitter.submit),
    (100, Submitter.submit_batch),
    (60, Submitter.remove),
    (50, Submitter.requeue),
    (60, Submitter.cancel),
    (60, Submitter.move),
    (30, Submitter.end_run),
    (200, Submitter.watch),
    (100, Submitter.call),
    (50, Submitter.unwait),
    (20, Submitter.set_function),
    (25, Submitter.pause),
    (20, Submitter.explain),
    (50, Submitter.set_lock),
    (10, Submitter.locks),
    (60, Submitter.resume),
    (60, Submitter.remove_matching),
    (20, Submitter.requeue_matching),
    (30, Submitter.cancel_matching),
    (20, Submitter.move_matching),
    (30, Submitter.watch_and_unwait),
    (40, Submitter.events),
    (40, Submitter.workers),
    (20, Submitter.get),
    (20, Submitter.get_what_was_seen),
    (20, Submitter.list),
    (20, Submitter.status),
    (20, Submitter.hello),
    (20, Submitter.ping),
    (20, Submitter.ask_what_there_is_not),
)


class Worker(Actor):
    """``manners``: honest, slow (outlives its leases), dying (cuts its connection), rude (says what it likes)."""

    owns = 0.8
    """How often it takes its runs over when it has connected again."""

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
        link.ask(
            "hello",
            {
                "credit": self.number(fields.Hello, "credit", 1, 3, 1000),
                "disconnect_grace_ms": self.number(fields.Hello, "disconnect_grace_ms", 0, None, 2_000),
                "silence_ms": self.number(fields.Hello, "silence_ms", None),
            },
        )
        for job, outcome in self.unreported:
            self._finish(job, outcome)
        self.unreported = []
        for _, _, job in self.runs:
            self._extend(job, own=rng.random() < self.owns)
        self.ask_for_work()

    def ask_for_work(self) -> None:
        """Of several functions, or all."""
        for func in self.rng.sample(FUNCS, self.rng.randrange(1, 4)):
            self.ask("subscribe", func, {"limit": self.number(fields.SubscribeOptions, "limit", None, 1, 2, 10)})

    def let_all_begin(self) -> None:
        """Nothing holds a function back any more."""
        for func in FUNCS:
            self.ask("resume", func)
            self.ask("set_function", func, memo=func)
        for lock in LOCKS:
            self.ask("set_lock", lock, {"capacity": 10}, memo=lock)

    def end_schedules(self) -> None:
        for name in SCHEDULES:
            self.ask("remove_schedule", name)

    def act(self, now: Now) -> None:
        self.ask("ping")
        self.choose(WORKER_ACTS, now)
        self.work(now)
        if self.manners == "dying" and self.rng.random() < 0.1:
            self.wants_to_die = True
        if self.manners == "rude":
            self.choose(RUDE_ACTS, now)

    def only_work(self, now: Now) -> None:
        """Nothing else."""

    def subscribe(self, now: Now) -> None:
        limit = self.number(fields.SubscribeOptions, "limit", 1, 3)
        self.ask("subscribe", self.rng.choice(FUNCS), {"limit": limit})

    def unsubscribe(self, now: Now) -> None:
        self.ask("unsubscribe", self.rng.choice(FUNCS))

    def unsubscribe_all(self, now: Now) -> None:
        self.ask("unsubscribe_all")

    def extend(self, now: Now) -> None:
        """One of its runs, which may be lost by now."""
        if self.runs:
            _, _, job = self.rng.choice(self.runs)
            self._extend(job, lease_ms=self.number(fields.ExtendOptions, "lease_ms", None, 1_000, 60_000))

    def extend_what_it_removes(self, now: Now) -> None:
        if self.runs:
            _, _, job = self.rng.choice(self.runs)
            self._take_away("remove", (job["func"], job["name"]), None)
            self._extend(job)

    def data(self, now: Now) -> None:
        """Each chunk differs from all others."""
        if self.runs:
            _, _, job = self.rng.choice(self.runs)
            self.tell(job)

    def tell(self, job: dict[str, Any]) -> None:
        """Some chunks of its result."""
        for _ in range(self.rng.randrange(1, 5)):
            self.book.chunks += 1
            chunk = b"%d.%s" % (self.book.chunks, b"x" * self.rng.choice((0, 0, 10, 20_000)))
            self.ask("data", job["handle"], chunk)

    def progress(self, now: Now) -> None:
        if self.runs:
            _, _, job = self.rng.choice(self.runs)
            self.ask("progress", job["handle"], {"done": now.mono_ms, "note": self.rng.choice((None, "half"))})

    def _extend(self, job: dict[str, Any], own: bool = False, lease_ms: int | None = None) -> None:
        if own:
            self.book.taken.pop(job["run"], None)
        self.ask("extend", job["handle"], {"own": own, "lease_ms": lease_ms}, memo=job["run"])

    def respond_to_nothing(self, now: Now) -> None:
        assert self.link is not None
        self.link.respond(10_000 + self.rng.randrange(20), None)

    def finish_what_it_guessed(self, now: Now) -> None:
        self.ask("finish", self._guess(), {"outcome": "later", "delay_ms": 5})

    def extend_what_it_guessed(self, now: Now) -> None:
        self.ask("extend", self._guess(), {"lease_ms": 1_000, "own": True})

    def finish_nonsense(self, now: Now) -> None:
        self.ask("finish", "nonsense", 7)

    def subscribe_for_nothing(self, now: Now) -> None:
        self.ask("subscribe", "f", {"limit": ends(fields.SubscribeOptions, "limit")[0] - 1})

    def _guess(self) -> str:
        """A handle."""
        rng = self.rng
        return f"{rng.randrange(4)}-{rng.randrange(40)}-{rng.randrange(40)}-{rng.randrange(10):016x}"

    def work(self, now: Now) -> None:
        """Report the runs that are over."""
        over = [run for run in self.runs if run[0] <= now.mono_ms]
        self.runs = [run for run in self.runs if run[0] > now.mono_ms]
        for _, msgid, job in over:
            outcome = self._outcome(job)
            if job["broadcast"]:
                is_done = outcome is None or isinstance(outcome, bytes) or outcome["outcome"] == "done"
                self.book.parts_sent.setdefault(job_of(job["handle"]), {})[job["handle"]] = is_done
            self._report(msgid, job, outcome)

    def _outcome(self, job: dict[str, Any]) -> Any:
        rng = self.rng
        choice = rng.random()
        if choice < 0.6:
            self._version(job).excuses.append("was reported done")
            data = b"of run %d%s" % (job["run"], b"x" * rng.choice((0, 0, 0, LARGE_BYTES)))
            rich = {"outcome": "done", "data": data, **self._follow_ons(job)}
            outcome = rng.choice((None, data, rich, rich))
            self.book.done_sent.setdefault(job_of(job["handle"]), set()).add(None if outcome is None else data)
            return outcome
        if choice < 0.75:
            return {
                "outcome": "later",
                "locks": rng.choice((None, None, {}, {"k": 1}, {"m": 2})),
                "delay_ms": rng.choice((0, 10, 1_000)),
                **self._follow_ons(job),
            }
        self._version(job).fails_sent += 1
        if choice < 0.8 and self.manners == "rude":
            return {"outcome": "perhaps"}
        return {
            "outcome": "failed", "reason": "simulated", "final": rng.random() < 0.2, "delay_ms": rng.choice((0, 700)),
            **self._follow_ons(job),
        }  # fmt: skip

    def _version(self, job: dict[str, Any]) -> Version:
        return self.book.version_of(job["workload"], job["name"], job_of(job["handle"]))

    def _follow_ons(self, job: dict[str, Any]) -> dict[str, Any]:
        """They are stored if the outcome is, which nobody is told, so they are never acknowledged."""
        rng = self.rng
        versions = []
        if rng.random() < 0.3:
            versions.append(self.book.follow_on(rng.choice(FUNCS), f"follows-{len(self.book.versions)}", None))
        if rng.random() < 0.2:
            versions.append(self.book.follow_on(job["func"], job["name"], self._version(job)))
        followed: dict[str, Any] = {"submit": [self._follow_on(version) for version in versions]}
        own: tuple[str, str] = job["func"], job["name"]
        func, name = rng.choice((own, (rng.choice(FUNCS), rng.choice(THEN_NAMES))))
        if rng.random() < 0.2 and (func, name) not in [version.key for version in versions]:
            then = self.book.follow_on(func, name, self._version(job) if (func, name) == own else None)
            followed["then"] = self._follow_on(then) | {"existing": rng.choice(EXISTING)}
        return followed

    def _follow_on(self, version: Version) -> dict[str, Any]:
        return {
            "func": version.func, "name": version.name, "workload": b"%d." % version.number, "result_ms": 60_000,
            "join_group": self.rng.choice((None, True)),
        }  # fmt: skip

    def _report(self, msgid: int | None, job: dict[str, Any], outcome: Any) -> None:
        link = self.link
        if link is None or not link.is_up:
            self.unreported.append((job, outcome))
        elif msgid is None or self.rng.random() < 0.3:
            self._finish(job, outcome)
            if self.rng.random() < 0.2:  # it is not sure that it did
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
            took_ms = min(job["lease_ms"] * 2, OUTLIVED_MS_MAX) if slow else self.rng.choice((0, 1, 20, 500))
            self.runs.append((now.mono_ms + took_ms, message.msgid, job))
            if self.rng.random() < 0.2:
                self.tell(job)

    def answered(self, method: str, memo: Any, error: str | None, result: Any, now: Now) -> None:
        if method == "remove":
            _, flights = memo
            for flight in flights:
                self.book.lands(flight)
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
                for follow_on in (*outcome.get("submit", ()), *filter(None, [outcome.get("then")])):
                    self.book.versions[token(follow_on["workload"])].unwanted = True


WORKER_ACTS: Acts = (
    (800, Worker.only_work),
    (100, Worker.subscribe),
    (60, Worker.extend),
    (10, Worker.extend_what_it_removes),
    (80, Worker.data),
    (40, Worker.progress),
    (25, Worker.unsubscribe),
    (25, Worker.unsubscribe_all),
)
RUDE_ACTS: Acts = (
    (1, Worker.respond_to_nothing),
    (1, Worker.finish_what_it_guessed),
    (1, Worker.extend_what_it_guessed),
    (1, Worker.finish_nonsense),
    (1, Worker.subscribe_for_nothing),
)
