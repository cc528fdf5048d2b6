"""What a peer may say: one type for each map of protocol.md and for the params of each method, in the page's order.

Ranges, meanings and defaults stand here; tests/test_protocol_md.py compares the page's tables with them. A default is
what stands for nil: requests.py puts it in its place. Nothing here depends on a clock or a setting; what does (the
size of a workload, the end of a wait) is requests.py's.
"""

from typing import Annotated, Any, ClassVar

from msgspec import Meta, field

from periodic_client.wire import limits
from periodicd.protocol.kinds import (
    CHARACTERS_THAT_FIT,
    Amount,
    Bytes,
    Cursor,
    EndWord,
    Features,
    Funcs,
    Grace,
    Headers,
    Id,
    Keeping,
    Lease,
    Msgid,
    Name,
    OutcomeWord,
    Patience,
    Percent,
    Priority,
    Retries,
    RetryCap,
    RetryWait,
    Room,
    Silence,
    Text,
    Time,
    Version,
    Wait,
    Weights,
)
from periodicd.protocol.queries import (
    CancelMatching as CancelMatching,
)
from periodicd.protocol.queries import (
    CancelMatchingOptions as CancelMatchingOptions,
)
from periodicd.protocol.queries import (
    Events as Events,
)
from periodicd.protocol.queries import (
    EventsQuery as EventsQuery,
)
from periodicd.protocol.queries import (
    List as List,
)
from periodicd.protocol.queries import (
    ListQuery as ListQuery,
)
from periodicd.protocol.queries import (
    Locks as Locks,
)
from periodicd.protocol.queries import (
    LocksQuery as LocksQuery,
)
from periodicd.protocol.queries import (
    MatchingOptions as MatchingOptions,
)
from periodicd.protocol.queries import (
    MatchingQuery as MatchingQuery,
)
from periodicd.protocol.queries import (
    MoveMatching as MoveMatching,
)
from periodicd.protocol.queries import (
    MoveMatchingOptions as MoveMatchingOptions,
)
from periodicd.protocol.queries import (
    Query as Query,
)
from periodicd.protocol.queries import (
    RemoveMatching as RemoveMatching,
)
from periodicd.protocol.queries import (
    RequeueMatching as RequeueMatching,
)
from periodicd.protocol.queries import (
    Status as Status,
)
from periodicd.protocol.queries import (
    StatusQuery as StatusQuery,
)
from periodicd.protocol.queries import (
    Workers as Workers,
)
from periodicd.protocol.queries import (
    WorkersQuery as WorkersQuery,
)
from periodicd.protocol.queries import look_at_move
from periodicd.protocol.words import Params, Said, Wrong, measure, measure_each, says
from periodicd.retry import Backoff
from periodicd.store.ops import Existing

# -- hello -------------------------------------------------------------------------------------------------------------


class Hello(Said, forbid_unknown_fields=False):
    protocol: Annotated[Version | None, says("the highest version that you speak", 1)] = None
    client: Annotated[Text | None, says("who you are, for the daemon's log")] = None
    credit: Annotated[
        Room | None,
        says("how many jobs this connection runs at once, all functions together; broadcasts come on top", 1_000),
    ] = None
    disconnect_grace_ms: Annotated[
        Grace | None, says("how long this connection's runs wait for it after it was lost", 0)
    ] = None
    silence_ms: Annotated[
        Silence | None, says("how long it may be silent though subscribed: for workers that block", 60_000)
    ] = None
    features: Annotated[Features | None, says("behaviour that you ask for by name; none exists yet")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "client")
        measure_each(limits.NAME_BYTES_MAX, self, "features")


class HelloParams(Params):
    options: Hello | None = None


class Nothing(Params):
    """No params."""


# -- jobs --------------------------------------------------------------------------------------------------------------


class Retry(Said):
    called: ClassVar[str] = "a retry rule"

    limit: Annotated[Retries | None, says("how many times it is tried again", 15)] = None
    backoff: Annotated[Backoff | None, says("how the wait grows", "exponential")] = None
    delay_ms: Annotated[RetryWait | None, says("the unit of the wait", 1_000)] = None
    cap_ms: Annotated[
        RetryCap | None,
        says("the longest wait, jitter included", 3_600_000),
    ] = None
    jitter_percent: Annotated[
        Percent | None,
        says(
            "the wait is made up to so much longer, to spread retries; at its cap, shorter", "10 if exponential, else 0"
        ),
    ] = None


