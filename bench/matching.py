"""``python -m bench.matching``: lists and requests on many with a million jobs, and how late due jobs are beside them.

The store is filled by submits and read through the daemon; all figures are of this machine and minute. Queries are such
as find little, so that most of a page's time goes into looking.
"""

import argparse
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from bench.scenarios import WORKLOAD, fill
from periodic_client import Client, Job, NewJob, Worker
from rig import machine
from rig.daemon import Daemon

QUERIES: dict[str, dict[str, Any]] = {
    "all": {},
    "state=dead": {"state": "dead"},
    "reason": {"reason": "no such reason"},
    "prefix": {"prefix": "no such prefix"},
    "func, prefix": {"func": "backlog", "prefix": "9"},
    "func, prefix, state": {"func": "backlog", "prefix": "1", "state": "dead"},
    "due range": {"due_before_at_ms": 1},
}
PAGES_MAX = 300
DUE_EACH_MS = 5


async def pages_ms(client: Client, query: dict[str, Any]) -> list[float]:
    """How long each page took, from its request to its answer."""
    took_ms: list[float] = []
    after: str | None = None
    while len(took_ms) < PAGES_MAX:
        begin = time.perf_counter()
        _, after = await client.list_page(after=after, **query)
        took_ms.append((time.perf_counter() - begin) * 1000)
        if after is None:
            break
    return took_ms


@asynccontextmanager
async def due_jobs(url: str) -> AsyncIterator[list[float]]:
    """A job is due each DUE_EACH_MS, and a worker begins it; by how many milliseconds too late is put into the list."""
    late_ms: list[float] = []
    measured = Worker(url)

    @measured.function("due", limit=100, inline=True)
    def note(job: Job) -> None:
        late_ms.append(time.time() * 1000 - job.due_at_ms)

    async with Client(url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: measured.run(task_status=task_status))

        async def submit() -> None:
            while True:
                first_ms = time.time_ns() // 1_000_000 + 1_500
                await client.submit_batch(
                    NewJob("due", f"{first_ms}-{each}", WORKLOAD, due_at_ms=first_ms + each * DUE_EACH_MS)
                    for each in range(1_000 // DUE_EACH_MS)
                )
                await trio.sleep(1)

        nursery.start_soon(submit)
        await trio.sleep(3)
        late_ms.clear()
        yield late_ms
        nursery.cancel_scope.cancel()


def show(what: str, values: list[float], note: str = "") -> None:
    p50, p99 = machine.percentile(values, 50), machine.percentile(values, 99)
    print(f"{what:34} p50 {p50:7.2f}  p99 {p99:7.2f}  max {max(values):7.2f} ms  {note}".rstrip(), flush=True)


async def lateness(url: str, what: str, work: Callable[[Client], Awaitable[object]]) -> None:
    async with Client(url, timeout_s=60) as client, due_jobs(url) as late_ms:
        begin = time.perf_counter()
        result = await work(client)
        note = f"{len(late_ms)} jobs in {time.perf_counter() - begin:.1f} s"
        show(f"lateness, {what}", late_ms, note + (f"; {result:,} changed" if isinstance(result, int) else ""))


async def nothing(_: Client) -> None:
    await trio.sleep(10)


async def list_again_and_again(client: Client) -> None:
    with trio.move_on_after(10):
        while True:
            await pages_ms(client, {"reason": "no such reason"})
            await client.list_page(limit=1000)


async def measure(running: Daemon) -> None:
    async with Client(running.url) as client:
        for name, query in QUERIES.items():
            took_ms = await pages_ms(client, query)
            show(f"a page of list: {name}", took_ms, f"{len(took_ms)} pages")
        begin = time.perf_counter()
        count = await client.remove_matching(func="backlog", dry_run=True)
        print(f"dry run: {count:,} jobs counted in {time.perf_counter() - begin:.2f} s", flush=True)
    await lateness(running.url, "nothing beside", nothing)
    await lateness(running.url, "list beside", list_again_and_again)
    await lateness(running.url, "remove_matching beside", lambda each: each.remove_matching(func="backlog"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is measured (default: this folder)")
    options = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name, Daemon(Path(name)) as running:
        trio.run(fill, running, options.jobs)
        trio.run(measure, running)


if __name__ == "__main__":
    main()
