"""Workers that take jobs by asking: long polls that are answered with the jobs that are due.

While a take waits it stands in the rotations of its functions as a subscription does. Its runs belong to no connection:
only a report or their lease ends them.
"""

from periodicd.job import Job
from periodicd.protocol import answers, requests
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.peers import Peer, Subscription
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step
from periodicd.scheduler.waits import Waits
from periodicd.store import ops


class Take:
    def __init__(self, peer: Peer, msgid: int, query: requests.Take) -> None:
        self.peer = peer
        self.msgid = msgid
        self.query = query
        self.subscriptions = [Subscription(peer, func, query.max, self) for func in query.funcs]
        self.jobs: list[answers.PerformedJob] = []
        """What the answer will give."""


class Takes:
    def __init__(self, step: Step, waits: Waits, dispatch: Dispatch, runs: Runs) -> None:
        self._step = step
        self._waits = waits
        self._dispatch = dispatch
        self._runs = runs
        self._waiting: dict[Take, None] = {}
        self._filled: dict[Take, None] = {}
        """Those that have a job, and are answered in this step."""

    def begin(self, peer: Peer, msgid: int, query: requests.Take) -> None:
        if peer.has_ended:
            self._step.reply(peer, msgid, {"jobs": []})
            return
        take = Take(peer, msgid, query)
        # What is due now is given in this step; so even one that does not wait ends after it.
        if self._waits.begin(peer, msgid, max(1, query.wait_ms), lambda: self._end(take)):
            self._waiting[take] = None
            for subscription in take.subscriptions:
                self._dispatch.enter(subscription)

    def give(self, subscription: Subscription, job: Job) -> None:
        """The job is this take's. The others of its functions may have none left then."""
        take = subscription.take
        assert isinstance(take, Take)
        run = self._runs.begin_taken(job, take.query.lease_ms)
        take.peer.expect(job.workload_bytes)
        for each in take.subscriptions:
            each.running += 1
        self._filled[take] = None
        self._add(take, run)

    def _add(self, take: Take, run: Run) -> None:
        place = len(take.jobs)
        take.jobs.append(answers.performed(run.job, run.handle, run.number, run.lease_ms))
        if run.job.workload is None:

            def on_fetched(stored: Job | None) -> None:
                take.jobs[place]["workload"] = None if stored is None else stored.workload

            self._step.read(ops.Fetch(run.job.id), on_fetched)

    def stop(self) -> None:
        """The daemon stops: nobody is given jobs any more."""
        for take in list(self._waiting):
            self._waits.end(take.peer, take.msgid)
            self._end(take)

    def answer(self) -> None:
        """The step is over: those that were given jobs are answered."""
        filled, self._filled = self._filled, {}
        for take in filled:
            self._waits.end(take.peer, take.msgid)
            self._end(take)

    def _end(self, take: Take) -> None:
        del self._waiting[take]
        for subscription in take.subscriptions:
            self._dispatch.leave(subscription)
        take.subscriptions.clear()  # or they and the take would hold each other
        answer: answers.TakeAnswer = {"jobs": take.jobs}
        self._step.reply(take.peer, take.msgid, answer)
