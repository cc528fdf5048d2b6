"""What a program says to the daemon: jobs to submit, and how a run ended. Values only.

This module knows the shapes of protocol.md (``submit`` and ``perform``) and nothing of connections, threads or time, so
that a value can be built and looked at anywhere. A field whose type says what it is for is an option of ``periodic
submit`` (cli_options.py). Ranges are the daemon's to check, which names the field that is wrong;
what a worker's function returned is checked beforehand, in checks.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import Annotated, Any, Literal

from periodic_client.tracing import passed_on
from periodic_client.wire import limits

Backoff = Literal["fixed", "exponential", "quadratic"]
Existing = Literal["replace", "keep", "keep_live", "refuse"]
WireOutcome = bytes | dict[str, Any] | None


class WrongValue(ValueError):
    """What the daemon would never take. Raised in a worker's function, or for what it returned, the job is dead at
    once, as with GiveUp.
    """


@dataclass(frozen=True, slots=True)
class Retry:
    """What happens after a failure; protocol.md, section 4.

    ``limit``: how many times the job is tried again. ``backoff``: how the wait grows from its unit ``delay_ms``, never
    beyond ``cap_ms``. ``jitter_percent``: the wait is made longer by up to so much, to spread retries; None leaves it
    to the daemon (10 for exponential, else 0).
    """

    limit: Annotated[int, "How many times it is tried again.  [default: 15]"] = 15
    backoff: Annotated[Backoff, "How the wait grows.  [default: exponential]"] = "exponential"
    delay_ms: Annotated[int, "The unit of the wait.  [default: 1s]"] = 1000
    cap_ms: Annotated[int, "The longest wait.  [default: 1h]"] = 3_600_000
    jitter_percent: Annotated[
        int | None, "Waits are made up to so much longer, to spread retries.  [default: 10 if exponential, else 0]"
    ] = None

    def to_wire(self) -> dict[str, Any]:
        wire = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.jitter_percent is None:
            del wire["jitter_percent"]
        return wire


@dataclass(frozen=True, slots=True)
class Rate:
    """So many runs in so long."""

    count: int
    per_ms: int

    def to_wire(self) -> dict[str, int]:
        return {"count": self.count, "per_ms": self.per_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSettings:
    """What can be set of a function; protocol.md, set_function. What is None is not set.

    ``running_max``: how many of its jobs run at once, of all workers together. ``rate``: how often its runs begin.
    ``queue_max``: how many jobs it may have; a submit of one more raises Full. The others are taken by jobs whose
    submit does not say them.
    """

    running_max: Annotated[int | None, "How many of its jobs run at once, of all workers together."] = None
    rate: Rate | None = None
    queue_max: Annotated[int | None, "How many jobs it may have; a submit of one more is refused."] = None
    lease_ms: Annotated[int | None, "How long a run may take, of jobs that do not say it."] = None
    result_ms: Annotated[int | None, "How long endings are kept, of jobs that do not say it."] = None
    retry: Retry | None = None

    def to_wire(self) -> dict[str, Any]:
        """The map that ``set_function`` takes."""
        wire = {each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) is not None}
        if self.rate is not None:
            wire["rate"] = self.rate.to_wire()
        if self.retry is not None:
            wire["retry"] = self.retry.to_wire()
        return wire


@dataclass(frozen=True, slots=True)
class _AnyJob:
    """What is said of a job, however it gets its name and its due time."""

    func: str
    _: KW_ONLY
    headers: Mapping[str, str] | None = None
    locks: Mapping[str, int] | None = None
    priority: Annotated[int, "Of the due jobs the smallest runs first, -100 to 100.  [default: 0]"] = 0
    lease_ms: Annotated[int | None, "How long a run may take.  [default: 10m]"] = None
    run_max_ms: Annotated[int | None, "A run ends after so long, whatever its lease.  [default: no limit]"] = None
    result_ms: Annotated[int | None, "How long its ending and result are kept for watch and get.  [default: 0s]"] = None
    broadcast: Annotated[bool, "It runs on every connection that has its function then, busy or not."] = False
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class NewJob(_AnyJob):
    """A job to submit. ``func`` and ``name`` together are its identity.

    ``workload``: what the worker is given; text stands for its UTF-8 bytes. ``headers``: texts by name that go with it,
    as content type or traceparent. It is due at ``due_at_ms`` (milliseconds since 1970-01-01T00:00Z), or ``delay_ms``
    from now by the daemon's clock, or now. Of the due jobs those with the smallest ``priority`` (-100 to 100) run
    first. ``lease_ms``: how long a run may take, unless it extends that; ``run_max_ms``: however often it does.
    ``locks``: how much of which lock it holds while it runs, up to 8 by their names; until it can have them all it is
    parked. ``broadcast``: it runs once on every connection that has its function when it is due, busy or not, with a
    workload of up to 65,536 bytes; its result is how many of the runs were done, failed or lost, as JSON, and nothing
    is run again, so it has neither ``locks`` nor ``retry``.
    ``result_ms``: how long its ending and its result are kept. ``expires_at_ms``: not begun by then for the first
    time, it ends. ``existing``: what to do if there is a job of this name:
    "replace" it (or queue behind it while it runs), "keep" it in any state, "keep_live" (a dead one is replaced), or
    "refuse". ``join_group``, of a job that follows on another: it is a member of the group of which that one is one.
    What is None is left to the daemon's defaults.

    Raises WrongValue, a ValueError, if both ``due_at_ms`` and ``delay_ms`` are given.
    """

    name: str
    workload: bytes | str = b""
    _: KW_ONLY
    due_at_ms: int | None = None
    delay_ms: int | None = None
    expires_at_ms: Annotated[int | None, "Not begun by then, it ends, as in 2030-01-31T18:00.  [default: never]"] = None
    existing: Annotated[
        Existing,
        "What to do if there is a job of this name: keep_live keeps it unless it is dead, refuse is exit code 1."
        "  [default: replace]",
    ] = "replace"
    join_group: bool = False

    def __post_init__(self) -> None:
        if self.due_at_ms is not None and self.delay_ms is not None:
            raise WrongValue("due_at_ms and delay_ms both say when the job is due; give one of them")

    def to_wire(self) -> dict[str, Any]:
        """The job as protocol.md's map; defaults are left out. It says where a trace stands, if there is one."""
        wire = _with_options({"func": self.func, "name": self.name}, self, _OF_NEW)
        headers = passed_on(wire.get("headers", _NONE))
        return wire | {"headers": headers} if headers else wire


