"""What the daemon says: the maps of protocol.md, one type for each, key by key. Values and pure functions only.

mypy holds whoever makes an answer to its type; tests/test_protocol_md.py compares the types with the page's tables, in
which ``T | None`` is "T or nil".
"""

from typing import Any, Literal, TypedDict

from periodic_client.wire import PROTOCOL_VERSION, limits
from periodicd.job import Broadcast, Job
from periodicd.store.ops import GetResult, Group, JobEnd, Shown


class HelloAnswer(TypedDict):
    protocol: int
    server: str
    boot: int
    now_at_ms: int
    durability: str
    features: list[str]
    limits: dict[str, int]


class SubmitAnswer(TypedDict):
    result: str
    id: int


class SubmitBatchAnswer(TypedDict):
    results: list[str]
    ids: list[int | None]


class ResultAnswer(TypedDict):
    """To ``remove``, ``cancel``, ``move`` and ``end_run``."""

    result: str


class RequeueAnswer(TypedDict):
    result: str
    id: int | None


class ErrorAnswer(TypedDict):
    """A run that went wrong."""

    attempt: int
    at_ms: int
    text: str


class JobAnswer(TypedDict):
    """A job as ``get`` and ``list`` show it."""

    id: int
    func: str
    name: str
    state: str
    priority: int
    submitted_at_ms: int
    due_at_ms: int
    lease_ms: int
    attempt: int
    failures: int
    crashes: int
    restarts: int
    retry: dict[str, Any]
    headers: dict[str, str]
    run_max_ms: int | None
    locks: dict[str, int]
    group_id: int | None
    expires_at_ms: int | None
    broadcast: "BroadcastAnswer | None"
    result_ms: int
    reason: str | None
    errors: list[ErrorAnswer]
    ended_at_ms: int | None
    run: int | None
    started_at_ms: int | None
    lease_until_at_ms: int | None
    cancelled: str | None
    workload_bytes: int
    behind: bool
    workload: bytes | None


class BroadcastAnswer(TypedDict):
    """How far a broadcast is."""

    runs: int
    done: int
    failed: int
    lost: int


class LastAnswer(TypedDict):
    """How a job ended, as ``get`` shows it."""

    id: int
    ending: str
    ended_at_ms: int
    attempt: int
    reason: str | None
    data_bytes: int
    data: bytes | None


class GetAnswer(TypedDict):
    result: str
    job: JobAnswer | None
    worker: str | None
    last: LastAnswer | None
    group: "GroupAnswer | None"


class GroupAnswer(TypedDict):
    """How far a group is that is open."""

    sealed: bool
    members: int
    open: int
    done: int
    dead: int
    removed: int
    cancelled: int
    expired: int


class GateAnswer(TypedDict):
    """What keeps a job from running now."""

    code: str
    text: str
    facts: dict[str, Any]


class ExplainAnswer(TypedDict):
    result: str
    state: str | None
    gates: list[GateAnswer]


class WatchAnswer(TypedDict):
    result: str
    id: int | None
    ended: bool
    ending: str | None
    data: bytes | None
    data_bytes: int
    reason: str | None
    state: str | None
    attempt: int | None
    progress: dict[str, Any] | None
    chunks: list[bytes]
    missed: int | None
    next: str | None


class ListAnswer(TypedDict):
    jobs: list[JobAnswer]
    next: str | None


class EventAnswer(TypedDict):
    """Something that happened."""

    at_ms: int
    kind: str
    func: str | None
    name: str | None
    id: int | None
    run: int | None
    worker: str | None
    text: str | None


class EventsAnswer(TypedDict):
    events: list[EventAnswer]
    missed: int | None
    next: str


class WorkerFunctionAnswer(TypedDict):
    func: str
    limit: int
    running: int


class WorkerRunAnswer(TypedDict):
    func: str
    name: str
    id: int
    run: int
    started_at_ms: int | None


class WorkerAnswer(TypedDict):
    """A connection that takes jobs."""

    connection: int
    client: str
    connected_at_ms: int
    silent_ms: int
    silence_ms: int
    credit: int
    running: int
    function_count: int
    functions: list[WorkerFunctionAnswer]
    runs: list[WorkerRunAnswer]


class WorkersAnswer(TypedDict):
    workers: list[WorkerAnswer]
    next: str | None


class MatchingAnswer(TypedDict):
    """Of a request on many jobs."""

    count: int
    next: str | None


class LatenessAnswer(TypedDict):
    """How late the last runs of a function began."""

    started: int
    lateness_p50_ms: int | None
    lateness_p99_ms: int | None
    lateness_max_ms: int | None


class FunctionAnswer(TypedDict):
    """A function as ``status`` shows it."""

    func: str
    workers: int
    waiting: int
    parked: int
    running: int
    behind: int
    dead: int
    due_at_ms: int | None
    started: int
    lateness_p50_ms: int | None
    lateness_p99_ms: int | None
    lateness_max_ms: int | None
    paused: bool
    settings: dict[str, Any]


class StatusAnswer(TypedDict):
    server: str
    build: str
    boot: int
    now_at_ms: int
    uptime_ms: int
    durability: str
    connections: int
    connections_max: int
    running: int
    submitted: int
    started: int
    done: int
    failed: int
    later: int
    commits: int
    commit_p50_us: int | None
    commit_p99_us: int | None
    store_bytes: int
    wal_bytes: int
    free_bytes: int | None
    dead_max: int
    results: int
    results_max: int
    results_bytes: int
    results_bytes_max: int
    schedules: int
    schedules_max: int
    functions: list[FunctionAnswer]
    next: str | None


