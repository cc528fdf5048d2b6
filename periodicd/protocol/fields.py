"""What a peer may say: one type for each map of protocol.md and for the params of each method, in the page's order.

Ranges, meanings and defaults stand here; tests/test_protocol_md.py compares the page's tables with them. A default is
what stands for nil: requests.py puts it in its place. Nothing here depends on a clock or a setting; what does (the
size of a workload, the end of a wait) is requests.py's.
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from periodic_client.wire import limits
from periodicd.protocol.words import BYTES, CURSOR, Params, Said, Wrong, measure, says
from periodicd.retry import Backoff
from periodicd.store.ops import Existing

# -- kinds of values ---------------------------------------------------------------------------------------------------

Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_BYTES_MAX)]
Text = Annotated[str, Meta(max_length=limits.NAME_BYTES_MAX)]
Cursor = Annotated[str, Meta(max_length=limits.CURSOR_BYTES_MAX), CURSOR]
Bytes = Annotated[Any, BYTES]
Headers = Annotated[dict[str, str], Meta(max_length=limits.HEADERS_MAX)]
Features = Annotated[tuple[Text, ...], Meta(max_length=limits.FEATURES_MAX)]

Id = Annotated[int, Meta(ge=1, le=limits.INTEGER_MAX)]
Version = Annotated[int, Meta(ge=1, le=limits.INTEGER_MAX)]
Time = Annotated[int, Meta(ge=0, le=limits.TIME_MS_MAX)]
Wait = Annotated[int, Meta(ge=0, le=limits.TIME_MS_MAX)]
Priority = Annotated[int, Meta(ge=limits.PRIORITY[0], le=limits.PRIORITY[1])]
Lease = Annotated[int, Meta(ge=limits.LEASE_MS[0], le=limits.LEASE_MS[1])]
Grace = Annotated[int, Meta(ge=0, le=limits.GRACE_MS_MAX)]
Silence = Annotated[int, Meta(ge=limits.SILENCE_MS[0], le=limits.SILENCE_MS[1])]
Retries = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["limit"][1])]
RetryWait = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["delay_ms"][1])]
RetryCap = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["cap_ms"][1])]
Percent = Annotated[int, Meta(ge=0, le=limits.RETRY_INTEGERS["jitter_percent"][1])]
Room = Annotated[int, Meta(ge=1, le=limits.CONNECTION_JOBS_MAX)]
Page = Annotated[int, Meta(ge=1, le=limits.LISTING_MAX)]

StateWord = Literal["waiting", "running", "dead", "behind"]
OutcomeWord = Literal["done", "failed", "later"]

CHARACTERS_THAT_FIT = limits.NAME_BYTES_MAX // 4
"""Without counting: UTF-8 has 4 bytes a character at the most."""

# -- hello -------------------------------------------------------------------------------------------------------------


class Hello(Said, forbid_unknown_fields=False):
    protocol: Annotated[Version | None, says("the highest version that you speak", 1)] = None
    client: Annotated[Text | None, says("who you are, for the daemon's log")] = None
    credit: Annotated[
        Room | None, says("how many jobs this connection runs at once, all functions together", 1_000)
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
        for index, feature in enumerate(self.features or ()):
            if (size := len(feature.encode())) > limits.NAME_BYTES_MAX:
                raise Wrong(f"features[{index}]", f"has {size:,} bytes, and may have {limits.NAME_BYTES_MAX:,}")


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
    existing: Annotated[Existing | None, says("what to do about a job of this name", "replace")] = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")
        if self.due_at_ms is not None and self.delay_ms is not None:
            raise Wrong("", "has both due_at_ms and delay_ms; give one")
        if self.headers:
            size = sum(len(name.encode()) + len(text.encode()) for name, text in self.headers.items())
            if size > limits.HEADERS_BYTES_MAX:
                raise Wrong(
                    "headers", f"has {size:,} bytes of names and values, and may have {limits.HEADERS_BYTES_MAX:,}"
                )


Jobs = Annotated[tuple[Job, ...], Meta(max_length=limits.BATCH_JOBS_MAX)]


class Submit(Params):
    job: Job


class SubmitBatch(Params):
    jobs: Jobs


class RemoveOptions(Said):
    id: Annotated[
        Id | None, says("take away only the job with this id, running or behind; what waits behind it takes its place")
    ] = None


class Remove(Params):
    func: Name
    name: Name
    options: RemoveOptions | None = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")


class RequeueOptions(Said):
    id: Annotated[Id | None, says("requeue only the job with this id")] = None


class Requeue(Params):
    func: Name
    name: Name
    options: RequeueOptions | None = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")


class GetOptions(Said):
    id: Annotated[Id | None, says("show only the job with this id, also one behind")] = None
    workload: Annotated[bool | None, says("show the workload too", default=False)] = None


class Get(Params):
    func: Name
    name: Name
    options: GetOptions | None = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT or len(self.name) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func", "name")


# -- listings ----------------------------------------------------------------------------------------------------------


class Query(Said):
    """Which jobs: those to which all of it applies."""

    called: ClassVar[str] = "a query"

    func: Annotated[Name | None, says("only of this function")] = None
    state: Annotated[StateWord | None, says("only in this state")] = None
    prefix: Annotated[Name | None, says("only those whose name begins so")] = None
    due_from_at_ms: Annotated[Time | None, says("only those due then or later")] = None
    due_before_at_ms: Annotated[Time | None, says("only those due earlier than that")] = None
    reason: Annotated[Name | None, says("only those in the reason of whose last failure this text occurs")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "func", "prefix", "reason")
        due_from, due_before = self.due_from_at_ms, self.due_before_at_ms
        if due_from is not None and due_before is not None and due_from >= due_before:
            raise Wrong("due_before_at_ms", "is not after due_from_at_ms, so no job is meant")


class ListQuery(Query):
    after: Annotated[Cursor | None, says("the `next` of the page before")] = None
    limit: Annotated[Page | None, says("how many at the most", 100)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        measure(limits.CURSOR_BYTES_MAX, self, "after")


class List(Params):
    query: ListQuery | None = None


class StatusQuery(Said):
    prefix: Annotated[Text | None, says("only functions that begin so")] = None
    after: Annotated[Cursor | None, says("the `next` of the page before")] = None
    limit: Annotated[Page | None, says("how many functions at the most", 100)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "prefix", "after")


class Status(Params):
    query: StatusQuery | None = None


# -- requests on many jobs ---------------------------------------------------------------------------------------------


class MatchingQuery(Query):
    all: Annotated[bool | None, says("every job; needed if nothing else is said", default=False)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.all and all(getattr(self, each) is None for each in Query.__struct_fields__):
            raise Wrong("", "names no jobs; say which, or all: true")


class MatchingOptions(Said):
    dry_run: Annotated[bool | None, says("only count: nothing is changed", default=False)] = None
    after: Annotated[Cursor | None, says("the `next` of the answer before")] = None

    def __post_init__(self) -> None:
        measure(limits.CURSOR_BYTES_MAX, self, "after")


class RemoveMatching(Params):
    query: MatchingQuery
    options: MatchingOptions | None = None


class RequeueMatching(Params):
    query: MatchingQuery
    options: MatchingOptions | None = None


# -- a worker's messages -----------------------------------------------------------------------------------------------


class SubscribeOptions(Said):
    limit: Annotated[Room | None, says("how many jobs of the function this connection runs at once", 1)] = None


class Subscribe(Params):
    func: Name
    options: SubscribeOptions | None = None

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func")


class Unsubscribe(Params):
    hint: ClassVar[str] = "for all functions there is unsubscribe_all"

    func: Name

    def __post_init__(self) -> None:
        if len(self.func) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "func")


class Outcome(Said):
    """How a run ended, when a map says so. What belongs to another outcome is not looked at: see OUTCOMES."""

    called: ClassVar[str] = "an outcome"

    outcome: Annotated[OutcomeWord, says("how it ended", "required")]
    data: Annotated[
        Bytes | None, says("the result, with `done`; version 1 checks it and keeps none of it", "empty")
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
    submit: Annotated[
        Jobs | None, says("follow-on jobs, stored in the same commit as this outcome or not at all", "empty")
    ] = None


class Done(Outcome):
    reason: Any = None
    final: Any = None
    delay_ms: Any = None


class Failed(Outcome):
    data: Any = None


class Later(Outcome):
    data: Any = None
    reason: Any = None
    final: Any = None


OUTCOMES: dict[str, type[Outcome]] = {"done": Done, "failed": Failed, "later": Later}
"""What is looked at in each."""


class Finish(Params):
    handle: Name
    outcome: Any = None
    """nil, text, bytes or an Outcome."""

    def __post_init__(self) -> None:
        if len(self.handle) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "handle")


class ExtendOptions(Said):
    lease_ms: Annotated[Lease | None, says("it ends so long from now", "the job's `lease_ms`")] = None
    own: Annotated[
        bool | None,
        says("the run is this connection's from now on: for a worker that has connected again", default=False),
    ] = None


class Extend(Params):
    handle: Name
    options: ExtendOptions | None = None

    def __post_init__(self) -> None:
        if len(self.handle) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "handle")
