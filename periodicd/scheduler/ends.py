"""What becomes of a job whose run ended. Pure: no clock, no state; a job and how its run ended in, an op out.

| how the run ended | the job |
|---|---|
| done | is gone |
| in any way, and it was broadcast | is gone |
| later | waits for as long as the worker said; nothing is counted |
| failed | one more failure; waits by its retry rule, or as the worker said; dead if that was final or the last |
| its lease ran out | as failed |
| its connection was lost | due at once; one more crash if it is the likely cause; dead at the fifth |
| the daemon's life ended, and its worker did not come back | due at once; one more restart; dead at the twentieth |
| its worker said goodbye | due at once; nothing is counted |
| in any of these ways but done, and somebody had asked to cancel it | is gone |

A run that was reported gives up its handle: nothing more is accepted about it. After any other end its worker may yet
report, until the job is given out again.
"""

from typing import NamedTuple

import msgspec

from periodicd import retry
from periodicd.job import CRASHES_MAX, RESTARTS_MAX, Job, State, cut_reason, with_error
from periodicd.protocol.requests import Outcome
from periodicd.store import ops
from periodicd.store.ops import Bury, Delete, End, History, Release


class RanOut(NamedTuple):
    """The lease did."""


class Lost(NamedTuple):
    """The connection was, without goodbye."""

    alone: bool
    """No other run was on it."""


class CutOff(NamedTuple):
    """The daemon that gave it out ended, and the worker did not come back."""


class Returned(NamedTuple):
    """The worker left in order."""


How = Outcome | RanOut | Lost | CutOff | Returned


def after(
    job: Job, how: How, handle: str | None, now_ms: int, follow_ons: ops.FollowOns = ops.NO_FOLLOW_ONS
) -> ops.Ending:
    """``job`` as it was given out, counted as before this end; ``handle``: by which the store knows the run."""
    ending = _after(job, how, handle, now_ms, follow_ons)
    return _kept(job, how, ending) if job.result_ms else ending


def _kept(job: Job, how: How, ending: ops.Ending) -> ops.Ending:
    """The job's ending is to be remembered."""
    end = last(job, how, ending)
    kept = ops.Kept(job.func, job.name, end, end.ended_at_ms + job.result_ms)
    return msgspec.structs.replace(ending, end=msgspec.structs.replace(ending.end, kept=kept))


def _after(job: Job, how: How, handle: str | None, now_ms: int, follow_ons: ops.FollowOns) -> ops.Ending:
    end = _end(job, how, handle, now_ms, follow_ons)
    if job.broadcast is not None or (isinstance(how, Outcome) and how.outcome == "done"):
        return Delete(end)
    if job.cancelled is not None:
        return Delete(end, "cancelled")
    history = History.of(job)
    match how:
        case Outcome(outcome="later"):
            return Release(end, now_ms + how.delay_ms, None, history, how.locks)
        case Outcome():
            return _failed(job, end, how, None)
        case RanOut():
            return _failed(job, end, Outcome("failed", why_lost(how)), job.handle)
        case Lost():
            # Charged is only who is likely the cause: who was alone there, or ran when a connection was lost before.
            crashes = job.crashes + (how.alone or job.suspect)
            errors = with_error(job.errors, job.attempt, now_ms, why_lost(how))
            history = history._replace(crashes=crashes, suspect=True, errors=errors)
            reason = f"its worker's connection was lost {history.crashes} times while it ran"
            return _again_at_once(job, end, history, reason if history.crashes >= CRASHES_MAX else None)
        case CutOff():
            history = history._replace(restarts=job.restarts + 1)
            reason = f"its runs were cut off by {history.restarts} restarts of the daemon"
            return _again_at_once(job, end, history, reason if history.restarts >= RESTARTS_MAX else None)
        case Returned():
            return _again_at_once(job, end, history, None)


def of_part(job: Job, how: Outcome, handle: str | None, now_ms: int, follow_ons: ops.FollowOns) -> ops.Tally:
    """A run of a broadcast that goes on has ended so; ``job`` with that counted."""
    assert job.broadcast is not None
    return ops.Tally(_end(job, how, handle, now_ms, follow_ons), job.broadcast)


