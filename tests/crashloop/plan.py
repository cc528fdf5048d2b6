"""What the load's jobs are and how their runs end. The plan of a job is its workload, so that any worker can follow it.

Values only: neither the library's worker nor the raw one is known here.
"""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.crashloop.record import (
    FUNC,
    GROUP_FUNC,
    LOCK_LEASE_MS,
    RESULT_MS,
    Reported,
    Started,
    func_of,
    lock_of,
    now_ms,
)

CALL = "call"
"""Its result is its name, so that anybody can tell whether it is the right one."""
KINDS = ("plain", "plain", "plain", "slow", "later", "retry", "follow", "follow", "dead")
CROWD_KINDS = ("plain", "slow", "later", "retry", "dead", "dead")
"""Without follow-on jobs, whose names begin like that of their job, so that they would be meant too."""
LOCK_KINDS = ("plain", "slow", "slow", "later", "retry")
MEMBER_KINDS = ("plain", "slow", "later", "retry", "dead", "join", "join")
"""Each ends in one way only. "join": with a follow-on that is a member too."""
EXPIRING_KINDS = ("plain", "slow", "later", "retry", "retry", "dead")
OCCURRENCE_KINDS = ("plain", "plain", "slow", "later", "retry", "dead")
EXPIRES_MS = 1000
LEASES_MS = (1000, 2000, 4000)
RETRY_MS = 200
RETRIES = 1000
"""No job of the load may die of its failures: a lease that runs out while the daemon is down is one."""


def workload(rng: Random, version: int, kinds: tuple[str, ...] = KINDS) -> bytes:
    """Now and then one so large that the store keeps it apart from its job."""
    padding = rng.choice((0, 0, 0, 100, 1000, 20_000))
    kind = rng.choice(kinds)
    return json.dumps({"version": version, "kind": kind, "padding": "x" * padding}).encode()


def new_job(name: str, content: bytes, rng: Random) -> dict[str, Any]:
    """A job of protocol.md, due now."""
    retry = {"limit": RETRIES, "backoff": "fixed", "delay_ms": RETRY_MS}
    return {"func": FUNC, "name": name, "workload": content, "lease_ms": rng.choice(LEASES_MS), "retry": retry}


def call(name: str, rng: Random) -> dict[str, Any]:
    """A job whose result is asked for, and kept."""
    content = json.dumps({"version": 1, "kind": CALL}).encode()
    return new_job(name, content, rng) | {"existing": "keep", "result_ms": RESULT_MS}


def occurrence(rng: Random) -> dict[str, Any]:
    """The job of a schedule. Its workload is small, since schedules are in the daemon's memory."""
    content = json.dumps({"version": 1, "kind": rng.choice(OCCURRENCE_KINDS)}).encode()
    job = new_job("", content, rng)
    del job["name"]
    return job


def expiring(name: str, rng: Random) -> dict[str, Any]:
    """A job of which it is kept how it ended. It expires in the moment in which it could begin, or a while later."""
    content = json.dumps({"version": 1, "kind": rng.choice(EXPIRING_KINDS)}).encode()
    due_at_ms = now_ms() + rng.choice((0, rng.randrange(EXPIRES_MS)))
    expires_at_ms = due_at_ms + rng.choice((1, rng.randrange(2, 20), rng.randrange(20, EXPIRES_MS)))
    job = new_job(name, content, rng) | {"func": func_of(name)}
    if lock := lock_of(name):
        job |= {"locks": {lock: 1}, "lease_ms": LOCK_LEASE_MS}
    return job | {"due_at_ms": due_at_ms, "expires_at_ms": expires_at_ms, "result_ms": RESULT_MS}


def group(name: str) -> dict[str, Any]:
    """A group's job. It is kept whatever became of it, so a group that is sent again is not there twice."""
    content = json.dumps({"version": 1, "kind": "plain"}).encode()
    job = new_job(name, content, Random(name))
    return job | {"func": GROUP_FUNC, "existing": "keep", "result_ms": RESULT_MS}


def member(name: str, kind: str) -> dict[str, Any]:
    return new_job(name, json.dumps({"version": 1, "kind": kind}).encode(), Random(name))


def started(job: dict[str, Any]) -> Started:
    """``job``: as in ``end_of``. To be written down before the run begins."""
    said = {name.removeprefix("group-"): int(text) for name, text in job["headers"].items()}
    version, due_at_ms = version_of(job["workload"]), job["due_at_ms"]
    return Started(job["name"], version, job["handle"], due_at_ms, now_ms(), told=said or None, attempt=job["attempt"])


def version_of(content: bytes) -> int:
    version: int = json.loads(content)["version"]
    return version


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends: what is written down before it is said, what is said, and how long the run takes."""

    report: Reported
    outcome: dict[str, Any]
    pause_s: float


def end_of(job: dict[str, Any], rng: Random) -> End:
    """``job``: the parameter of ``perform``."""
    name, handle = job["name"], job["handle"]
    planned = json.loads(job["workload"])
    kind = planned["kind"]
    pause_s = rng.uniform(0.05, 0.4) if kind == "slow" else 0.0
    not_before_at_ms = 0
    follow_on = None
    outcome: dict[str, Any] = {"outcome": "done"}
    if kind == "later" and job["attempt"] <= 2:
        delay_ms = rng.randrange(1, 800)
        outcome = {"outcome": "later", "delay_ms": delay_ms}
        not_before_at_ms = now_ms() + delay_ms
    elif kind == "retry" and job["failures"] < 2:
        outcome = {"outcome": "failed", "reason": "as planned"}
        not_before_at_ms = now_ms() + RETRY_MS
    elif kind == "dead":
        outcome = {"outcome": "failed", "reason": "as planned", "final": True}
    elif kind == CALL:
        outcome["data"] = name.encode()
    elif kind in ("follow", "join"):
        # Each run has a follow-on job of its own: one that was stored without its run's end would show.
        follow_on = f"{name}~{handle}"
        content = json.dumps({"version": 1, "kind": "plain"}).encode()
        outcome["submit"] = [new_job(follow_on, content, rng) | ({"join_group": True} if kind == "join" else {})]
    said = {"done": "done", "later": "again", "failed": "dead" if kind == "dead" else "again"}[outcome["outcome"]]
    report = Reported(name, planned["version"], handle, said, not_before_at_ms, follow_on)
    return End(report, outcome, pause_s)
