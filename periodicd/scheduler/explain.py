"""Why a job does not run: each gate that is closed to it, by the same functions that decide who gets what.

Looks, and changes nothing. tests/sim holds it to the dispatch: a due job to which no gate is closed is given out.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from periodicd.job import Job, State
from periodicd.protocol import answers, requests
from periodicd.scheduler.broadcasts import Broadcasts
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step
from periodicd.store import ops, order

PAUSED = "its function is paused"
STOPPING = "the daemon is stopping"
TURN = "others have their turn; it has its own at once"


class Gate(NamedTuple):
    """What keeps a job from running now. ``facts``: what is known of it, for programs; protocol.md, explain."""

    code: str
    text: str
    facts: dict[str, Any]


class Explain:
    def __init__(
        self,
        step: Step,
        runs: Runs,
        dispatch: Dispatch,
        broadcasts: Broadcasts,
        functions: Functions,
        locks: Locks,
    ) -> None:
        self._step = step
        self._runs = runs
        self._dispatch = dispatch
        self._broadcasts = broadcasts
        self._functions = functions
        self._locks = locks

    def ask(self, peer: Peer, msgid: int, query: requests.ExplainQuery) -> None:
        def on_found(found: ops.GetResult) -> None:
            job = None if found.shown is None else found.shown.job
            if job is None or job.state is not State.PARKED or job.locks is None or found.group is not None:
                gates = [] if job is None else list(self.gates(job, group=found.group))
                self._reply(peer, msgid, found, gates)
                return
            self._step.read(order.Heads(tuple(job.locks)), partial(self._on_heads, peer, msgid, found, job))

        self._runs.claim((query.func, query.name))
        self._step.read(ops.Get(query.func, query.name, query.job_id, False, self._step.now.wall_ms), on_found)

    def _on_heads(
        self, peer: Peer, msgid: int, found: ops.GetResult, job: Job, heads: dict[str, list[order.InLine]]
    ) -> None:
        self._reply(peer, msgid, found, list(self.gates(job, heads)))

    def _reply(self, peer: Peer, msgid: int, found: ops.GetResult, gates: list[Gate]) -> None:
        if found.shown is None:
            gates = [self._absent(found)]
        answer: answers.ExplainAnswer = {
            "result": found.result,
            "state": None if found.shown is None else found.shown.job.state.word,
            "gates": [{"code": gate.code, "text": gate.text, "facts": gate.facts} for gate in gates],
        }
        self._step.reply(peer, msgid, answer)

    def _absent(self, found: ops.GetResult) -> Gate:
        if found.result == "changed":
            return Gate("changed", "the job of this name has another id by now", {})
        last = found.last
        if last is None:
            return Gate("absent", "there is no such job", {})
        ago_ms = self._step.now.wall_ms - last.ended_at_ms
        text = f"there is no such job; the last of this name ended {_span(ago_ms)} ago: {last.ending}"
        return Gate("absent", text, {"ending": last.ending, "ended_at_ms": last.ended_at_ms, "id": last.id})

    # -- the gates -----------------------------------------------------------------------------------------------------

    def gates(
        self, job: Job, heads: dict[str, list[order.InLine]] | None = None, group: ops.Group | None = None
    ) -> Iterator[Gate]:
        """Those that are closed. ``heads``: who is first in the lines in which a parked job stands; ``group``: its own,
        if that is open.
        """
        match job.state:
            case State.RUNNING:
                yield self._running(job)
            case State.DEAD:
                facts = {"reason": job.reason, "ended_at_ms": job.ended_at_ms}
                yield Gate("dead", f"it is dead: {job.reason or 'no reason was given'}", facts)
            case State.BEHIND:
                front = self._runs.in_progress.of_key(job.key)
                facts = {"id": None if front is None else front.job.id}
                yield Gate("behind", "it waits behind a run of the job of its name", facts)
            case State.PARKED:
                yield from self._of_all(job)
                if group is not None:
                    yield self._of_group(group)
                else:
                    yield from self._of_locks(job, heads or {})
            case State.WAITING:
                wait_ms = job.due_at_ms - self._step.now.wall_ms
                if wait_ms > 0:
                    yield Gate("not_due", f"it is not due for {_span(wait_ms)}", {"due_at_ms": job.due_at_ms})
                yield from self._of_all(job)
                if job.has_expired(self._step.now.wall_ms):
                    facts = {"expires_at_ms": job.expires_at_ms}
                    yield Gate("expired", "it has not begun by its time, and ends", facts)
                first = self._dispatch.first_due(job.func)
                if wait_ms <= 0 and job.broadcast is None and first is not None and first.id != job.id:
                    yield Gate("ahead", f"{first.name} is before it", {"id": first.id, "name": first.name})

    def _running(self, job: Job) -> Gate:
        run = self._runs.in_progress.of_job(job.id)
        worker = None if run is None or run.peer is None else run.peer.shown
        started_at_ms = job.started_at_ms or 0
        facts = {
            "run": job.run, "worker": worker, "started_at_ms": started_at_ms,
            "lease_until_at_ms": job.lease_until_at_ms,
        }  # fmt: skip
        by = f" by {worker}" if worker is not None else ""
        if run is not None and job.broadcast is not None:
            by = f", broadcast, and {len(run.parts):,} of {job.broadcast.runs:,} runs have not ended"
        return Gate("running", f"it runs{by}, since {_span(self._step.now.wall_ms - started_at_ms)}", facts)

    def _of_all(self, job: Job) -> Iterator[Gate]:
        """What keeps jobs like it back."""
        if job.broadcast is None:
            yield from self._of_function(job)
            yield from self._of_room(job)
            return
        if self._functions.is_paused(job.func):
            yield Gate("paused", PAUSED, {})
        if self._broadcasts.has_stopped:
            yield Gate("stopping", STOPPING, {})
        elif starts_in_ms := self._broadcasts.starts_in_ms:
            text = f"nothing is broadcast for {_span(starts_in_ms)}: after a restart workers come back first"
            yield Gate("starting", text, {"until_at_ms": self._step.now.wall_ms + starts_in_ms})
        elif self._broadcasts.are_due:
            yield Gate("turn", TURN, {})

    def _of_function(self, job: Job) -> Iterator[Gate]:
        hold = self._functions.hold(job.func)
        if hold is not None:
            text = {
                "paused": PAUSED,
                "running_max": "as many jobs of its function run as may",
                "rate": "its function's rate is used up",
            }[hold.code]
            facts = {} if hold.until_at_ms is None else {"until_at_ms": hold.until_at_ms}
            yield Gate(hold.code, text, facts)
        if self._dispatch.workers(job.func) == 0:
            yield Gate("no_worker", "no worker has its function", {})

    def _of_group(self, group: ops.Group) -> Gate:
        text = f"of the {group.members:,} jobs of its group {group.open:,} have not ended"
        more = "" if group.sealed else "; more can be added, since it is not sealed"
        return Gate("group", text + more, {**answers.grouped(group)})

    def _of_room(self, job: Job) -> Iterator[Gate]:
        workers = self._dispatch.workers(job.func)
        if workers and not self._dispatch.has_room_for(job.func):
            yield Gate("busy", f"all {workers} workers of its function are busy", {"workers": workers})
        if self._dispatch.is_postponed(job.func):
            yield Gate("turn", TURN, {})
        if self._dispatch.has_stopped:
            yield Gate("stopping", STOPPING, {})

    def _of_locks(self, job: Job, heads: dict[str, list[order.InLine]]) -> Iterator[Gate]:
        uses = self._locks.uses
        for name, weight in (job.locks or {}).items():
            closed = uses.closed_to(name, weight)
            if closed is not None:
                use = uses.by_name.get(name)
                holders = [] if use is None else list(use.holders)[:10]
                facts = {
                    "lock": name,
                    "weight": weight,
                    "capacity": self._locks.uses.capacity(name),
                    "held_by": holders,
                }
                if closed == "rate":
                    facts["until_at_ms"] = uses.by_name[name].opens_at_ms
                yield Gate(f"lock_{closed}", f"lock {name}: {self._text(name, weight, closed)}", facts)
                continue
            first = min((each for each in heads.get(name, []) if self._could(each.func)), default=None)
            if first is not None and first.id != job.id:
                yield Gate("line", f"another stands before it for lock {name}", {"lock": name, "id": first.id})

    def _could(self, func: str) -> bool:
        """Whether jobs of the function could be given out, so that they count in a line."""
        return self._functions.hold(func) is None and self._dispatch.has_room_for(func)

    def _text(self, name: str, weight: int, closed: str) -> str:
        capacity = self._locks.uses.capacity(name)
        match closed:
            case "too_small":
                return f"it wants {weight:,}, and the capacity is {capacity:,}"
            case "rate":
                return "its rate is used up"
            case _:
                return (
                    f"it wants {weight:,}, and of {capacity:,} there are {self._locks.uses.by_name[name].free:,} free"
                )


def _span(ms: int) -> str:
    """A time for people."""
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)):
        if ms >= 2 * size_ms:
            return f"{ms // size_ms} {unit}"
    return f"{ms / 1000:.3g} s"
