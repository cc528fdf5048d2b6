"""A look at the whole of a daemon: what ``status``, ``workers`` and ``locks`` tell, page by page. Changes nothing.

It asks through a Client, and knows neither what is shown of it nor what is wrong with it (health.py).
"""

import time
from collections.abc import Sequence
from typing import Any

from periodic_client.client import Client
from periodic_client.health import DEAD_WITHIN_MS, OVERDUE_MS, Facts, Why
from periodic_client.wire import limits

PINGS = 3
"""The fastest of so many: the others waited for something."""
HOLDERS_LOOKED_AT = 20
"""Of locks that others wait for; more say nothing new, and each costs a request."""


async def whole_status(client: Client, prefix: str | None = None) -> dict[str, Any]:
    """``status`` with all of its pages in one."""
    whole = await client.status(prefix, None, limits.LISTING_MAX)
    while (after := whole.get("next")) is not None:
        page = await client.status(prefix, after, limits.LISTING_MAX)
        whole["functions"] += page["functions"]
        whole["next"] = page.get("next")
    return whole


async def facts(client: Client, version: str) -> Facts:
    """What there is to find about the daemon's health. ``version``: of this side."""
    round_trip_ms = await _round_trip_ms(client)
    asked_s = time.time()
    at_ms = (await client.hello())["now_at_ms"]
    clock_ms = at_ms - (asked_s + time.time()) * 500
    status = await whole_status(client)
    locks = [lock async for lock in client.locks() if lock["parked"]]
    return Facts(
        client.url,
        version,
        round_trip_ms,
        clock_ms,
        status,
        [worker async for worker in client.workers()],
        locks,
        await _leases(client, locks),
        await client.requeue_matching(state="dead", due_from_at_ms=at_ms - DEAD_WITHIN_MS, dry_run=True),
        await _why(client, status),
    )


async def _round_trip_ms(client: Client) -> float:
    await client.ping()  # which connects
    took = []
    for _ in range(PINGS):
        begin_s = time.perf_counter()
        await client.ping()
        took.append((time.perf_counter() - begin_s) * 1000)
    return min(took)


async def _leases(client: Client, locks: Sequence[dict[str, Any]]) -> dict[int, int | None]:
    holders = [holder for lock in locks for holder in lock["holders"]]
    found = {}
    for holder in holders[:HOLDERS_LOOKED_AT]:
        job = await client.get(holder["func"], holder["name"], id=holder["id"])
        if job is not None:
            found[holder["id"]] = job["lease_until_at_ms"]
    return found


async def _why(client: Client, status: dict[str, Any]) -> Why | None:
    """What holds back the job that is overdue for longest, of those whose function has workers and is not paused."""
    due = [each for each in status["functions"] if each["workers"] and not each["paused"] and each["due_at_ms"]]
    oldest = min(due, key=lambda each: int(each["due_at_ms"]), default=None)
    if oldest is None or status["now_at_ms"] - oldest["due_at_ms"] < OVERDUE_MS[0]:
        return None
    func, until_at_ms = oldest["func"], oldest["due_at_ms"] + 1
    jobs, _ = await client.list_page(func, "waiting", limit=1, due_before_at_ms=until_at_ms)
    if not jobs:
        return None
    gates = await client.explain(func, jobs[0]["name"], id=jobs[0]["id"])
    return Why(func, jobs[0]["name"], [gate["text"] for gate in gates])
