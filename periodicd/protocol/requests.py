"""What peers say, checked: the params of each method as values that the rules go by, or ``Invalid``.

Pure functions; those for the methods stand in protocol.md's order. What may be said is fields.py's; here defaults take
the place of nil, and what depends on now or on a setting is looked at. Every value that can reach SQL passes here:
integers fit 53 bits, text is UTF-8 (the codec saw to that), lengths are bounded.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from periodic_client.wire import Invalid
from periodic_client.wire.limits import MATCHED_MAX, TAIL_BYTES_MAX, TIME_MS_MAX
from periodicd.function import Function
from periodicd.job import JOB_FIELDS, STATES, Broadcast, Job, State
from periodicd.protocol import fields
from periodicd.protocol.words import kind_of, take, wrong
from periodicd.retry import DEFAULT, JITTER_PERCENT, Retry
from periodicd.store.ops import Cancel, Existing, Get, Listing, Move, Place


class Rules(NamedTuple):
    """What the checks depend on beside the params."""

    now_ms: int
    workload_bytes_max: int
    functions: Mapping[str, Function] = {}
    """What is set of them."""


class Submission(Struct, frozen=True):
    """A job as it was asked for; the scheduler gives it its id."""

    job: Job
    existing: Existing = "replace"
    joins: bool = False
    """Of a follow-on: the group of its forerunner."""


class Outcome(NamedTuple):
    """How a run ended; protocol.md, perform."""

    outcome: Literal["done", "failed", "later"]
    reason: str = ""
    final: bool = False
    delay_ms: int = 0
    submit: tuple[Submission, ...] = ()
    data: bytes = b""
    locks: dict[str, int] | None = None
    """What the job takes from now on. None: as before."""
    then: Submission | None = None
    """What it submits is the group of this job."""


class WatchCursor(NamedTuple):
    """How much of a job's news was told."""

    boot: int
    job_id: int
    news: int
    chunk: int

    def __str__(self) -> str:
        return f"w{self.boot:x}-{self.job_id:x}-{self.news:x}-{self.chunk:x}"


class Watch(NamedTuple):
    """What is asked of a job's end, and of what its run tells."""

    func: str
    name: str
    job_id: int | None
    after: WatchCursor | None
    timeout_ms: int
    only_end: bool


class ExplainQuery(NamedTuple):
    """Which job is asked about."""

    func: str
    name: str
    job_id: int | None


class Take(NamedTuple):
    """Jobs asked for by a worker that is not subscribed."""

    funcs: tuple[str, ...]
    max: int
    wait_ms: int
    lease_ms: int | None


class Progress(NamedTuple):
    """How far a run is, as its worker says."""

    done: int
    total: int | None
    note: str | None


class EndRun(NamedTuple):
    """A run to be ended by others than its worker."""

    func: str
    name: str
    job_id: int | None
    how: Outcome


class EventsCursor(NamedTuple):
    """The last event that was told, or passed over."""

    boot: int
    number: int

    def __str__(self) -> str:
        return f"e{self.boot:x}-{self.number:x}"


class Events(NamedTuple):
    """Which events are asked for."""

    after: EventsCursor | None
    timeout_ms: int
    kinds: tuple[str, ...] | None
    func: str | None
    limit: int


class WorkersQuery(NamedTuple):
    """Which workers are asked for; ``after``: the number of a connection."""

    func: str | None = None
    after: int = 0
    limit: int = 100


class NamesQuery(NamedTuple):
    """Which functions, locks or schedules are to be told of."""

    prefix: str = ""
    after: str = ""
    limit: int = 100


DONE = Outcome("done")
_NEEDS_A_LOOK = {"func", "name", "workload", "headers", "locks", "due_at_ms", "retry", "broadcast"}
_KEPT_AS_SAID = sorted({*JOB_FIELDS} & {*fields.Job.__struct_fields__} - _NEEDS_A_LOOK)
"""Fields of a job that need no look at anything else; the record has the default of what was not said."""


# -- what depends on the rules -----------------------------------------------------------------------------------------


def _bytes(value: Any, where: str, longest: int) -> bytes:
    """None stands for none."""
    if value is None:
        return b""
    if type(value) is str:
        value = value.encode()
    elif type(value) is not bytes:
        raise wrong(where, f"is bytes, not {kind_of(value)}")
    if len(value) > longest:
        raise wrong(where, f"has {len(value):,} bytes, and may have {longest:,}")
    return value  # type: ignore[no-any-return]


def _until(delay_ms: int, where: str, now_ms: int) -> int:
    """When a wait ends, which must be a point in time that can be written down."""
    if delay_ms > TIME_MS_MAX - now_ms:
        raise wrong(where, f"is an integer from 0 to {TIME_MS_MAX - now_ms:,}, not {delay_ms:,}")
    return now_ms + delay_ms