class Job(Said):
    called: ClassVar[str] = "a job"

    func: Annotated[Name, says("the function, which workers subscribe to", "required")]
    name: Annotated[Name, says("the job's name, unique in its function", "required")]
    workload: Annotated[Bytes | None, says("what the worker is given", "empty")] = None
    headers: Annotated[
        Headers | None, says("given to the worker and shown by `get`: content type, traceparent, codec", "empty")
    ] = None
    due_at_ms: Annotated[Time | None, says("when it is due; the largest is the end of the year 9999", "now")] = None
    delay_ms: Annotated[
        Wait | None, says("due so long from now, by the daemon's clock; not together with `due_at_ms`")
    ] = None
    priority: Annotated[Priority | None, says("smaller runs first among due jobs", 0)] = None
    lease_ms: Annotated[Lease | None, says("how long a run may take", 600_000)] = None
    retry: Annotated[Retry | None, says("what happens after a failure", "the defaults below")] = None
    run_max_ms: Annotated[Lease | None, says("a run ends after so long, whatever its lease", "none")] = None
    locks: Annotated[Weights | None, says("what it takes of each lock, by its name, while it runs", "none")] = None
    result_ms: Annotated[
        Keeping | None, says("how long its ending, and the result, are kept for `watch` and `get` after it", 0)
    ] = None
    expires_at_ms: Annotated[Time | None, says("not begun by then for the first time, it ends: `expired`", "never")] = (
        None
    )
    broadcast: Annotated[
        bool | None, says("it runs on every connection that is subscribed when it is due", default=False)
    ] = None
    existing: Annotated[Existing | None, says("what to do about a job of this name", "replace")] = None
    join_group: Annotated[
        bool | None, says("of a follow-on: it is a member of the group of which its forerunner is one", default=False)
    ] = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")
        if self.due_at_ms is not None and self.delay_ms is not None:
            raise Wrong("", "has both due_at_ms and delay_ms; give one")
        if self.expires_at_ms is not None and self.due_at_ms is not None and self.expires_at_ms <= self.due_at_ms:
            raise Wrong("expires_at_ms", "is not after due_at_ms, so it would never begin")
        if self.broadcast:
            _look_at_broadcast(self)
        if self.locks and any(len(lock.encode()) > limits.NAME_BYTES_MAX for lock in self.locks):
            raise Wrong("locks", f"has a name of more than {limits.NAME_BYTES_MAX} bytes")
        if self.headers:
            size = sum(len(name.encode()) + len(text.encode()) for name, text in self.headers.items())
            if size > limits.HEADERS_BYTES_MAX:
                raise Wrong(
                    "headers", f"has {size:,} bytes of names and values, and may have {limits.HEADERS_BYTES_MAX:,}"
                )


def _look_at_broadcast(job: Job) -> None:
    """Raises Wrong."""
    if job.locks:
        raise Wrong("locks", "is not for a broadcast, whose runs wait for nothing")
    if job.retry is not None:
        raise Wrong("retry", "is not for a broadcast, of which nothing is run again")
    workload = job.workload or b""
    size = len(workload.encode() if isinstance(workload, str) else workload)
    if size > limits.BROADCAST_BYTES_MAX:
        raise Wrong("workload", f"has {size:,} bytes, and may have {limits.BROADCAST_BYTES_MAX:,} in a broadcast")


Jobs = Annotated[tuple[Job, ...], Meta(max_length=limits.BATCH_JOBS_MAX)]


def look_at_group(then: Job, jobs: tuple[Job, ...], where: str) -> None:
    """Raises Wrong if the group's own job is one of its members."""
    for index, job in enumerate(jobs):
        if (job.func, job.name) == (then.func, then.name):
            raise Wrong(f"{where}[{index}]", "has the name of the group's own job, `then`")


class Submit(Params):
    job: Job


class SubmitBatch(Params):
    jobs: Jobs


class OfJob(Params):
    """About the job of this name."""

    func: Name
    name: Name

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")


class RemoveOptions(Said):
    id: Annotated[
        Id | None, says("take away only the job with this id, running or behind; what waits behind it takes its place")
    ] = None


class Remove(OfJob):
    options: RemoveOptions | None = None


class RequeueOptions(Said):
    id: Annotated[Id | None, says("requeue only the job with this id")] = None


class Requeue(OfJob):
    options: RequeueOptions | None = None


class CancelOptions(Said):
    id: Annotated[Id | None, says("cancel only the job with this id, running or behind")] = None
    reason: Annotated[Text | None, says("why, for its worker and for who looks", "empty")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "reason")


class Cancel(OfJob):
    options: CancelOptions | None = None


class MoveOptions(Said):
    id: Annotated[Id | None, says("move only the job with this id, also one behind")] = None
    due_at_ms: Annotated[Time | None, says("when it is due")] = None
    delay_ms: Annotated[Wait | None, says("due so long from now; not together with `due_at_ms`")] = None
    priority: Annotated[Priority | None, says("smaller runs first among due jobs")] = None

    def __post_init__(self) -> None:
        look_at_move(self)


class Move(OfJob):
    options: MoveOptions


class EndRunOptions(Said):
    id: Annotated[Id | None, says("only if the job has this id")] = None
    as_: Annotated[EndWord | None, says("what the run counts as", "failed")] = field(name="as", default=None)
    reason: Annotated[Text | None, says("why, for its worker and for who looks", "empty")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "reason")


class EndRun(OfJob):
    options: EndRunOptions | None = None


