"""What is promised of broadcasts: each is given once, to every connection of its function, and its figures are true."""

import json
from collections.abc import Iterable
from typing import Any

from periodicd.clock import Now
from periodicd.job import Broadcast, Job, State
from periodicd.scheduler import Scheduler
from periodicd.scheduler.peers import Peer
from tests.sim.book import Book, Broken, job_of
from tests.sim.network import Asked
from tests.sim.store import Image


class Broadcasts:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._known: set[int] = set()
        """Jobs that are."""
        self._begun: set[int] = set()
        """Jobs that were given out in some step."""
        self._accepted: dict[int, Broadcast] = {}
        """By job: reports that were answered."""
        self.runs = 0
        """Of all of them."""

    def new_life(self, now: Now, waits_ms: int) -> None:
        self._of_this_life: set[int] = set()
        self._told: dict[int, set[Peer]] = {}
        self._from_ms = now.mono_ms + waits_ms
        """Before this nothing is broadcast."""

    def step_begins(self, peers: Iterable[Peer]) -> None:
        self._could_take = {peer for peer in peers if peer.can_take_more}

    def begin(
        self, before: Image, after: Image, given: list[tuple[Peer, dict[str, Any]]], taken: list[dict[str, Any]]
    ) -> None:
        """A step has changed the disk so, and gives out these runs."""
        for image in (before, after):
            self._known |= {job.id for job in image.jobs.values() if job.broadcast is not None}
        if any(job["broadcast"] for job in taken):
            raise Broken(f"a broadcast was taken: {taken}")
        self._given: dict[int, list[Peer]] = {}
        for peer, job in given:
            if job["broadcast"]:
                self._given.setdefault(job_of(job["handle"]), []).append(peer)

    def answered(self, asked: Asked, result: dict[str, Any]) -> None:
        if asked.method == "finish" and asked.memo is not None:
            job, outcome = asked.memo
            if job["broadcast"]:
                counted = self._accepted.get(job_of(job["handle"]), Broadcast())
                is_done = outcome is None or isinstance(outcome, bytes) or outcome["outcome"] == "done"
                more = counted._replace(done=counted.done + is_done, failed=counted.failed + (not is_done))
                self._accepted[job_of(job["handle"])] = more

    def was_one(self, job_id: int, key: tuple[str, str]) -> bool:
        """A job that is done. One that had no runs is in no picture, and nobody can have reported it."""
        unseen = job_id not in self._book.done_sent and any(each.broadcast for each in self._book.latest[key])
        return job_id in self._known or unseen

    def has_ended(self, job_id: int, data: bytes | None) -> None:
        """So it was told, with this result, if that is known."""
        if data is None:
            return
        figures = Broadcast(**json.loads(data))
        if figures.runs != figures.done + figures.failed + figures.lost:
            raise Broken(f"broadcast {job_id} has ended with {figures}")
        self._is_true(job_id, figures)

    def _is_true(self, job_id: int, figures: Broadcast) -> None:
        """Whoever was answered is counted; and nobody that has sent nothing."""
        accepted, sent = self._accepted.get(job_id, Broadcast()), self._book.parts_sent.get(job_id, {})
        done = sum(sent.values())
        failed = len(sent) - done
        if not accepted.done <= figures.done <= done or not accepted.failed <= figures.failed <= failed:
            raise Broken(f"broadcast {job_id} is {figures}, {sent} were sent, and {accepted} answered")

    def check(self, before: Image, after: Image, scheduler: Scheduler) -> None:
        """After every step that ended well."""
        now = scheduler.step.now
        if self._given and now.mono_ms < self._from_ms:
            raise Broken(f"{self._given} are broadcast at {now}, too soon after the start")
        for job in after.jobs.values():
            was = before.jobs.get(job.id)
            if job.broadcast is not None and job.state is State.RUNNING and (was is None or was.state != job.state):
                self._begins(job, scheduler)
        for job_id, peers in self._given.items():
            self._is_given(job_id, peers, after.jobs[job_id])
        for job in before.jobs.values():
            later = after.jobs.get(job.id)
            if job.broadcast is not None and later is not None and later.broadcast is not None:
                self._goes_on(job, later)
            elif job.broadcast is not None and job.state is State.WAITING and job.due_at_ms > now.wall_ms:
                self._left_before_its_time(job)
        for job in after.jobs.values():
            if job.broadcast is not None and job.state is State.RUNNING:
                self._runs(job, scheduler)

    def _is_given(self, job_id: int, peers: list[Peer], job: Job) -> None:
        told = self._told.setdefault(job_id, set())
        if told & set(peers) or len(set(peers)) != len(peers):
            raise Broken(f"{job} is given again to one of {peers}")
        told.update(peers)
        self.runs += len(peers)
        if job_id not in self._of_this_life:
            raise Broken(f"{job} is given, and does not run")

    def _begins(self, job: Job, scheduler: Scheduler) -> None:
        """To every connection of its function; some may have to wait for their run."""
        if job.id in self._begun:
            raise Broken(f"{job} begins again")
        self._begun.add(job.id)
        self._of_this_life.add(job.id)
        peers = self._given.get(job.id, [])
        wanted = [peer for peer in scheduler.connections if job.func in peer.subscriptions]
        assert job.broadcast is not None
        if job.broadcast.runs != len(wanted):
            raise Broken(f"{job} is for {job.broadcast.runs}, and those of its function are {wanted}")
        could_take = {peer for peer in set(wanted) & self._could_take if peer.can_take_more}
        if could_take - set(peers):
            raise Broken(f"{job} is not given to {could_take - set(peers)}")

    def _goes_on(self, job: Job, later: Job) -> None:
        was, now = job.broadcast, later.broadcast
        assert was is not None
        assert now is not None
        if was.runs and (was.runs != now.runs or not all(a <= b for a, b in zip(was, now, strict=True))):
            raise Broken(f"the figures of {job} have become {now}")

    def _left_before_its_time(self, job: Job) -> None:
        version = self._book.version_of(job.workload, job.name, job.id)
        if set(version.excuses) <= {"it is broadcast"} and not version.may_be_removed_dead:
            raise Broken(f"{job} is gone before its time")

    def _runs(self, job: Job, scheduler: Scheduler) -> None:
        whole = scheduler.runs.in_progress.of_job(job.id)
        if whole is None or job.id not in self._of_this_life:
            raise Broken(f"{job} runs since another life")
        figures = job.broadcast
        assert figures is not None
        if figures != whole.job.broadcast or figures.runs != sum(figures[1:]) + len(whole.parts):
            raise Broken(f"{job} has {len(whole.parts)} runs, and memory has {whole.job.broadcast}")
        if not whole.parts:
            raise Broken(f"{job} has no runs, and has not ended")
        for part in whole.parts.values():
            if part.peer is None or part.peer not in scheduler.connections:
                raise Broken(f"a run of {job} is nobody's")
        self._is_true(job.id, figures)