@dataclass(frozen=True, slots=True)
class ScheduledJob(_AnyJob):
    """What a schedule submits each time, under a name of its own and due at its instant; all else is as in NewJob.

    ``workload`` has up to 16,384 bytes here.
    """

    workload: bytes | str = b""

    def to_wire(self) -> dict[str, Any]:
        """The job as ``set_schedule`` takes it; defaults are left out."""
        return _with_options({"func": self.func}, self, _OF_SCHEDULED)


_OF_NEW, _OF_SCHEDULED = (
    [(each.name, each.default) for each in fields(kind) if each.default is not MISSING]
    for kind in (NewJob, ScheduledJob)
)
_EMPTY: tuple[object, ...] = ("", {})
_NONE: dict[str, str] = {}


def _with_options(wire: dict[str, Any], job: _AnyJob, options: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, default in options:
        value = getattr(job, key)
        if value != default and value not in _EMPTY:
            wire[key] = value
    for key in ("headers", "locks"):
        if key in wire:
            wire[key] = dict(wire[key])
    if job.retry is not None:
        wire["retry"] = job.retry.to_wire()
    return wire


@dataclass(frozen=True, slots=True)
class Done:
    """The job is done. ``submit``: jobs that are stored in the same commit as this outcome, or not at all.

    ``then``: they are a group, and this job is due when all of them have ended, however; or they join the group that is
    open by its name.
    """

    data: bytes | str = b""
    submit: Sequence[NewJob] = ()
    then: NewJob | None = None

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"outcome": "done"}
        if self.data:
            wire["data"] = self.data
        return _with_follow_ons(wire, self.submit, self.then)


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed and the job is tried again by its retry rule, or after ``delay_ms`` if that is given.

    ``final``: not tried again, the job is dead at once. Of ``reason`` the first 1,000 bytes are kept. ``submit`` and
    ``then`` as in Done.
    """

    reason: str
    final: bool = False
    delay_ms: int | None = None
    submit: Sequence[NewJob] = ()
    then: NewJob | None = None

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"outcome": "failed", "reason": _cut(self.reason)}
        if self.final:
            wire["final"] = True
        if self.delay_ms is not None:
            wire["delay_ms"] = self.delay_ms
        return _with_follow_ons(wire, self.submit, self.then)


@dataclass(frozen=True, slots=True)
class Later:
    """Run it again ``delay_ms`` from now; this counts as no failure. 0 hands back a job that was not begun.

    ``locks``: what the job takes of each lock from now on, for a run that has learned what it needs; None is as before.
    ``submit`` and ``then`` as in Done.
    """

    delay_ms: int = 0
    submit: Sequence[NewJob] = ()
    locks: Mapping[str, int] | None = None
    then: NewJob | None = None

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"outcome": "later"}
        if self.delay_ms:
            wire["delay_ms"] = self.delay_ms
        if self.locks is not None:
            wire["locks"] = dict(self.locks)
        return _with_follow_ons(wire, self.submit, self.then)


class GiveUp(Exception):
    """Raised by a worker's function: trying again is useless, the job is dead at once. Its text is the reason."""