class ExtendAnswer(TypedDict):
    lease_until_at_ms: int
    cancelled: bool


class PerformedJob(TypedDict):
    """What a worker is given."""

    handle: str
    run: int
    func: str
    name: str
    workload: bytes | None
    headers: dict[str, str]
    due_at_ms: int
    priority: int
    lease_ms: int
    attempt: int
    failures: int
    crashes: int
    broadcast: bool


class TakeAnswer(TypedDict):
    jobs: list[PerformedJob]


NOTHING: dict[str, Any] = {}
"""The answer to what has nothing to tell but that it was done. Never changed."""


def hello(
    server: str, boot: int, now_at_ms: int, durability: str, message_bytes: int, workload_bytes: int
) -> HelloAnswer:
    """There is no feature yet, so none is granted."""
    return {
        "protocol": PROTOCOL_VERSION,
        "server": server,
        "boot": boot,
        "now_at_ms": now_at_ms,
        "durability": durability,
        "features": [],
        "limits": {
            "message_bytes": message_bytes,
            "workload_bytes": workload_bytes,
            "headers_bytes": limits.HEADERS_BYTES_MAX,
            "batch_jobs": limits.BATCH_JOBS_MAX,
            "name_bytes": limits.NAME_BYTES_MAX,
            "connection_jobs": limits.CONNECTION_JOBS_MAX,
        },
    }


def got(found: GetResult, worker: str | None, workload: bool) -> GetAnswer:
    last: LastAnswer | None = None
    if found.last is not None:
        end = found.last
        last = {
            "id": end.id,
            "ending": end.ending,
            "ended_at_ms": end.ended_at_ms,
            "attempt": end.attempt,
            "reason": end.reason,
            "data_bytes": end.data_bytes,
            "data": end.data,
        }
    job = None if found.shown is None else describe(found.shown, workload)
    group = None if found.group is None else grouped(found.group)
    return {"result": found.result, "job": job, "worker": worker, "last": last, "group": group}


def broadcast_so_far(broadcast: Broadcast) -> BroadcastAnswer:
    return {
        "runs": broadcast.runs,
        "done": broadcast.done,
        "failed": broadcast.failed,
        "lost": broadcast.lost,
    }


def grouped(group: Group) -> GroupAnswer:
    return {
        "sealed": group.sealed,
        "members": group.members,
        "open": group.open,
        "done": group.done,
        "dead": group.dead,
        "removed": group.removed,
        "cancelled": group.cancelled,
        "expired": group.expired,
    }


def describe(shown: Shown, workload: bool = False) -> JobAnswer:
    """A job as ``get`` and ``list`` show it."""
    job = shown.job
    return {
        "id": job.id,
        "func": job.func,
        "name": job.name,
        "state": job.state.word,
        "priority": job.priority,
        "submitted_at_ms": job.submitted_at_ms,
        "due_at_ms": job.due_at_ms,
        "lease_ms": job.lease_ms,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "restarts": job.restarts,
        "retry": job.retry.as_map(),
        "headers": job.headers or NOTHING,
        "run_max_ms": job.run_max_ms,
        "locks": job.locks or NOTHING,
        "group_id": job.group_id,
        "expires_at_ms": job.expires_at_ms,
        "broadcast": None if job.broadcast is None else broadcast_so_far(job.broadcast),
        "result_ms": job.result_ms,
        "reason": job.reason,
        "errors": [{"attempt": each.attempt, "at_ms": each.at_ms, "text": each.text} for each in job.errors],
        "ended_at_ms": job.ended_at_ms,
        "run": job.run,
        "started_at_ms": job.started_at_ms,
        "lease_until_at_ms": job.lease_until_at_ms,
        "cancelled": job.cancelled,
        "workload_bytes": job.workload_bytes,
        "behind": shown.behind,
        "workload": job.workload if workload else None,
    }


def performed(job: Job, handle: str, run: int, lease_ms: int) -> PerformedJob:
    """A job as its worker is given it."""
    return {
        "handle": handle,
        "run": run,
        "func": job.func,
        "name": job.name,
        "workload": job.workload,
        "headers": job.headers or NOTHING,
        "due_at_ms": job.due_at_ms,
        "priority": job.priority,
        "lease_ms": lease_ms,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "broadcast": job.broadcast is not None,
    }


def watched(
    job: Job, end: JobEnd | None, progress: dict[str, Any] | None, chunks: list[bytes], missed: int | None, cursor: str
) -> WatchAnswer:
    """What a watcher of the job is told."""
    return {
        "result": "found",
        "id": job.id,
        "ended": end is not None,
        "ending": end and end.ending,
        "data": end and end.data,
        "data_bytes": end.data_bytes if end is not None else 0,
        "reason": end.reason if end is not None else job.reason,
        "state": job.state.word if end is None else None,
        "attempt": end.attempt if end is not None else job.attempt,
        "progress": progress,
        "chunks": chunks,
        "missed": missed,
        "next": cursor,
    }


def not_watched(result: Literal["absent", "changed"]) -> WatchAnswer:
    """There is no such job, and nothing is known of its end."""
    return {
        "result": result,
        "id": None,
        "ended": False,
        "ending": None,
        "data": None,
        "data_bytes": 0,
        "reason": None,
        "state": None,
        "attempt": None,
        "progress": None,
        "chunks": [],
        "missed": 0,
        "next": None,
    }