# -- jobs --------------------------------------------------------------------------------------------------------------


def retry_of(said: fields.Retry) -> Retry:
    backoff = said.backoff or DEFAULT.backoff
    return Retry(
        DEFAULT.limit if said.limit is None else said.limit,
        backoff,
        DEFAULT.delay_ms if said.delay_ms is None else said.delay_ms,
        DEFAULT.cap_ms if said.cap_ms is None else said.cap_ms,
        JITTER_PERCENT[backoff] if said.jitter_percent is None else said.jitter_percent,
    )


def submission(said: fields.Job, where: str, rules: Rules, follows: bool = False) -> Submission:
    """``follows``: on a run of a job, whose group it may join. Raises Invalid."""
    if said.join_group and not follows:
        raise wrong(f"{where}.join_group", "is for follow-on jobs; members of a group are submitted by submit_group")
    workload = _bytes(said.workload, f"{where}.workload", rules.workload_bytes_max)
    now_ms = rules.now_ms
    due_at_ms = now_ms
    if said.due_at_ms is not None:
        due_at_ms = max(now_ms, said.due_at_ms)
    elif said.delay_ms is not None:
        due_at_ms = _until(said.delay_ms, f"{where}.delay_ms", now_ms)
    job = Job(0, said.func, said.name, due_at_ms, now_ms, workload, len(workload))
    job.dated = due_at_ms > now_ms and said.due_at_ms is not None
    if said.headers:
        job.headers = said.headers
    if said.locks:
        job.locks = said.locks
    if said.broadcast:
        job.broadcast = Broadcast()
    function = rules.functions.get(said.func)
    if function is not None:
        _set_defaults(job, function)
    for name in _KEPT_AS_SAID:
        value = getattr(said, name)
        if value is not None:
            setattr(job, name, value)
    if said.retry is not None:
        job.retry = retry_of(said.retry)
    return Submission(job, said.existing or "replace", said.join_group or False)


def _set_defaults(job: Job, function: Function) -> None:
    """What the function's jobs have whose submit does not say it."""
    if function.lease_ms is not None:
        job.lease_ms = function.lease_ms
    if function.retry is not None:
        job.retry = function.retry
    if function.result_ms is not None:
        job.result_ms = function.result_ms


def submissions(said: Sequence[fields.Job], where: str, rules: Rules) -> tuple[Submission, ...]:
    return tuple([submission(job, f"{where}[{index}]", rules) for index, job in enumerate(said)])


# -- outcomes ----------------------------------------------------------------------------------------------------------


def outcome(value: Any, rules: Rules) -> Outcome:
    """What a worker's result stands for; what belongs to another outcome is not looked at. Raises Invalid."""
    if value is None or type(value) is bytes or type(value) is str:
        data = _bytes(value, "outcome", rules.workload_bytes_max)
        return Outcome("done", data=data) if data else DONE
    word = value.get("outcome") if type(value) is dict else None
    kind = fields.OUTCOMES.get(word, fields.Outcome) if type(word) is str else fields.Outcome
    said = take(value, kind, "outcome")
    follow_ons = tuple(
        submission(job, f"outcome.submit[{index}]", rules, True) for index, job in enumerate(said.submit or ())
    )
    then = None if said.then is None else submission(said.then, "outcome.then", rules, True)
    if said.outcome == "done":
        data = _bytes(said.data, "outcome.data", rules.workload_bytes_max)
        return Outcome("done", submit=follow_ons, data=data, then=then)
    delay_ms = said.delay_ms or 0
    _until(delay_ms, "outcome.delay_ms", rules.now_ms)
    if said.outcome == "later":
        return Outcome("later", delay_ms=delay_ms, submit=follow_ons, locks=said.locks, then=then)
    return Outcome("failed", said.reason or "", said.final or False, delay_ms, follow_ons, then=then)


def response(error: str | None, result: Any, rules: Rules) -> tuple[Outcome, bool]:
    """What a worker's response stands for, and whether it could be read; if not, it is a failure that says so."""
    if error is not None:
        return Outcome("failed", error), True
    try:
        return outcome(result, rules), True
    except Invalid as bad:
        return Outcome("failed", bad.to_wire()), False


# -- the methods, in protocol.md's order -------------------------------------------------------------------------------


def hello(params: list[Any], _rules: Rules) -> tuple[fields.Hello]:
    return (take(params, fields.HelloParams).options or fields.Hello(),)


def submit(params: list[Any], rules: Rules) -> tuple[Submission]:
    if len(params) == 1 and type(params[0]) is list:
        raise wrong("job", "is a map, not an array; for several jobs there is submit_batch")
    return (submission(take(params, fields.Submit).job, "job", rules),)