Outcome = None | bytes | str | Done | Failed | Later
"""What a worker's function may return. None, bytes and str mean done."""


def outcome_to_wire(returned: object, func: str) -> WireOutcome:
    """What goes over the wire for a returned value. Raises WrongValue for one that is no outcome."""
    if returned is None or type(returned) is bytes:
        return returned
    if isinstance(returned, bytes | str):
        returned = Done(returned)
    kind = type(returned).__name__
    if not isinstance(returned, Done | Failed | Later):
        raise WrongValue(f"{func} returned {kind}; a function returns None, bytes, str, Done, Failed or Later")
    try:
        return returned.to_wire()
    except WrongValue:
        raise
    except Exception as error:
        raise WrongValue(f"{func} returned a {kind} that cannot be sent: {type(error).__name__}: {error}") from error


def failure_of(error: BaseException) -> Failed:
    """The outcome of a run that raised. A lone error inside groups, as nurseries raise it, speaks for itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    try:
        text = str(error)
    except BaseException:  # an error that cannot tell its text is still only this job's failure
        text = "(the error's text cannot be shown)"
    if isinstance(error, GiveUp | WrongValue):
        return Failed(text, final=True)
    return Failed(f"{type(error).__name__}: {text}")


def _with_follow_ons(wire: dict[str, Any], jobs: Sequence[NewJob], then: NewJob | None) -> dict[str, Any]:
    if not isinstance(jobs, list | tuple) or not all(isinstance(job, NewJob) for job in jobs):
        raise WrongValue("submit takes a list or tuple of NewJob")
    if jobs:
        wire["submit"] = [job.to_wire() for job in jobs]
    if then is not None:
        if not isinstance(then, NewJob):
            raise WrongValue("then takes a NewJob")
        wire["then"] = then.to_wire()
    return wire


def _cut(reason: str) -> str:
    if not isinstance(reason, str):
        raise WrongValue(f"outcome.reason is a text, not {type(reason).__name__}")
    # A reason often quotes a file name, and a name that is not UTF-8 has surrogates, which cannot be sent.
    return reason.encode("utf-8", "backslashreplace")[: limits.REASON_BYTES_MAX].decode("utf-8", "ignore")
