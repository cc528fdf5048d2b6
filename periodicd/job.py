"""What a job is: the record that every store keeps. Values only; who may change them is the scheduler's business.

The store's columns are its fields, in their order. CONTRIBUTING.md says what else a new field touches; the conformance
suite and the comparison of the page with the types say what was forgotten.
"""

import enum
import json
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from periodic_client.wire import limits
from periodicd.retry import DEFAULT, Retry


class State(enum.IntEnum):
    """Stored as these numbers. A finished job has no state: its record is gone."""

    WAITING = 0
    RUNNING = 1
    DEAD = 2
    BEHIND = 3
    """Waits behind a running job of the same name and takes its place when that run ends."""
    PARKED = 4
    """Something but room keeps it back: it is due, and in line for its locks; or its group has not finished."""

    @property
    def word(self) -> str:
        """The state's name on the wire."""
        return self.name.lower()


STATES = {state.word: state for state in State}

CRASHES_MAX = 5
"""A job that took down its worker so many times is dead."""

RESTARTS_MAX = 20
"""A job whose runs were cut off so many times by the daemon's own end is dead: it may be what ended it."""


ERRORS_KEPT = 5
ERROR_BYTES_MAX = 300
"""Of each; the last is the job's reason too, which may be longer."""


EXPIRED = "it had not begun when it expired"
"""The reason of a job that is dead since then."""


class Error(NamedTuple):
    """A run that went wrong: failed, or was lost."""

    attempt: int
    at_ms: int
    text: str


class Broadcast(NamedTuple):
    """How far a job is that has a run on every connection of its function: each number is of runs."""

    runs: int = 0
    done: int = 0
    failed: int = 0
    lost: int = 0

    def with_one(self, word: Literal["done", "failed", "lost"]) -> "Broadcast":
        """More that has ended so."""
        return self._replace(**{word: getattr(self, word) + 1})

    @property
    def open(self) -> int:
        return self.runs - self.done - self.failed - self.lost

    def over(self) -> "Broadcast":
        """Whoever has not reported will not."""
        return self._replace(lost=self.lost + self.open)

    def result(self) -> bytes:
        """That of the job, when it has ended: JSON, as ``periodic`` prints it and every language reads it."""
        return json.dumps(self.over()._asdict()).encode()


@dataclass(slots=True, init=False)
class Job:
    """Its ``__init__`` is written, since only then it is compiled, and the fields are read without the interpreter."""

    id: int
    """Grows with every submit and is never used again, not even after a crash."""
    func: str
    name: str
    due_at_ms: int
    submitted_at_ms: int
    workload: bytes | None
    """None: it stayed on disk, being large."""
    workload_bytes: int
    priority: int
    lease_ms: int
    retry: Retry
    headers: dict[str, str] | None
    """None: there are none."""
    dated: bool
    """Waits for a point in time that its user gave. Otherwise for the end of a wait, which a clock that is stepped back
    does not prolong."""
    result_ms: int
    """How long its ending is remembered."""
    run_max_ms: int | None
    """How long a run may take at the most, whatever its lease."""
    locks: dict[str, int] | None
    """What it takes of each while it runs. None: there are none."""
    group_id: int | None
    """Of the group that it is a member of: the id of the job that goes free when all of them have ended."""
    expires_at_ms: int | None
    """Not begun by then for the first time, it ends. None: it waits for ever."""
    broadcast: Broadcast | None
    """It has a run on every connection of its function, and how far these are. None: it has one."""
    state: State
    # From here on what its runs do to it.
    attempt: int
    """Runs given out."""
    failures: int
    """Runs that failed or whose lease ran out."""
    crashes: int
    """Runs whose connection was lost without goodbye while this job was alone there, or under suspicion."""
    suspect: bool
    """Was running when a connection was lost with several jobs on it."""
    reason: str | None
    """Of the last failure."""
    ended_at_ms: int | None
    """When it died."""
    handle: str | None
    """Of the latest run given out. Kept when the run was lost, so that its late report can still be accepted, and not
    when its worker reported."""
    lease_until_at_ms: int | None
    """While running: when the lease ends, by the wall clock."""
    restarts: int
    """Runs that were cut off by a restart of the daemon."""
    errors: tuple[Error, ...]
    """The last of them, oldest first."""
    started_at_ms: int | None
    """When its latest run began, by the wall clock."""
    taken_ms: int
    """That run was taken for so long, and is no connection's. 0: it was not."""
    cancelled: str | None
    """Why it is to end with that run, unless the run is done. None: nobody asked for that."""

    def __init__(
        self, id: int, func: str, name: str, due_at_ms: int, submitted_at_ms: int,  # noqa: A002 - the field's name
        workload: bytes | None = b"", workload_bytes: int = 0, priority: int = 0, lease_ms: int = 600_000,
        retry: Retry = DEFAULT, headers: dict[str, str] | None = None, dated: bool = False, result_ms: int = 0,
        run_max_ms: int | None = None, locks: dict[str, int] | None = None, group_id: int | None = None,
        expires_at_ms: int | None = None, broadcast: Broadcast | None = None, state: State = State.WAITING,
        attempt: int = 0, failures: int = 0, crashes: int = 0, suspect: bool = False, reason: str | None = None,
        ended_at_ms: int | None = None, handle: str | None = None, lease_until_at_ms: int | None = None,
        restarts: int = 0, errors: tuple[Error, ...] = (), started_at_ms: int | None = None, taken_ms: int = 0,
        cancelled: str | None = None,
    ) -> None:  # fmt: skip
        self.id, self.func, self.name = id, func, name
        self.due_at_ms, self.submitted_at_ms, self.dated = due_at_ms, submitted_at_ms, dated
        self.workload, self.workload_bytes, self.headers = workload, workload_bytes, headers
        self.priority, self.lease_ms, self.retry = priority, lease_ms, retry
        self.result_ms, self.run_max_ms, self.locks = result_ms, run_max_ms, locks
        self.group_id, self.expires_at_ms, self.broadcast = group_id, expires_at_ms, broadcast
        self.state, self.attempt = state, attempt
        self.failures, self.crashes, self.suspect, self.reason = failures, crashes, suspect, reason
        self.ended_at_ms, self.handle, self.lease_until_at_ms = ended_at_ms, handle, lease_until_at_ms
        self.restarts, self.errors, self.started_at_ms = restarts, errors, started_at_ms
        self.taken_ms, self.cancelled = taken_ms, cancelled

    @property
    def key(self) -> tuple[str, str]:
        """The job's identity to its users."""
        return self.func, self.name

    def has_expired(self, at_ms: int) -> bool:
        return self.expires_at_ms is not None and self.expires_at_ms <= at_ms and not self.attempt

    @property
    def run(self) -> int | None:
        """The number of the run that ``handle`` stands for."""
        return run_of(self.handle) if self.handle is not None else None


JOB_FIELDS = tuple(field.name for field in fields(Job))


def run_of(handle: str) -> int:
    """The number of a run, which is the second part of its handle."""
    return int(handle.split("-", 2)[1])


def with_error(errors: tuple[Error, ...], attempt: int, at_ms: int, text: str) -> tuple[Error, ...]:
    """One more; the oldest goes."""
    return (*errors[-ERRORS_KEPT + 1 :], Error(attempt, at_ms, cut_reason(text, ERROR_BYTES_MAX)))


def cut_reason(reason: str, longest: int = limits.REASON_BYTES_MAX) -> str:
    """``reason``, of so many bytes at the most, and storable as UTF-8 whatever it held."""
    return reason.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore")
