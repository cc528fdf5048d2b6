"""What must follow from what was said: the rules of protocol.md, section 4, for one worker's connection, with dicts.

Knows no daemon and imports none of its rules, or both would be wrong together. Where protocol.md leaves open when
exactly something happened, the oracle holds an interval of time and accepts what lies in it.
"""

from dataclasses import dataclass, field
from typing import Any

CRASHES_MAX = 5
ERRORS_KEPT = 5

MEMBERS = ("members", "done", "dead", "removed", "cancelled", "expired")
"""How many there are, and how they ended."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Moment:
    """Somewhere between two readings of the wall clock, both included; milliseconds."""

    low_ms: int
    high_ms: int

    def plus(self, delay_ms: int) -> "Moment":
        return Moment(self.low_ms + delay_ms, self.high_ms + delay_ms)

    def not_before(self, other: "Moment") -> "Moment":
        """The later of the two."""
        return Moment(max(self.low_ms, other.low_ms), max(self.high_ms, other.high_ms))

    def __contains__(self, at_ms: object) -> bool:
        return isinstance(at_ms, int) and self.low_ms <= at_ms <= self.high_ms


@dataclass
class Job:
    """``given`` is the job as it was submitted."""

    given: dict[str, Any]
    number: int
    """Grows with every submit, as ids do."""
    id: int | None
    """None: nobody was told."""
    submitted: Moment
    due: Moment
    state: str = "waiting"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    suspect: bool = False
    reason: str | None = None
    ended: Moment | None = None
    handle: str | None = None
    """Of the latest run, until that was reported."""
    holder: str | None = None
    """Whose connection's end would end the run: "worker", "client", or None after a restart."""
    restarts: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    """Attempt and text, the last few."""
    cancelled: str | None = None
    behind: "Job | None" = None
    group: "Group | None" = None
    """It waits for its members: parked, or behind."""
    joined: "Group | None" = None
    """It is a member of this one."""
    member_of: "Group | None" = None
    """The same, until it has ended."""

    @property
    def key(self) -> Key:
        return self.given["func"], self.given["name"]

    def went_wrong(self, text: str) -> None:
        self.errors = [*self.errors, (self.attempt, text)][-ERRORS_KEPT:]

    @property
    def priority(self) -> int:
        return int(self.given["priority"])

    def certainly_before(self, other: "Job") -> bool:
        """In the order in which due jobs of a function are given out, wherever in their moments they became due."""
        mine = self.priority, self.due.high_ms, self.number
        return mine < (other.priority, other.due.low_ms, other.number)


@dataclass
class Group:
    """One that is open."""

    job: Job
    sealed: bool = False
    told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEMBERS, 0))

    @property
    def open(self) -> int:
        return 2 * self.told["members"] - sum(self.told.values())


@dataclass
class Ending:
    """How a job ended that has a ``result_ms``, which is longer than any example."""

    job: Job
    word: str
    reason: str | None
    data: bytes = b""


@dataclass
class Subscription:
    limit: int
    running: int = 0
    """Runs given out that were not responded to."""


@dataclass
class Run:
    """One ``perform``."""

    handle: str
    key: Key
    msgid: int
    subscription: Subscription
    open: bool = True
    """The connection that it was sent over lives, and has not responded."""
    settled: bool = False
    """``finish`` was asked, or the worker was told that it no longer counts: a response needs no answer."""


