"""What the daemon promises, checked from outside at every step. To add a promise, add a method and call it."""

from collections import Counter, deque
from typing import Any, NamedTuple

from periodicd.clock import Now
from periodicd.engine import Engine
from periodicd.function import NOTHING_SET, Rate
from periodicd.job import Job, State, run_of
from periodicd.lock import NOTHING_SET as NO_LOCK
from periodicd.scheduler import Scheduler
from periodicd.scheduler.queues import Window
from periodicd.store import order
from tests.sim.book import Book, Broken, job_of, token
from tests.sim.network import Link
from tests.sim.store import FaultyStore

TIME_TO_RUN_MS = 60_000
ADJUSTED_MS = 1_000
"""By less the wall clock is being adjusted, not stepped."""


class Wait(NamedTuple):
    """A job waits until it is due: for a retry, a delay, or for nothing."""

    attempt: int
    due_at_ms: int
    """On the wall clock, as it was last seen."""
    over_mono_ms: int
    """When it is to be over on the monotonic clock."""

    def goes_on(self, job: Job, stepped_back_ms: int) -> bool:
        return job.attempt == self.attempt and self.due_at_ms - job.due_at_ms in (0, stepped_back_ms)


class Promises:
    def __init__(self, book: Book) -> None:
        self.book = book
        self._last_run = 0
        self._begun: dict[str, deque[Now]] = {}
        """When runs last did, of functions with a rate."""
        self.new_life()

    def new_life(self) -> None:
        """What is promised for as long as the daemon runs."""
        self._leases: dict[int, int] = {}
        """By run: until when, on the monotonic clock."""
        self._ran_out: set[int] = set()
        """Runs whose leases did."""
        self._waits: dict[int, Wait] = {}
        """By job."""
        self._stepped_back_ms = 0

    def check(self, engine: Engine, store: FaultyStore) -> None:
        """After every step that ended well."""
        self.nothing_acknowledged_is_lost(store)
        self.nothing_unwanted_is_there(store)
        self.only_workers_and_leases_make_failures(store)
        self.failures_have_an_end(store)
        self.one_run_a_job(engine.scheduler, store)
        windows = engine.scheduler.dispatch.queues.snapshot()
        self.memory_is_a_part_of_the_store(engine.scheduler, windows, store)
        self.windows_have_no_holes(engine.scheduler, windows, store)
        self.everything_stays_under_its_limit(engine.scheduler, len(windows))
        self.what_is_used_of_a_lock_is_somebody_s(engine.scheduler, store)
        self.who_is_parked_has_locks_or_a_group(store)
        self.what_nothing_holds_back_runs(engine.scheduler, store)
        self.no_wait_is_prolonged(store, engine.scheduler.step.now)

    def nothing_acknowledged_is_lost(self, store: FaultyStore) -> None:
        kept = {token(job.workload) for job in store.on_disk().values()}
        for version in self.book.versions.values():
            removed_dead = version.may_be_removed_dead and version.was_given
            if version.acknowledged and not version.excuses and not removed_dead and version.number not in kept:
                raise Broken(f"{version} was acknowledged and is gone")

    def nothing_unwanted_is_there(self, store: FaultyStore) -> None:
        """What was kept out or refused has left nothing, nor has a report whose run was not found."""
        for job in store.on_disk().values():
            version = self.book.versions[token(job.workload)]
            if version.unwanted or version.number in store.refused:
                raise Broken(f"{version} was refused, and is there")

    def only_workers_and_leases_make_failures(self, store: FaultyStore) -> None:
        for job in store.on_disk().values():
            version = self.book.version_of(job.workload, job.name, job.id)
            ended_by_others = self.book.sent["end_run", job.key] + self.book.sent["ungiven", job.key]
            if job.run_max_ms is not None:
                ended_by_others += job.attempt
            if job.failures > min(job.attempt, version.fails_sent + version.ran_out + ended_by_others):
                raise Broken(f"{job.failures} failures of {version}")

    def failures_have_an_end(self, store: FaultyStore) -> None:
        for job in store.on_disk().values():
            if job.state is State.WAITING and job.failures > job.retry.limit:
                raise Broken(f"{job} failed for good, and waits")

    def lease_begins(self, run: int, until_mono_ms: int) -> None:
        """A ``perform`` leaves, or an ``extend`` is answered."""
        self._leases[run] = until_mono_ms

    def pings_are_answered_last(self, said: list[tuple[int, str]]) -> None:
        """In a step, for each connection. ``said``: its number, and the method that is asked or answered."""
        pinged: set[int] = set()
        for connection, method in said:
            if method == "ping":
                pinged.add(connection)
            elif connection in pinged:
                raise Broken(f"connection {connection}: a ping was answered before {method}")

    def a_ping_overtakes_nothing(self, link: Link) -> None:
        """One is answered without a step. What waits for something else than the disk may go on waiting."""
        behind = link.arrived - link.peer.waiting
        if behind or link.read or link.is_heard or link.peer.deferred:
            asked = [link.asked[msgid] for msgid in behind]
            raise Broken(f"connection {link.number}: a ping was answered before what came first: {asked} {link.read}")

    def is_extended(self, run: int, lost: set[int]) -> None:
        """An ``extend`` was answered. ``lost``: what the step told of runs before."""
        if run in lost:
            raise Broken(f"run {run} was extended after it was told lost")

    def only_lost_runs_are_replaced(self, handle: str, kind: str, why: str, ran_out: set[int]) -> None:
        """By a submit, which waits behind a run that counts. ``ran_out``: the leases of these did, in this step."""
        run = run_of(handle)
        if kind == "lost" and why.endswith("replaced") and run not in ran_out | self._ran_out:
            raise Broken(f"the job of run {run} was replaced while it ran")

    def requests_on_many_leave_runs_alone(self, handle: str, kind: str, why: str, ran_out: set[int]) -> None:
        """Since they ask for what waits or is dead. ``ran_out``: as above."""
        run = run_of(handle)
        if kind != "lost" or not why.endswith("its job was removed") or run in ran_out | self._ran_out:
            return
        version = self.book.runs.get(run)
        if version is not None and version.key not in self.book.removed:
            raise Broken(f"the job of run {run} was removed while it ran, and nobody had asked for that")

    def no_wait_is_prolonged(self, store: FaultyStore, now: Now) -> None:
        """By a wall clock that was stepped back, that is."""
        before, self._waits = self._waits, {}
        for job in store.on_disk().values():
            if job.dated or job.state is not State.WAITING:
                continue
            over_mono_ms = now.mono_ms + job.due_at_ms - now.wall_ms
            wait = before.get(job.id)
            if wait is None or not wait.goes_on(job, self._stepped_back_ms):
                wait = Wait(job.attempt, job.due_at_ms, over_mono_ms)
            elif over_mono_ms > wait.over_mono_ms + ADJUSTED_MS:
                raise Broken(f"{job} waits for {over_mono_ms - wait.over_mono_ms} ms longer than it was to")
            self._waits[job.id] = wait._replace(due_at_ms=job.due_at_ms)
        self._stepped_back_ms = 0

    def stepped_back(self, by_ms: int) -> None:
        """The wall clock was, the daemon says."""
        self._stepped_back_ms = by_ms

    def ran_out(self, run: int | None, key: tuple[str, str], heard: bool, mono_ms: int) -> None:
        """A lease did, says the daemon. ``heard``: its worker's messages do not wait."""
        assert run is not None
        self._ran_out.add(run)
        self.book.ran_out.add(run)
        if mono_ms < self._leases.get(run, 0):
            raise Broken(f"the lease of run {run} ran out {self._leases[run] - mono_ms} ms early")
        if heard and run in self.book.heard:
            raise Broken(f"the lease of run {run} ran out, although its response had arrived")
        if run in self.book.runs:
            self.book.runs[run].ran_out += 1
        else:
            # Of an earlier life, which ended before anybody was given it.
            self.book.sent["ungiven", key] += 1

    def leave(self, jobs: list[dict[str, Any]]) -> None:
        """So many runs are given out by a step."""
        for job in sorted(jobs, key=lambda job: int(job["run"])):
            if job["run"] <= self._last_run:
                raise Broken(f"run {job['run']} after run {self._last_run}")
            self._last_run = job["run"]
            version = self.book.runs[job["run"]] = self.book.version_of(
                job["workload"], job["name"], job_of(job["handle"])
            )
            # Where it leaves: one that was given out before may be heard of late.
            if version.finished:
                raise Broken(f"{version} is given out again, although its finish was answered")
            version.was_given = True

    def rate_begins_anew(self, func: str) -> None:
        """Perhaps another was set."""
        self._begun.pop(func, None)

    def only_what_may_begins(self, jobs: list[dict[str, Any]], store: FaultyStore, scheduler: Scheduler) -> None:
        """By what is set of functions on the disk, as so many runs are given out by a step."""
        now = scheduler.step.now
        running = Counter(run.job.func for run in scheduler.runs.in_progress if run.job.broadcast is None)
        for func, is_broadcast in [(job["func"], job["broadcast"]) for job in jobs]:
            function = store.disk.functions.get(func, NOTHING_SET)
            if function.paused:
                raise Broken(f"a run of {func}, which is paused")
            if is_broadcast:
                continue
            if function.running_max is not None and running[func] > function.running_max:
                raise Broken(f"{running[func]} runs of {func}, which may have {function.running_max}")
            if function.rate is not None:
                self._begins(func, function.rate, now)

    def locks_are_held_by_no_more_than_may(
        self, jobs: list[dict[str, Any]], store: FaultyStore, scheduler: Scheduler
    ) -> None:
        """By what is set of them on the disk, as so many runs are given out by a step. A capacity may be lowered."""
        running = [run.job for run in scheduler.runs.in_progress if run.job.locks]
        begun = {job["run"] for job in jobs}
        taken = [run.job for run in scheduler.runs.in_progress if run.number in begun and run.job.locks]
        for lock in sorted({lock for job in taken for lock in job.locks or ()}):
            set_ = store.disk.locks.get(lock, NO_LOCK)
            used = sum((job.locks or {}).get(lock, 0) for job in running)
            if used > set_.capacity:
                raise Broken(f"{used} of lock {lock} are held, whose capacity is {set_.capacity}")
        for job in running:
            if job.id not in {each.id for each in store.on_disk().values() if each.state is State.RUNNING}:
                raise Broken(f"{job} runs and holds locks, and a restart would not know it")

    def what_is_used_of_a_lock_is_somebody_s(self, scheduler: Scheduler, store: FaultyStore) -> None:
        """A run's, or it is kept for a job that waits."""
        for name, use in scheduler.locks.uses.by_name.items():
            if not use.holders and not use.has_line and use.lock == NO_LOCK:
                raise Broken(f"lock {name} is remembered, and nobody uses it")
            if use.used != sum(use.holders.values()):
                raise Broken(f"{use.used} of lock {name} are used, by {use.holders}")
            for job_id in use.holders:
                kept = store.on_disk().get(job_id)
                if kept is None or kept.state not in (State.WAITING, State.RUNNING):
                    raise Broken(f"lock {name} is held by {kept or job_id}")

    def what_nothing_holds_back_runs(self, scheduler: Scheduler, store: FaultyStore) -> None:
        """So ``explain`` and the dispatch agree: after a step a gate is closed to each job that did not begin."""
        if scheduler.locks.to_look or scheduler.locks.has_parked_enough:
            return  # the rest is for the next step
        for job in store.on_disk().values():
            if job.id in scheduler.runs.in_progress:
                continue
            locks = job.locks or {}
            heads = store.look(order.Heads(tuple(locks))) if job.state is State.PARKED else {}
            if not list(scheduler.explain.gates(job, heads, store.disk.groups.get(job.id))):
                raise Broken(f"nothing holds {job} back, and it does not run")

    def who_is_parked_has_locks_or_a_group(self, store: FaultyStore) -> None:
        for job in store.on_disk().values():
            if job.state is State.PARKED and not job.locks and job.id not in store.disk.groups:
                raise Broken(f"{job} is parked")

    def _begins(self, func: str, rate: Rate, now: Now) -> None:
        """A rate lets no more begin, also over a restart; a clock that was stepped begins another count."""
        begun = self._begun.setdefault(func, deque(maxlen=2 * rate.count))
        if begun and begun[-1].wall_ms - begun[-1].mono_ms != now.wall_ms - now.mono_ms:
            begun.clear()
        for ago in (rate.count, 2 * rate.count):
            if (
                len(begun) >= ago
                and now.mono_ms - begun[-ago].mono_ms < (ago - rate.count + 1) * rate.per_ms // rate.count - 1
            ):
                raise Broken(f"the {ago + 1}th run of {func} since {begun[-ago]}, whose rate is {rate}, at {now}")
        begun.append(now)

    def is_told(self, handle: str, kind: str) -> None:
        """A ``notice`` arrived."""
        if kind == "lost" and handle in self.book.accepted:
            raise Broken(f"{handle} is told lost, although its report was accepted")

    def one_run_a_job(self, scheduler: Scheduler, store: FaultyStore) -> None:
        keys = [run.job.key for run in scheduler.runs.in_progress]
        if len(keys) != len(set(keys)):
            raise Broken(f"two runs of one job: {keys}")
        running = {job.id for job in store.on_disk().values() if job.state is State.RUNNING}
        if not running <= {run.job.id for run in scheduler.runs.in_progress}:
            raise Broken("the store says of a job that it runs, and nobody runs it")

    def memory_is_a_part_of_the_store(self, scheduler: Scheduler, windows: list[Window], store: FaultyStore) -> None:
        disk = store.on_disk()
        queues = scheduler.dispatch.queues
        remembered = [job for window in windows for job in window.jobs]
        if len(remembered) != len(queues) or not all(queues.get(job.id) is job for job in remembered):
            raise Broken(f"the windows hold {len(remembered)} jobs, and {len(queues)} are counted")
        for job in remembered:
            kept = disk.get(job.id)
            if kept is None or kept.state is not State.WAITING or kept.due_at_ms != job.due_at_ms:
                raise Broken(f"memory has {job}, the store {kept}")
        for run in scheduler.runs.in_progress:
            kept = disk.get(run.job.id)
            if kept is None or kept.state not in (State.WAITING, State.RUNNING):
                raise Broken(f"a run of {run.job}, but the store has {kept}")
            if kept.state is State.RUNNING and kept.handle != run.handle:
                raise Broken(f"the store's claim {kept.handle} is not the run {run.handle}")

    def windows_have_no_holes(self, scheduler: Scheduler, windows: list[Window], store: FaultyStore) -> None:
        queues = scheduler.dispatch.queues
        window_of = {(window.func, window.priority): window for window in windows}
        for job in store.on_disk().values():
            is_elsewhere = job.broadcast is not None or job.id in scheduler.runs.in_progress
            if job.state is not State.WAITING or is_elsewhere:
                continue
            if not queues.is_open(job.func) or queues.get(job.id) is not None:
                continue
            window = window_of.get((job.func, job.priority))
            place = (job.due_at_ms, job.id)
            if window is None or window.horizon is None or place <= window.horizon:
                raise Broken(f"{job} waits within the window, and memory does not know it")
            if window.jobs and place < (window.jobs[0].due_at_ms, window.jobs[0].id):
                raise Broken(f"{job} comes before {window.jobs[0]}, and memory does not know it")

    def everything_stays_under_its_limit(self, scheduler: Scheduler, lanes: int) -> None:
        budget = scheduler.settings.budget
        # Each lane keeps at least its first job, and a page that was just read.
        if len(scheduler.dispatch.queues) > budget.jobs * 5 // 4 + lanes + budget.page_jobs:
            raise Broken(f"{len(scheduler.dispatch.queues)} jobs in memory")
        for peer in scheduler.connections:
            if peer.told & peer.performing.keys():
                raise Broken(f"connection {peer.number} was asked twice by one number: {peer.told}")
            if len(peer.performing) > peer.credit:
                raise Broken(f"connection {peer.number} was given {len(peer.performing)} jobs, and takes {peer.credit}")
            if peer.performing.keys() != scheduler.runs.requests[peer].keys():
                raise Broken(f"connection {peer.number} has no room for what it has answered: {peer.performing}")
            for subscription in peer.subscriptions.values():
                running = sum(each is subscription for each in peer.performing.values())
                if running != subscription.running or running > max(subscription.limit, 1) + 10:
                    counted = f"{subscription.running} are counted"
                    raise Broken(f"connection {peer.number} runs {running} of {subscription.func}, {counted}")

    def starts(self, job: dict[str, Any], wall_ms: int) -> None:
        """A ``perform`` leaves."""
        version = self.book.version_of(job["workload"], job["name"], job_of(job["handle"]))
        if job["due_at_ms"] > wall_ms:
            raise Broken(f"{version} starts {job['due_at_ms'] - wall_ms} ms early")
        if version.unwanted:
            raise Broken(f"{version} was refused, and runs")
        version.runs += 1

    def all_is_done(self, store: FaultyStore, wall_ms: int) -> None:
        """Once the faults have stopped and honest workers had time. What came due only now has had none."""
        # Only its lease brings back what a taker lost, and a clock that was set back before a restart prolongs that.
        taken = {job.key for job in store.on_disk().values() if job.taken_ms and (job.lease_until_at_ms or 0) > wall_ms}
        for job in store.on_disk().values():
            # One that waits for its group does so rightly: that group is open.
            waits = job.key in taken or job.state is State.DEAD or job.id in store.disk.groups
            if not waits and job.due_at_ms <= wall_ms - TIME_TO_RUN_MS:
                raise Broken(f"{job} is still there, though everything healed")
