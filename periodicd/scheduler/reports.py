"""What workers say of their runs: how they ended, that they go on, how far they are. Decides nothing about jobs.

A run's end is carried out by ``Runs``; here is who is answered what about it.
"""

from typing import Any

from periodic_client.wire import LeaseLost
from periodicd.protocol import answers, requests
from periodicd.scheduler.broadcasts import Broadcasts
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.numbers import job_of
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.watches import Watches
from periodicd.store import ops


class Reports:
    def __init__(
        self, step: Step, runs: Runs, dispatch: Dispatch, jobs: Jobs, watches: Watches, broadcasts: Broadcasts
    ) -> None:
        self._step = step
        self._runs = runs
        self._dispatch = dispatch
        self._jobs = jobs
        self._watches = watches
        self._broadcasts = broadcasts

    def respond(self, peer: Peer, msgid: int | None, error: str | None, result: Any, rules: requests.Rules) -> None:
        """The response to a ``perform``: the end of the run, and room for another."""
        run = self._runs.answered(peer, msgid) if msgid is not None else None
        if run is not None and msgid is not None:
            self._dispatch.give_room(peer, msgid)
        elif msgid in peer.told:
            run = peer.told.pop(msgid)
        else:
            return  # to a request that was never made
        if run.lost or run.reported:
            return
        outcome, is_readable = requests.response(error, result, rules)
        if not is_readable:
            self._step.notice(run.peer, run.handle, "refused", outcome.reason)

        def on_ended(ended: ops.Ended) -> None:
            if not ended.found:
                self._runs.tell_lost(run, "its job was removed, replaced or given out again")

        follow_ons = self._jobs.follow_ons(outcome) if outcome.submit or outcome.then else ops.NO_FOLLOW_ONS
        self._report(run, outcome, follow_ons, on_ended)

    def _report(self, run: Run, outcome: requests.Outcome, follow_ons: ops.FollowOns, then: Then[ops.Ended]) -> None:
        ended_by = self._broadcasts if run.job.broadcast is not None else self._runs
        ended_by.report(run, outcome, follow_ons, then)

    def finish(self, peer: Peer, msgid: int, handle: str, outcome: requests.Outcome) -> None:
        run, job_id = self._runs.find(handle) or self._broadcasts.find(handle), job_of(handle)

        def on_ended(ended: ops.Ended) -> None:
            if ended.found:
                self._step.reply(peer, msgid)
                return
            text = "this is not the latest run of a job, or it was reported already"
            self._step.refuse(peer, msgid, LeaseLost(text))
            if run is not None:
                self._runs.not_counted(run, peer, "its job was removed or replaced")

        if run is not None:
            run.reported = True
            self._report(run, outcome, self._jobs.follow_ons(outcome), on_ended)
        elif job_id is None:
            on_ended(ops.Ended(False))
        else:
            self._runs.report_late(job_id, handle, outcome, self._jobs.follow_ons(outcome), on_ended)

    def extend(self, peer: Peer, msgid: int, handle: str, lease_ms: int | None, own: bool) -> None:
        """The lease starts anew. A worker that has connected again says that the run is its own."""
        run = self._in_progress(peer, msgid, handle)
        if run is None:
            return
        is_part = run.job.broadcast is not None
        if own and run.peer is not peer:
            if is_part:
                self._step.refuse(peer, msgid, LeaseLost("a run of a broadcast is lost with its connection"))
                return
            self._runs.take_over(run, peer)

        def on_extended(found: bool) -> None:
            if not found:
                self._step.refuse(peer, msgid, LeaseLost("its job was removed or replaced"))
                return
            answer: answers.ExtendAnswer = {
                "lease_until_at_ms": until_at_ms,
                "cancelled": run.job.cancelled is not None,
            }
            self._step.reply(peer, msgid, answer)

        whole = self._broadcasts.whole(run) if is_part else run
        until_at_ms = self._runs.extend(whole, lease_ms or run.lease_ms, on_extended)

    def data(self, peer: Peer, msgid: int, handle: str, data: bytes) -> None:
        run = self._in_progress(peer, msgid, handle)
        if run is not None:
            self._watches.add(run.job, data)
            self._step.reply(peer, msgid)

    def progress(self, peer: Peer, msgid: int, handle: str, progress: requests.Progress) -> None:
        run = self._in_progress(peer, msgid, handle)
        if run is not None:
            self._watches.progress(run.job, progress)
            self._step.reply(peer, msgid)

    def _in_progress(self, peer: Peer, msgid: int, handle: str) -> Run | None:
        """None if it is not; then the request was refused."""
        run = self._runs.in_progress.by_handle(handle) or self._broadcasts.find(handle)
        if run is None:
            self._step.refuse(peer, msgid, LeaseLost("this run is not in progress"))
        return run
