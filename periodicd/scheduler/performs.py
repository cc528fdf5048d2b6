"""The request to perform a job: how a run reaches the worker that it was given to."""

from periodic_client.wire import Request, shaped
from periodicd.job import Job
from periodicd.protocol import answers
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.store import ops


def perform(step: Step, run: Run, peer: Peer, msgid: int) -> None:
    """A workload that stayed on disk is read first."""
    job = run.job
    peer.expect(job.workload_bytes)
    request = shaped(Request, (msgid, "perform", [answers.performed(job, run.handle, run.number, run.lease_ms)]))
    if job.workload is not None:
        step.send(peer, request)
        return
    # It keeps its place, or the small jobs after it would arrive before it.
    put = step.hold_place(peer)

    def on_fetched(stored: Job | None) -> None:
        (given,) = request.params
        put(request._replace(params=[given | {"workload": stored and stored.workload}]))

    step.read(ops.Fetch(job.id), on_fetched)
