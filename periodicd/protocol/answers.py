"""What the daemon says: the maps of protocol.md, one type for each, key by key. Values and pure functions only.

mypy holds whoever makes an answer to its type; tests/test_protocol_md.py compares the types with the page's tables, in
which ``T | None`` is "T or nil".
"""

from typing import Any, TypedDict

from periodic_client.wire import PROTOCOL_VERSION, limits
from periodicd.job import Job
from periodicd.store.ops import Shown


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
    ids: list[int]


class RemoveAnswer(TypedDict):
    result: str


class RequeueAnswer(TypedDict):
    result: str
    id: int | None


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
    reason: str | None
    ended_at_ms: int | None
    run: int | None
    workload_bytes: int
    successor: bool
    workload: bytes | None


class GetAnswer(TypedDict):
    result: str
    job: JobAnswer | None


class ListAnswer(TypedDict):
    jobs: list[JobAnswer]
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
    running: int
    behind: int
    dead: int
    due_at_ms: int | None
    started: int
    lateness_p50_ms: int | None
    lateness_p99_ms: int | None
    lateness_max_ms: int | None


class StatusAnswer(TypedDict):
    server: str
    build: str
    boot: int
    now_at_ms: int
    uptime_ms: int
    durability: str
    connections: int
    running: int
    submitted: int
    started: int
    done: int
    failed: int
    later: int
    commits: int
    commit_p50_us: int | None
    commit_p99_us: int | None
    functions: list[FunctionAnswer]
    next: str | None


class ExtendAnswer(TypedDict):
    lease_until_at_ms: int


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
        "reason": job.reason,
        "ended_at_ms": job.ended_at_ms,
        "run": job.run,
        "workload_bytes": job.workload_bytes,
        "successor": shown.successor,
        "workload": job.workload if workload else None,
    }


def performed(job: Job, handle: str, run: int, workload: bytes | None) -> PerformedJob:
    """A job as its worker is given it."""
    return {
        "handle": handle,
        "run": run,
        "func": job.func,
        "name": job.name,
        "workload": workload,
        "headers": job.headers or NOTHING,
        "due_at_ms": job.due_at_ms,
        "priority": job.priority,
        "lease_ms": job.lease_ms,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
    }