def _end(job: Job, how: How, handle: str | None, now_ms: int, follow_ons: ops.FollowOns) -> End:
    """A dead job has ended before: its group knows that, and takes nobody in its place."""
    group_id = None if job.state is State.DEAD else job.group_id
    if group_id is not None and isinstance(how, Outcome):
        for put, submission in zip((*follow_ons.puts, follow_ons.then), (*how.submit, how.then), strict=True):
            if put is not None and submission is not None and submission.joins:
                put.job.group_id = group_id
    return End(job.id, handle, now_ms, follow_ons.puts, group_id=group_id, then=follow_ons.then)


def after_late(job: Job, how: Outcome, now_ms: int, follow_ons: ops.FollowOns = ops.NO_FOLLOW_ONS) -> ops.Ending:
    """``job`` as it waits, or is dead, after its run was lost; now the worker tells how that run ended after all.

    The run was charged when it was lost, so nothing is counted now.
    """
    ending = _after_late(job, how, now_ms, follow_ons)
    return _kept(job, how, ending) if job.result_ms else ending


def _after_late(job: Job, how: Outcome, now_ms: int, follow_ons: ops.FollowOns) -> ops.Ending:
    end, history = _end(job, how, job.handle, now_ms, follow_ons), History.of(job)
    if how.outcome == "done":
        return Delete(end)
    if how.outcome == "failed":
        errors = with_error(job.errors, job.attempt, now_ms, how.reason)
        history = history._replace(reason=cut_reason(how.reason), errors=errors)
    if job.state is State.DEAD or how.final:
        return Bury(end, job.ended_at_ms or now_ms, None, history)
    told_to_wait = how.outcome == "later" or how.delay_ms
    return Release(end, now_ms + how.delay_ms if told_to_wait else job.due_at_ms, None, history, how.locks)


def why_lost(how: RanOut | Lost | CutOff | Returned) -> str:
    """A run that was not reported."""
    match how:
        case RanOut():
            return "its lease ran out"
        case Lost():
            return "its worker's connection was lost"
        case CutOff():
            return "the daemon was restarted, and its worker did not come back"
        case Returned():
            return "its worker left"


def last(job: Job, how: How | None, ending: ops.Ending) -> ops.JobEnd:
    """How the job has ended, if this was the end of it. One that would wait, but for a newer one, was replaced."""
    match ending:
        case Delete(end, "done"):
            data = how.data if isinstance(how, Outcome) else b""
            if job.broadcast is not None:
                data = job.broadcast.result()
            return ops.JobEnd(job.id, "done", end.at_ms, job.attempt, None, data or None, len(data))
        case Delete(end, word):
            return ops.JobEnd(job.id, word, end.at_ms, job.attempt, job.cancelled)
        case Release(end):
            return ops.JobEnd(job.id, "replaced", end.at_ms, ending.history.attempt, ending.history.reason)
        case Bury():
            return ops.JobEnd(job.id, "dead", ending.ended_at_ms, ending.history.attempt, ending.history.reason)


def carry_out(job: Job, ending: Release) -> None:
    """The store has done it: the job waits as it says."""
    job.state, job.dated, job.lease_until_at_ms = State.WAITING, False, None
    job.due_at_ms, job.handle = ending.due_at_ms, ending.handle
    if ending.locks is not None:
        job.locks = ending.locks or None
    for key, value in ending.history._asdict().items():
        setattr(job, key, value)


def _failed(job: Job, end: End, how: Outcome, handle: str | None) -> Release | Bury:
    errors = with_error(job.errors, job.attempt, end.at_ms, how.reason)
    history = History.of(job)._replace(failures=job.failures + 1, reason=cut_reason(how.reason), errors=errors)
    wait_ms = retry.wait_ms(job.retry, job.failures, job.id)
    if wait_ms is None or how.final:
        return Bury(end, end.at_ms, handle, history)
    return Release(end, end.at_ms + (how.delay_ms or wait_ms), handle, history)


def _again_at_once(job: Job, end: End, history: History, enough: str | None) -> Release | Bury:
    """Unless there is a reason why it was often enough."""
    if enough is not None:
        return Bury(end, end.at_ms, job.handle, history._replace(reason=enough))
    return Release(end, end.at_ms, job.handle, history)
