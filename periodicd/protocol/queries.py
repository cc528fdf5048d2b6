"""What a peer may ask about many jobs, about workers and events: as fields.py, which has them too."""

from typing import Annotated, ClassVar, Protocol

from periodic_client.wire import limits
from periodicd.protocol.kinds import Cursor, Id, Kinds, Name, Page, Patience, Priority, StateWord, Text, Time, Wait
from periodicd.protocol.words import Params, Said, Wrong, measure, measure_each, says

# -- what happens ------------------------------------------------------------------------------------------------------


class EventsQuery(Said):
    after: Annotated[Cursor | None, says("the `next` of the answer before: tell what happened since")] = None
    timeout_ms: Annotated[Patience | None, says("how long to wait for the first", 60_000)] = None
    kinds: Annotated[Kinds | None, says("only of these kinds")] = None
    func: Annotated[Name | None, says("only of this function")] = None
    limit: Annotated[Page | None, says("how many at the most", 1_000)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "after", "func")
        measure_each(limits.NAME_BYTES_MAX, self, "kinds")


class Events(Params):
    query: EventsQuery | None = None


class WorkersQuery(Said):
    func: Annotated[Name | None, says("only those of this function")] = None
    after: Annotated[Cursor | None, says("the `next` of the page before")] = None
    limit: Annotated[Page | None, says("how many at the most", 100)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "func", "after")


class Workers(Params):
    query: WorkersQuery | None = None


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
    group_id: Annotated[Id | None, says("only members of this group, by the id of its job")] = None

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


class LocksQuery(Said):
    prefix: Annotated[Text | None, says("only locks that begin so")] = None
    after: Annotated[Cursor | None, says("the `next` of the page before")] = None
    limit: Annotated[Page | None, says("how many locks at the most", 100)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "prefix", "after")


class Locks(Params):
    query: LocksQuery | None = None


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


class Moves(Protocol):
    """Options that say when jobs are due, or how urgent they are."""

    due_at_ms: int | None
    delay_ms: int | None
    priority: int | None


def look_at_move(said: "Moves") -> None:
    """Raises Wrong if it says too much or too little."""
    if said.due_at_ms is not None and said.delay_ms is not None:
        raise Wrong("", "has both due_at_ms and delay_ms; give one")
    if said.due_at_ms is None and said.delay_ms is None and said.priority is None:
        raise Wrong("", "has none of due_at_ms, delay_ms and priority; give at least one")


class CancelMatchingOptions(MatchingOptions):
    reason: Annotated[Text | None, says("why, for their workers and for who looks", "empty")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        measure(limits.NAME_BYTES_MAX, self, "reason")


class CancelMatching(Params):
    query: MatchingQuery
    options: CancelMatchingOptions | None = None


class MoveMatchingOptions(MatchingOptions):
    due_at_ms: Annotated[Time | None, says("when they are due")] = None
    delay_ms: Annotated[Wait | None, says("due so long after each request; not together with `due_at_ms`")] = None
    priority: Annotated[Priority | None, says("smaller runs first among due jobs")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        look_at_move(self)


class MoveMatching(Params):
    query: MatchingQuery
    options: MoveMatchingOptions