def submit_batch(params: list[Any], rules: Rules) -> tuple[tuple[Submission, ...]]:
    return (submissions(take(params, fields.SubmitBatch).jobs, "jobs", rules),)


def remove(params: list[Any], _rules: Rules) -> tuple[str, str, int | None]:
    said = take(params, fields.Remove)
    return said.func, said.name, None if said.options is None else said.options.id


def requeue(params: list[Any], _rules: Rules) -> tuple[str, str, int | None]:
    said = take(params, fields.Requeue)
    return said.func, said.name, None if said.options is None else said.options.id


def cancel(params: list[Any], rules: Rules) -> tuple[Cancel]:
    said = take(params, fields.Cancel)
    options = said.options or fields.CancelOptions()
    return (Cancel(said.func, said.name, rules.now_ms, options.reason or "", options.id),)


def move(params: list[Any], rules: Rules) -> tuple[Move]:
    said = take(params, fields.Move)
    due_at_ms, dated = _due(said.options, rules)
    return (Move(said.func, said.name, due_at_ms, dated, said.options.priority, said.options.id),)


def _due(options: fields.MoveOptions | fields.MoveMatchingOptions, rules: Rules) -> tuple[int | None, bool]:
    """When a job is to be due, and whether that is a date; None if that is left as it is."""
    if options.delay_ms is not None:
        return _until(options.delay_ms, "options.delay_ms", rules.now_ms), False
    if options.due_at_ms is None:
        return None, False
    return max(rules.now_ms, options.due_at_ms), options.due_at_ms > rules.now_ms


def end_run(params: list[Any], _rules: Rules) -> tuple[EndRun]:
    said = take(params, fields.EndRun)
    options = said.options or fields.EndRunOptions()
    how = Outcome("later") if options.as_ == "later" else Outcome("failed", options.reason or "")
    return (EndRun(said.func, said.name, options.id, how),)


def get(params: list[Any], rules: Rules) -> tuple[Get]:
    said = take(params, fields.Get)
    options = said.options or fields.GetOptions()
    workload, data = options.workload or False, options.data or False
    return (Get(said.func, said.name, options.id, workload, rules.now_ms, data),)


def explain(params: list[Any], _rules: Rules) -> tuple[ExplainQuery]:
    said = take(params, fields.Explain)
    return (ExplainQuery(said.func, said.name, None if said.options is None else said.options.id),)


def watch(params: list[Any], _rules: Rules) -> tuple[Watch]:
    said = take(params, fields.Watch)
    options = said.options or fields.WatchOptions()
    after = None if options.after is None else _watch_cursor(options.after, "options.after")
    job_id = options.id if options.id is not None or after is None else after.job_id
    if after is not None and after.job_id != job_id:
        raise wrong("options.after", "is the `next` of another job than the one with this id")
    timeout_ms = 60_000 if options.timeout_ms is None else options.timeout_ms
    return (Watch(said.func, said.name, job_id, after, timeout_ms, options.only_end or False),)


def _watch_cursor(value: str, where: str) -> WatchCursor:
    return WatchCursor(*_cursor(value, where, "w", 4, "an answer to watch"))


def _cursor(value: str, where: str, letter: str, parts: int, what: str) -> list[int]:
    """The numbers of which a cursor is made."""
    if not re.fullmatch(letter + "-".join(["[0-9a-f]{1,14}"] * parts), value):
        raise wrong(where, f"is not the `next` of {what}")
    return [int(part, 16) for part in value[1:].split("-")]


def unwait(params: list[Any], _rules: Rules) -> tuple[int]:
    return (take(params, fields.Unwait).msgid,)


def list_(params: list[Any], _rules: Rules) -> tuple[Listing]:
    said = take(params, fields.List).query or fields.ListQuery()
    listing = _listing(said, said.after, "query.after")
    if listing.before_id is not None:
        raise wrong("query.after", "is not the `next` of a page of list")
    return (listing._replace(limit=said.limit or listing.limit),)


def _listing(said: fields.Query, after: str | None, where: str) -> Listing:
    state = None if said.state is None else STATES[said.state]
    place, before_id = (None, None) if after is None else _job_cursor(after, where)
    return Listing(
        said.func, state, said.prefix, said.due_from_at_ms, said.due_before_at_ms, said.reason, before_id, place,
        group_id=said.group_id,
    )  # fmt: skip


def job_cursor(place: Place, before_id: int | None = None) -> str:
    """The cursor of a listing that ended here, and was only to show jobs with smaller ids."""
    bound = "" if before_id is None else f".{before_id:x}"
    return f"j{place.id:x}{bound}{'' if place.name is None else '-' + place.name}"


