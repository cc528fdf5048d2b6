"""The face of the rules: one method for each message, in protocol.md's order and words, and what connects the parts.

No I/O, no clock, no randomness, no await: the time is given with ``begin``, what is to be stored and said leaves
through the ``Step``, and the store's answers come back through it. What memory holds is always a part of what the store
holds, but for runs whose claim is not written yet.

    runs        who runs what, until when; the one place where a run begins and ends
    dispatch    who gets which job
    jobs        their records, as they come, go and end
    connections who is there
    listings    pages of jobs, made beside the steps
    matching    requests on many jobs
    purges      how long dead jobs are kept
    figures     what is counted for ``status``
"""

from typing import Any

from periodic_client.wire import (
    Draining,
    Invalid,
    LeaseLost,
    limits,
)
from periodicd.clock import Now
from periodicd.protocol import answers, fields, requests
from periodicd.scheduler.clocks import Clocks
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.events import SteppedBack
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.listings import Listings
from periodicd.scheduler.matching import WORDS, Matching
from periodicd.scheduler.numbers import Chance, Numbers
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.purges import Purges
from periodicd.scheduler.runs import Claims, Runs, job_of
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.status import Status
from periodicd.scheduler.step import Step
from periodicd.store import ops


class Scheduler:
    def __init__(self, boot: ops.BootResult, now: Now, chance: Chance, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.boot = boot.boot
        self.draining = False
        self.shutdown_asked = False
        self.step = Step(now)
        self.rules = requests.Rules(now.wall_ms, self.settings.workload_bytes)
        """What params are checked by in this step."""
        self.numbers = Numbers(self.step, boot.next_id)
        claims = Claims(self.step, self.settings.claim_delay_ms, self.settings.claim_delay_max_ms)
        self.runs = Runs(self.step, self.numbers, boot.boot, chance, claims)
        self.dispatch = Dispatch(self.step, self.settings.budget, self.runs.is_running)
        self.connections = Connections(self.step, self.settings.idle_ms, self.runs.has_taken_over)
        self.figures = Figures()
        self.jobs = Jobs(self.step, self.numbers, self.runs, self.dispatch, self.figures)
        self.purges = Purges(self.step, self.settings.dead_kept_ms, self.settings.dead_kept)
        self.listings = Listings(self.step)
        self.matching = Matching(self.step, self.listings, self.numbers, self.jobs)
        self._status = Status(
            self.step, self.settings, self.boot, self.runs, self.dispatch, self.connections, self.figures
        )
        self._clocks = Clocks(now)
        for job in boot.running:
            self.runs.recover(job, self.settings.restart_grace_ms)

    # -- time ----------------------------------------------------------------------------------------------------------

    def begin(self, now: Now) -> None:
        """A step begins. Messages may follow, then ``advance``."""
        self.step.now = now
        self.rules = requests.Rules(now.wall_ms, self.settings.workload_bytes)
        self._clocks.look(now)
        if self._clocks.was_suspended:
            self.connections.was_suspended()
            self.runs.was_suspended()
        if self._clocks.stepped_back_ms:
            self._step_back(self._clocks.stepped_back_ms)

    def _step_back(self, by_ms: int) -> None:
        """Waits are durations: they end when the clock would have said so, had it not been stepped back.

        Costs the store a change of each job that waits for no date.
        """
        self.step.tell(SteppedBack(by_ms))
        self.runs.claim_all()
        self.step.write(ops.Shift(by_ms), lambda _: self.dispatch.read_anew())

    def advance(self) -> None:
        """Do what the time asks for."""
        self.runs.advance()
        self.dispatch.advance()
        self.connections.advance()
        self.purges.advance()
        self.matching.advance()

    def next_ms(self) -> int:
        """How long after this step nothing needs to be done, if nothing arrives."""
        parts = (self.runs, self.dispatch, self.connections, self.purges, self.matching)
        return max(0, min(wait_ms for part in parts if (wait_ms := part.next_ms()) is not None))

    def ask(self) -> list[ops.Op[Any]]:
        """What the store is to be asked now: first what follows from messages and answers, then to give out."""
        asked = self.step.ask()
        if not asked:
            self._give_out()
            asked = self.step.ask()
        return asked

    def drain(self) -> None:
        """The daemon stops: from now on nothing is given out, and the workers are told."""
        self.draining = True
        self.dispatch.stop()
        for run in self.runs:
            self.step.notice(run.peer, run.handle, "stop", "the daemon is stopping")

    # -- connections ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        self.connections.add(peer)
        self.runs.attach(peer)

    def detach(self, peer: Peer) -> None:
        """The connection is gone, unless it was so before."""
        if peer not in self.connections:
            return
        self.connections.remove(peer)
        for func in list(peer.subscriptions):
            self.dispatch.unsubscribe(peer, func)
        self.runs.detach(peer)

    # -- anyone's messages ---------------------------------------------------------------------------------------------

    def hello(self, peer: Peer, msgid: int, options: fields.Hello) -> None:
        """What is not said stays as it was. There is one version and no feature yet, so nothing else can be agreed."""
        for attribute in ("client", "credit", "disconnect_grace_ms", "silence_ms"):
            said = getattr(options, attribute)
            if said is not None:
                setattr(peer, attribute, said)
        self.dispatch.has_room(peer)
        settings = self.settings
        answer = answers.hello(
            settings.server,
            self.boot,
            self.step.now.wall_ms,
            settings.durability,
            settings.message_bytes,
            settings.workload_bytes,
        )
        self.step.reply(peer, msgid, answer)

    def ping(self, peer: Peer, msgid: int) -> None:
        self.step.reply_last(peer, msgid)

    # -- a client's messages -------------------------------------------------------------------------------------------

    def submit(self, peer: Peer, msgid: int, submission: requests.Submission) -> None:
        def on_put(result: ops.PutResult) -> None:
            answer: answers.SubmitAnswer = {"result": result.result, "id": result.id}
            self.step.reply(peer, msgid, answer)

        self.jobs.put(submission, on_put)

    def submit_batch(self, peer: Peer, msgid: int, submissions: tuple[requests.Submission, ...]) -> None:
        answer: answers.SubmitBatchAnswer = {"results": [], "ids": []}

        def on_put(result: ops.PutResult) -> None:
            answer["results"].append(result.result)
            answer["ids"].append(result.id)
            if len(answer["ids"]) == len(submissions):
                self.step.reply(peer, msgid, answer)

        for submission in submissions:
            self.jobs.put(submission, on_put)
        if not submissions:
            self.step.reply(peer, msgid, answer)

    def remove(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        def on_removed(result: ops.RemoveResult) -> None:
            answer: answers.RemoveAnswer = {"result": result.result}
            self.step.reply(peer, msgid, answer)

        self.jobs.remove(func, name, job_id, None, on_removed)

    def requeue(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            answer: answers.RequeueAnswer = {"result": result.result, "id": result.job.id if result.job else None}
            self.step.reply(peer, msgid, answer)

        self.jobs.requeue(func, name, job_id, on_requeued)

    def get(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None, workload: bool) -> None:
        def on_job(found: ops.GetResult) -> None:
            job = None if found.shown is None else answers.describe(found.shown, workload)
            answer: answers.GetAnswer = {"result": found.result, "job": job}
            self.step.reply(peer, msgid, answer)

        self.runs.claim((func, name))
        self.step.read(ops.Get(func, name, job_id, workload), on_job)

    def list(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.listings.show(peer, msgid, listing)

    def status(self, peer: Peer, msgid: int, query: requests.FunctionsQuery) -> None:
        self._status.ask(peer, msgid, query)

    def remove_matching(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.matching.begin(peer, msgid, WORDS["remove"], listing)

    def requeue_matching(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.matching.begin(peer, msgid, WORDS["requeue"], listing)

    def shutdown(self, peer: Peer, msgid: int) -> None:
        self.shutdown_asked = True
        self.step.reply(peer, msgid)

    # -- a worker's messages -------------------------------------------------------------------------------------------

    def subscribe(self, peer: Peer, msgid: int, func: str, limit: int) -> None:
        if self.draining:
            self.step.refuse(peer, msgid, Draining("the daemon is stopping"))
        elif func not in peer.subscriptions and len(peer.subscriptions) >= limits.SUBSCRIPTIONS_MAX:
            text = f"a connection may subscribe to {limits.SUBSCRIPTIONS_MAX} functions"
            self.step.refuse(peer, msgid, Invalid(text))
        else:
            peer.said_goodbye = False
            self.dispatch.subscribe(peer, func, limit)
            self.step.reply(peer, msgid)

    def unsubscribe(self, peer: Peer, msgid: int, func: str) -> None:
        if self.dispatch.unsubscribe(peer, func):
            peer.said_goodbye = not peer.subscriptions
        self.step.reply(peer, msgid)

    def unsubscribe_all(self, peer: Peer, msgid: int) -> None:
        for func in list(peer.subscriptions):
            self.dispatch.unsubscribe(peer, func)
        peer.said_goodbye = True
        self.step.reply(peer, msgid)

    def respond(self, peer: Peer, msgid: int | None, error: str | None, result: Any) -> None:
        """The response to a ``perform``: the end of the run, and room for another."""
        run = self.runs.answered(peer, msgid) if msgid is not None else None
        if run is None or msgid is None:
            return  # to a request that was never made
        self.dispatch.give_room(peer, msgid)
        if run.lost or run.reported:
            return
        outcome, is_readable = requests.response(error, result, self.rules)
        if not is_readable:
            self.step.notice(run.peer, run.handle, "refused", outcome.reason)

        def on_ended(ended: ops.Ended) -> None:
            if not ended.found:
                self.runs.tell_lost(run, "its job was removed, replaced or given out again")

        self.runs.report(run, outcome, self.jobs.follow_ons(outcome), on_ended)

    def finish(self, peer: Peer, msgid: int, handle: str, outcome: requests.Outcome) -> None:
        run, job_id = self.runs.find(handle), job_of(handle)

        def on_ended(ended: ops.Ended) -> None:
            if ended.found:
                self.step.reply(peer, msgid)
                return
            text = "this is not the latest run of a job, or it was reported already"
            self.step.refuse(peer, msgid, LeaseLost(text))
            if run is not None:
                self.runs.not_counted(run, peer, "its job was removed or replaced")

        if run is not None:
            run.reported = True
            self.runs.report(run, outcome, self.jobs.follow_ons(outcome), on_ended)
        elif job_id is None:
            on_ended(ops.Ended(False))
        else:
            self.runs.report_late(job_id, handle, outcome, self.jobs.follow_ons(outcome), on_ended)

    def extend(self, peer: Peer, msgid: int, handle: str, lease_ms: int | None, own: bool) -> None:
        """The lease starts anew. A worker that has connected again says that the run is its own."""
        run = self.runs.in_progress(handle)
        if run is None:
            self.step.refuse(peer, msgid, LeaseLost("this run is not in progress"))
            return
        if own and run.peer is not peer:
            self.runs.take_over(run, peer)

        def on_extended(found: bool) -> None:
            if not found:
                self.step.refuse(peer, msgid, LeaseLost("its job was removed or replaced"))
                return
            answer: answers.ExtendAnswer = {"lease_until_at_ms": until_at_ms}
            self.step.reply(peer, msgid, answer)

        until_at_ms = self.runs.extend(run, lease_ms or run.job.lease_ms, on_extended)

    # -- what connects the parts ---------------------------------------------------------------------------------------

    def _give_out(self) -> None:
        for subscription, job in self.dispatch.pairs():
            self.figures.note_start(job, self.step.now.wall_ms)
            self.runs.begin(subscription, job)