@dataclass
class Oracle:
    jobs: dict[Key, Job] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    said_goodbye: bool = False
    runs: list[Run] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)
    """By function: runs given out since the daemon's start."""
    notices: list[tuple[str, str, str]] = field(default_factory=list)
    """Whose connection is to hear of which handle, and the kind."""
    kept: dict[Key, list[Ending]] = field(default_factory=dict)
    """In the order of their jobs."""
    last_run: int = 0
    groups: list[Group] = field(default_factory=list)
    """Those that are open."""
    _numbers: int = 0

    # -- what a client says ------------------------------------------------------------------------------------------

    def submit(
        self, given: dict[str, Any], moment: Moment, job_id: int | None = None, member_of: Group | None = None
    ) -> str:
        """``job_id``: as it was answered, if the job was put."""
        self._numbers += 1
        if "due_at_ms" in given:
            due = Moment(given["due_at_ms"], given["due_at_ms"]).not_before(moment)
        else:
            due = moment.plus(given.get("delay_ms", 0))
        job = Job(given, self._numbers, job_id, moment, due)
        front = self.jobs.get(job.key)
        existing = given.get("existing", "replace")
        if front is not None and existing == "refuse":
            return "refused"
        if front is not None and (existing == "keep" or (existing == "keep_live" and front.state != "dead")):
            return "kept"
        if front is None and existing == "keep" and self.kept.get(job.key):
            return "kept"
        if member_of is not None:
            member_of.told["members"] += 1
            job.joined = job.member_of = member_of
        if front is not None and front.state == "running":
            if front.behind is not None:
                self._keep(front.behind, "replaced")
            front.behind = job
            return "queued_behind"
        self.jobs[job.key] = job
        if front is not None and front.state != "dead":
            self._keep(front, "replaced")
        return "created" if front is None or front.state == "dead" else "replaced"

    def submit_group(
        self, then: dict[str, Any], moment: Moment, job_id: int | None = None, member_of: Group | None = None
    ) -> tuple[str, Group | None]:
        """The group that members are to be put in, and sealed. None: neither."""
        key = then["func"], then["name"]
        there = self.jobs.get(key)
        for job in (there, there and there.behind):
            if job is not None and job.group is not None:
                return ("kept", None) if job.group.sealed else ("added", job.group)
        word = self.submit(then, moment, job_id, member_of)
        if word in ("kept", "refused"):
            return word, None
        job = self.jobs[key].behind or self.jobs[key]
        job.state, job.group = "parked", Group(job)
        self.groups.append(job.group)
        return word, job.group

    def free(self, moment: Moment) -> None:
        """The jobs of groups that have finished, in this moment, as far as they are there."""
        for group in [group for group in self.groups if group.sealed and not group.open]:
            self.groups.remove(group)
            job = group.job
            headers = {f"group-{name}": str(count) for name, count in group.told.items()}
            job.given = job.given | {"headers": job.given.get("headers", {}) | headers}
            job.state, job.group, job.due = "waiting", None, job.due.not_before(moment)

    def _keep(self, job: Job, word: str, data: bytes = b"") -> None:
        """The job has ended so. One that was dead and is done after all has one ending."""
        if job.member_of is not None:
            job.member_of.told["removed" if word == "replaced" else word] += 1
            job.member_of = None
        if job.group is not None:
            self.groups.remove(job.group)
        if job.given.get("result_ms"):
            reason = None if word == "done" else job.cancelled if word == "cancelled" else job.reason
            others = [ending for ending in self.kept.get(job.key, ()) if ending.job is not job]
            self.kept[job.key] = sorted([*others, Ending(job, word, reason, data)], key=lambda each: each.job.number)

    def last(self, key: Key, job_id: int | None) -> Ending | None:
        """What ``get`` says: how the job with this id ended, or else the last one."""
        kept = self.kept.get(key, [])
        of_job = [ending for ending in kept if job_id is not None and ending.job.id == job_id]
        return (of_job or kept)[-1] if kept else None

    def remove(self, key: Key, job_id: int | None, moment: Moment) -> str:
        job = self.jobs.get(key)
        if job is None:
            return "absent"
        if job_id is not None and job.behind is not None and job_id == job.behind.id:
            self._keep(job.behind, "removed")
            job.behind = None
            return "removed"
        if job_id not in (None, job.id):
            return "changed"
        if job_id is None and job.behind is not None:
            self._keep(job.behind, "removed")
            job.behind = None
        del self.jobs[key]
        if job.state != "dead":
            self._keep(job, "removed")
        self._promote(job, moment)
        if job.state == "running":
            self._tell_lost(job)
        return "removed"

    def cancel(self, key: Key, job_id: int | None, reason: str) -> str:
        job = self.jobs.get(key)
        if job is None:
            return "absent"
        behind = job.behind
        if job_id is not None and job_id not in (job.id, None if behind is None else behind.id):
            return "changed"
        if job.state == "dead":
            return "not_live"
        if behind is not None and job_id in (None, behind.id):
            behind.cancelled = reason
            self._keep(behind, "cancelled")
            job.behind = None
        if job_id not in (None, job.id):
            return "cancelled"
        job.cancelled = reason
        if job.state == "running":
            self._notice(job, "cancel")
            return "asked"
        self._keep(job, "cancelled")
        del self.jobs[key]
        return "cancelled"

    def move(self, key: Key, job_id: int | None, due: Moment | None, priority: int | None) -> str:
        result, job = self.find(key, job_id)
        if job is None:
            return result
        if self.state(job) not in ("waiting", "parked", "behind"):
            return "not_waiting"
        job.due = job.due if due is None else due
        if priority is not None:
            job.given = job.given | {"priority": priority}
        return "moved"

    def end_run(self, key: Key, job_id: int | None, outcome: dict[str, Any], moment: Moment) -> str:
        result, job = self.find(key, job_id)
        if job is None:
            return result
        if self.state(job) != "running":
            return "not_running"
        self._tell_lost(job)
        self._end(job, outcome, moment)
        return "ended"

    def _tell_lost(self, job: Job) -> None:
        self._notice(job, "lost")
        for run in self.runs:
            run.settled = run.settled or run.handle == job.handle

    def _notice(self, job: Job, kind: str) -> None:
        assert job.handle is not None
        if job.holder is not None:
            self.notices.append((job.holder, job.handle, kind))

    def requeue(self, key: Key, job_id: int | None, moment: Moment, new_id: int | None) -> str:
        dead = self.jobs.get(key)
        if dead is None:
            return "absent"
        if job_id not in (None, dead.id):
            return "changed"
        if dead.state != "dead":
            return "not_dead"
        self._numbers += 1
        self.jobs[key] = Job(dead.given, self._numbers, new_id, dead.submitted, moment)
        return "requeued"

    def find(self, key: Key, job_id: int | None) -> tuple[str, Job | None]:
        """What ``get`` says."""
        job = self.jobs.get(key)
        if job is None:
            return "absent", None
        if job_id is not None and job.behind is not None and job_id == job.behind.id:
            return "found", job.behind
        return ("found", job) if job_id in (None, job.id) else ("changed", None)

    def of(self, func: str) -> list[Job]:
        """All jobs of the function, those behind too, oldest first."""
        front = [job for job in self.jobs.values() if job.given["func"] == func]
        return sorted(front + [job.behind for job in front if job.behind is not None], key=lambda job: job.number)

    def state(self, job: Job) -> str:
        return job.state if self.jobs[job.key] is job else "behind"

    # -- what a worker says ------------------------------------------------------------------------------------------

    def subscribe(self, func: str, limit: int) -> None:
        self.said_goodbye = False
        self.subscriptions.setdefault(func, Subscription(limit)).limit = limit

    def unsubscribe(self, func: str | None) -> None:
        if func is None or (func in self.subscriptions and len(self.subscriptions) == 1):
            self.said_goodbye = True
        for each in [func] if func is not None else list(self.subscriptions):
            self.subscriptions.pop(each, None)

    def respond(self, run: Run, outcome: Any, moment: Moment, readable: bool = True) -> None:
        run.open = False
        run.subscription.running -= 1
        if run.settled:
            return
        job = self._running(run.handle)
        assert job is not None, "what ends a run of an open connection settles it"
        if not readable and job.holder is not None:
            self.notices.append((job.holder, run.handle, "refused"))
        self._end(job, outcome, moment)

    def finish(self, run: Run, outcome: Any, moment: Moment) -> bool:
        """Whether it is accepted."""
        job = self.jobs.get(run.key)
        if job is None or job.handle != run.handle:
            return False
        if job.state == "running":
            run.settled = True
            self._end(job, outcome, moment)
        else:
            self._end_late(job, outcome, moment)
        return True

    def extend(self, run: Run, own: bool) -> Job | None:
        """A client extends. The job, if it is accepted."""
        job = self._running(run.handle)
        if job is not None and own:
            job.holder = "client"
        return job

    def _running(self, handle: str) -> Job | None:
        return next((job for job in self.jobs.values() if job.state == "running" and job.handle == handle), None)

    def _end(self, job: Job, outcome: Any, moment: Moment) -> None:
        job.handle, group = None, job.member_of
        word, how = _read(outcome)
        if word == "done":
            del self.jobs[job.key]
            self._keep(job, "done", how.get("data", b""))
        elif job.cancelled is not None:
            del self.jobs[job.key]
            self._keep(job, "cancelled")
        elif word == "later":
            job.state, job.due = "waiting", moment.plus(how.get("delay_ms", 0))
        else:
            job.reason = how.get("reason", "")
            job.went_wrong(how.get("reason", ""))
            again = job.failures < job.given["retry"]["limit"] and not how.get("final")
            job.failures += 1
            wait_ms = how.get("delay_ms") or job.given["retry"]["delay_ms"]
            job.state, job.due, job.ended = (
                ("waiting", moment.plus(wait_ms), None) if again else ("dead", job.due, moment)
            )
            if not again:
                self._keep(job, "dead")
        taken = job.key if self._promote(job, moment) else None
        self._follow(how, group, taken, moment)

    def _follow(self, how: dict[str, Any], group: Group | None, taken: Key | None, moment: Moment) -> None:
        """``group``: of the job that ended; ``taken``: by a job that was behind."""
        then, own = how.get("then"), None
        if then is not None:
            own = self._open(then, group if then.get("join_group") else None, taken, moment)
        for given in how.get("submit", ()):
            if (given["func"], given["name"]) != taken:
                self.submit(given, moment, member_of=own or (group if given.get("join_group") else None))
        if own is not None:
            own.sealed = True

    def _open(self, then: dict[str, Any], group: Group | None, taken: Key | None, moment: Moment) -> Group | None:
        """What follows is the group that is open by this name, or else one of its own, if its job is put."""
        key = then["func"], then["name"]
        known = next((each for each in self.groups if each.job.key == key), None)
        if known is not None or key == taken:
            return known
        return self.submit_group(then, moment, member_of=group)[1]

    def _end_late(self, job: Job, outcome: Any, moment: Moment) -> None:
        """The lost run was charged when it was lost: no counter changes."""
        job.handle, group = None, job.member_of
        word, how = _read(outcome)
        if word == "failed":
            job.reason = how.get("reason", "")
            job.went_wrong(how.get("reason", ""))
        if word == "done":
            del self.jobs[job.key]
            self._keep(job, "done", how.get("data", b""))
        elif job.state == "dead":
            self._keep(job, "dead")
        elif job.state == "waiting":
            if word == "failed" and how.get("final"):
                job.state, job.ended = "dead", moment
                self._keep(job, "dead")
            elif word == "later" or how.get("delay_ms"):
                job.due = moment.plus(how.get("delay_ms", 0))
        self._follow(how, group, None, moment)

    def _promote(self, ended: Job, moment: Moment) -> bool:
        """However a run ended, the job behind it takes its place, if there is one."""
        if ended.behind is None:
            return False
        if self.jobs.get(ended.key) is ended and ended.state != "dead":
            self._keep(ended, "replaced")
        self.jobs[ended.key] = ended.behind
        ended.behind.due = ended.behind.due.not_before(moment)
        return True

    # -- what the daemon does ----------------------------------------------------------------------------------------

    def candidates(self, func: str, by_ms: int) -> list[Job]:
        return [job for job in self.of(func) if self.state(job) == "waiting" and job.due.high_ms <= by_ms]

    def perform(self, msgid: int, given: dict[str, Any], by_ms: int) -> Job:
        """The daemon gave this out, at ``by_ms`` or before."""
        job = self.jobs[given["func"], given["name"]]
        subscription = self.subscriptions[given["func"]]
        assert job.state == "waiting", f"{job} is given out"
        assert given["due_at_ms"] in job.due
        assert given["due_at_ms"] <= by_ms, "early"
        assert subscription.running < subscription.limit, f"no room for {job}"
        assert given["handle"] not in [run.handle for run in self.runs], "a handle is used again"
        subscription.running += 1
        job.attempt += 1
        job.state, job.handle, job.holder = "running", given["handle"], "worker"
        assert given["run"] > self.last_run, "run numbers grow"
        self.last_run = given["run"]
        assert given == {
            "handle": job.handle, "run": given["run"], "func": job.given["func"], "name": job.given["name"],
            "workload": job.given["workload"], "headers": job.given.get("headers", {}),
            "due_at_ms": given["due_at_ms"], "priority": job.priority,
            "lease_ms": job.given["lease_ms"],
            "attempt": job.attempt, "failures": job.failures, "crashes": job.crashes, "broadcast": False,
        }  # fmt: skip
        job.due = Moment(given["due_at_ms"], given["due_at_ms"])
        self.runs.append(Run(given["handle"], job.key, msgid, subscription))
        self.started[given["func"]] = self.started.get(given["func"], 0) + 1
        return job

    def none_was_passed_over_for(self, started: Job, by_ms: int) -> None:
        """Of the jobs that still wait, none was to go first. Those given out at once may arrive in any order."""
        before = [job for job in self.candidates(started.key[0], by_ms) if job.certainly_before(started)]
        assert not before, f"{before} go before {started}"

    # -- what fails --------------------------------------------------------------------------------------------------

    def worker_lost(self, moment: Moment) -> None:
        goodbye = self.said_goodbye
        lost = [job for job in self.jobs.values() if job.state == "running" and job.holder == "worker"]
        for job in lost:
            job.state = "waiting"
            if job.cancelled is not None:
                del self.jobs[job.key]
                self._keep(job, "cancelled")
            elif not goodbye:
                self._crash(job, len(lost) == 1, moment)
            if job.state == "waiting":
                job.due = moment
            self._promote(job, moment)
        self._links_lost()

    def _crash(self, job: Job, alone: bool, moment: Moment) -> None:
        if alone or job.suspect:
            job.crashes += 1
        job.suspect = True
        job.went_wrong("its worker's connection was lost")
        if job.crashes >= CRASHES_MAX:
            job.state, job.ended = "dead", moment
            job.reason = f"its worker's connection was lost {CRASHES_MAX} times while it ran"
            self._keep(job, "dead")

    def restarted(self) -> None:
        """Runs go on: their workers have a while to report."""
        for job in self.jobs.values():
            job.holder = None
        self.started.clear()
        self._links_lost()

    def _links_lost(self) -> None:
        self.subscriptions.clear()
        self.said_goodbye = False
        for run in self.runs:
            run.open = False


def _read(outcome: Any) -> tuple[str, dict[str, Any]]:
    """The outcome's word and the map that it stands for."""
    if outcome is None or isinstance(outcome, bytes):
        return "done", {"data": outcome or b""}
    return outcome["outcome"], outcome