def events(params: list[Any], _rules: Rules) -> tuple[Events]:
    said = take(params, fields.Events).query or fields.EventsQuery()
    after = None if said.after is None else EventsCursor(*_cursor(said.after, "query.after", "e", 2, "events"))
    timeout_ms = 60_000 if said.timeout_ms is None else said.timeout_ms
    return (Events(after, timeout_ms, said.kinds, said.func, said.limit or 1_000),)


def workers(params: list[Any], _rules: Rules) -> tuple[WorkersQuery]:
    said = take(params, fields.Workers).query or fields.WorkersQuery()
    after = 0 if said.after is None else _cursor(said.after, "query.after", "c", 1, "a page of workers")[0]
    return (WorkersQuery(said.func, after, said.limit or WorkersQuery().limit),)


def worker_cursor(connection: int) -> str:
    """The cursor of a page of workers that ended with this connection."""
    return f"c{connection:x}"


def _job_cursor(value: str, where: str) -> tuple[Place, int | None]:
    found = re.fullmatch(r"j([0-9a-f]{1,14})(?:\.([0-9a-f]{1,14}))?(?:-(.*))?", value, re.DOTALL)
    if found is None:
        raise wrong(where, "is not the `next` of a page of list")
    job_id, bound, name = found.groups()
    return Place(int(job_id, 16), name), None if bound is None else int(bound, 16)


def status(params: list[Any], _rules: Rules) -> tuple[NamesQuery]:
    return (names(take(params, fields.Status).query),)


class _Names(Protocol):
    prefix: str | None
    after: str | None
    limit: int | None


def names(said: _Names | None) -> NamesQuery:
    if said is None:
        return NamesQuery()
    return NamesQuery(said.prefix or "", said.after or "", said.limit or NamesQuery().limit)


def remove_matching(params: list[Any], _rules: Rules) -> tuple[Listing]:
    said = take(params, fields.RemoveMatching)
    return (_matching(said.query, said.options),)


def requeue_matching(params: list[Any], _rules: Rules) -> tuple[Listing]:
    said = take(params, fields.RequeueMatching)
    if said.query.state not in (None, "dead"):
        raise wrong("query.state", f"is dead or left out, not {said.query.state}: only dead jobs are requeued")
    return (_matching(said.query, said.options)._replace(state=State.DEAD),)


def cancel_matching(params: list[Any], _rules: Rules) -> tuple[Listing, str]:
    said = take(params, fields.CancelMatching)
    reason = None if said.options is None else said.options.reason
    return _matching(said.query, said.options), reason or ""


def move_matching(params: list[Any], rules: Rules) -> tuple[Listing, Move]:
    """The second is a pattern, without a job."""
    said = take(params, fields.MoveMatching)
    due_at_ms, dated = _due(said.options, rules)
    return _matching(said.query, said.options), Move("", "", due_at_ms, dated, said.options.priority)


def _matching(query: fields.MatchingQuery, options: fields.MatchingOptions | None) -> Listing:
    """The jobs that are next. Which ids are too large is not known in the first of several requests."""
    said = options or fields.MatchingOptions()
    listing = _listing(query, said.after, "options.after")
    if listing.after is not None and listing.before_id is None:
        raise wrong("options.after", "is not the `next` of an answer to a request on many jobs")
    return listing._replace(limit=MATCHED_MAX, only_count=said.dry_run or False)


def subscribe(params: list[Any], _rules: Rules) -> tuple[str, int]:
    said = take(params, fields.Subscribe)
    options = said.options or fields.SubscribeOptions()
    return said.func, options.limit or 1


def unsubscribe(params: list[Any], _rules: Rules) -> tuple[str]:
    return (take(params, fields.Unsubscribe).func,)


def finish(params: list[Any], rules: Rules) -> tuple[str, Outcome]:
    said = take(params, fields.Finish)
    return said.handle, outcome(said.outcome, rules)


def extend(params: list[Any], _rules: Rules) -> tuple[str, int | None, bool]:
    said = take(params, fields.Extend)
    options = said.options or fields.ExtendOptions()
    return said.handle, options.lease_ms, options.own or False


def take_jobs(params: list[Any], _rules: Rules) -> tuple[Take]:
    said = take(params, fields.Take).options
    wait_ms = 60_000 if said.wait_ms is None else said.wait_ms
    return (Take(tuple(dict.fromkeys(said.funcs)), said.max or 1, wait_ms, said.lease_ms),)


def data(params: list[Any], _rules: Rules) -> tuple[str, bytes]:
    said = take(params, fields.Data)
    return said.handle, _bytes(said.data, "data", TAIL_BYTES_MAX)


def progress(params: list[Any], _rules: Rules) -> tuple[str, Progress]:
    said = take(params, fields.Progress)
    return said.handle, Progress(said.progress.done, said.progress.total, said.progress.note)
