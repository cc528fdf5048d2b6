"""What clients do with one job: submit, look at, watch, take away, cancel, move it. Decides nothing about runs.

The store says what is there and what became of the request; here is what memory has to know of that, and the answer.
"""

from functools import partial

from periodic_client.wire import Full
from periodicd.protocol import answers, requests
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.numbers import Numbers
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step
from periodicd.scheduler.watches import Watches
from periodicd.store import ops


class Steering:
    def __init__(
        self, step: Step, numbers: Numbers, runs: Runs, dispatch: Dispatch, jobs: Jobs, watches: Watches
    ) -> None:
        self._step = step
        self._numbers = numbers
        self._runs = runs
        self._dispatch = dispatch
        self._jobs = jobs
        self._watches = watches
        self._looked_for: dict[tuple[Peer, int], requests.Watch] = {}
        """What is watched, until the store has said what there is."""

    def submit(self, peer: Peer, msgid: int, submission: requests.Submission) -> None:
        def on_put(result: ops.PutResult) -> None:
            if result.result == "full":
                text = f"{submission.job.func} has as many jobs as its queue_max allows; try later"
                self._step.refuse(peer, msgid, Full(text))
                return
            answer: answers.SubmitAnswer = {"result": result.result, "id": result.id}
            self._step.reply(peer, msgid, answer)

        self._jobs.put(submission, on_put)

    def submit_batch(self, peer: Peer, msgid: int, submissions: tuple[requests.Submission, ...]) -> None:
        answer: answers.SubmitBatchAnswer = {"results": [], "ids": []}

        def on_put(result: ops.PutResult) -> None:
            answer["results"].append(result.result)
            answer["ids"].append(result.id or None)
            if len(answer["ids"]) == len(submissions):
                self._step.reply(peer, msgid, answer)

        for submission in submissions:
            self._jobs.put(submission, on_put)
        if not submissions:
            self._step.reply(peer, msgid, answer)

    def remove(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        self._jobs.remove(func, name, job_id, None, partial(self._reply, peer, msgid))

    def requeue(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            answer: answers.RequeueAnswer = {"result": result.result, "id": result.job.id if result.job else None}
            self._step.reply(peer, msgid, answer)

        self._jobs.requeue(func, name, job_id, on_requeued)

    def cancel(self, peer: Peer, msgid: int, cancel: ops.Cancel) -> None:
        self._jobs.cancel(cancel, partial(self._reply, peer, msgid))

    def move(self, peer: Peer, msgid: int, move: ops.Move) -> None:
        self._jobs.move(move, partial(self._reply, peer, msgid))

    def _reply(self, peer: Peer, msgid: int, result: ops.RemoveResult | ops.CancelResult | ops.MoveResult) -> None:
        answer: answers.ResultAnswer = {"result": result.result}
        self._step.reply(peer, msgid, answer)

    def get(self, peer: Peer, msgid: int, get: ops.Get) -> None:
        def on_job(found: ops.GetResult) -> None:
            run = None if found.shown is None else self._runs.in_progress.of_job(found.shown.job.id)
            worker = None if run is None or run.peer is None else run.peer.shown
            self._step.reply(peer, msgid, answers.got(found, worker, get.workload))

        self._runs.claim((get.func, get.name))
        self._step.read(get, on_job)

    def watch(self, peer: Peer, msgid: int, query: requests.Watch) -> None:
        def on_found(found: ops.GetResult) -> None:
            self._watches.watch(peer, msgid, self._looked_for.pop((peer, msgid)), found)

        self._runs.claim((query.func, query.name))
        self._looked_for[peer, msgid] = query
        self._step.read(ops.Get(query.func, query.name, query.job_id, False, self._step.now.wall_ms), on_found)

    def unwatch(self, peer: Peer, msgid: int) -> None:
        """The time of this request is over before it began to wait."""
        query = self._looked_for.get((peer, msgid))
        if query is not None:
            self._looked_for[peer, msgid] = query._replace(timeout_ms=0)

    def end_run(self, peer: Peer, msgid: int, end: requests.EndRun) -> None:
        def reply(result: str) -> None:
            answer: answers.ResultAnswer = {"result": result}
            self._step.reply(peer, msgid, answer)

        def on_job(found: ops.GetResult) -> None:
            run = None if found.shown is None else self._runs.in_progress.of_job(found.shown.job.id)
            if found.shown is None:
                reply(found.result)
            elif run is None:
                reply("not_running")
            else:
                self._runs.stop(run, end.how, lambda ended: reply("ended" if ended.found else "not_running"))

        self._step.read(ops.Get(end.func, end.name, end.job_id, False), on_job)