class GetOptions(Said):
    id: Annotated[Id | None, says("show only the job with this id, also one behind")] = None
    workload: Annotated[bool | None, says("show the workload too", default=False)] = None
    data: Annotated[bool | None, says("show the result too, if it is kept", default=False)] = None


class Get(OfJob):
    options: GetOptions | None = None


class ExplainOptions(Said):
    id: Annotated[Id | None, says("explain only the job with this id, also one behind")] = None


class Explain(OfJob):
    options: ExplainOptions | None = None


# -- waiting for a job -------------------------------------------------------------------------------------------------


class WatchOptions(Said):
    id: Annotated[Id | None, says("only the job with this id, also one behind, and its end")] = None
    after: Annotated[Cursor | None, says("the `next` of the answer before: tell what is new since")] = None
    timeout_ms: Annotated[
        Patience | None, says("how long to wait for something new; then the answer says how things stand", 60_000)
    ] = None
    only_end: Annotated[bool | None, says("nothing is new but the end; no chunks are told", default=False)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "after")


class Watch(OfJob):
    options: WatchOptions | None = None


class Unwait(Params):
    msgid: Msgid


# -- functions ---------------------------------------------------------------------------------------------------------


class OfFunction(Params):
    func: Name

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func")


# -- a worker's messages -----------------------------------------------------------------------------------------------


class SubscribeOptions(Said):
    limit: Annotated[Room | None, says("how many jobs of the function this connection runs at once", 1)] = None


class Subscribe(OfFunction):
    options: SubscribeOptions | None = None


class Unsubscribe(OfFunction):
    hint: ClassVar[str] = "for all functions there is unsubscribe_all"


class TakeOptions(Said):
    funcs: Annotated[Funcs, says("of which functions", "required")]
    max: Annotated[Room | None, says("how many jobs at the most", 1)] = None
    wait_ms: Annotated[Patience | None, says("how long to wait for the first", 60_000)] = None
    lease_ms: Annotated[Lease | None, says("how long each run may take", "the job's `lease_ms`")] = None

    def __post_init__(self) -> None:
        measure_each(limits.NAME_BYTES_MAX, self, "funcs")


class Take(Params):
    options: TakeOptions


class Outcome(Said):
    """How a run ended, when a map says so. What belongs to another outcome is not looked at: see OUTCOMES."""

    called: ClassVar[str] = "an outcome"

    outcome: Annotated[OutcomeWord, says("how it ended", "required")]
    data: Annotated[
        Bytes | None, says("the result, with `done`: for who watches, and kept as the job's `result_ms` says", "empty")
    ] = None
    reason: Annotated[str | None, says("why, with `failed`", "empty")] = None
    final: Annotated[bool | None, says("with `failed`: the job is dead at once", default=False)] = None
    delay_ms: Annotated[
        Wait | None,
        says(
            "with `later`: how long from now; 0 hands back a job not begun. With `failed`: instead of the retry rule's"
            " wait, unless it is 0",
            0,
        ),
    ] = None
    locks: Annotated[
        Weights | None, says("with `later`: all that the job takes from now on, in place of what it took", "as before")
    ] = None
    submit: Annotated[
        Jobs | None, says("follow-on jobs, stored in the same commit as this outcome or not at all", "empty")
    ] = None
    then: Annotated[
        Job | None, says("the follow-ons are a group: this job is due when all of them have ended", "none")
    ] = None

    def __post_init__(self) -> None:
        if self.then is not None:
            look_at_group(self.then, self.submit or (), "submit")


class Done(Outcome):
    reason: Any = None
    final: Any = None
    delay_ms: Any = None
    locks: Any = None


class Failed(Outcome):
    data: Any = None
    locks: Any = None


class Later(Outcome):
    data: Any = None
    reason: Any = None
    final: Any = None


OUTCOMES: dict[str, type[Outcome]] = {"done": Done, "failed": Failed, "later": Later}
"""What is looked at in each."""


class OfRun(Params):
    """About the run with this handle."""

    handle: Name

    def __post_init__(self) -> None:
        if len(self.handle) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "handle")


class Finish(OfRun):
    outcome: Any = None
    """nil, text, bytes or an Outcome."""


class ExtendOptions(Said):
    lease_ms: Annotated[Lease | None, says("it ends so long from now", "what `take` said, or the job's `lease_ms`")] = (
        None
    )
    own: Annotated[
        bool | None,
        says("the run is this connection's from now on: for a worker that has connected again", default=False),
    ] = None


class Extend(OfRun):
    options: ExtendOptions | None = None


class Data(OfRun):
    data: Bytes


class ProgressOptions(Said):
    called: ClassVar[str] = "a progress"

    done: Annotated[Amount, says("how much of it is done, in any unit", "required")]
    total: Annotated[Amount | None, says("of how much, if that is known")] = None
    note: Annotated[Text | None, says("what is being done now, for people")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "note")


class Progress(OfRun):
    progress: ProgressOptions
