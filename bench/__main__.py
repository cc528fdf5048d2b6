"""``make bench``: what the daemon does in a second, on this machine, every job synced to disk before its answer."""

import argparse
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from bench import machine
from bench.daemon import Daemon, figures, worker
from periodic_client import Client, Job, NewJob, Worker

Figures = dict[str, float]
WORKLOAD = b"x" * 100


def jobs(count: int, delay_ms: int | None = None) -> list[NewJob]:
    return [NewJob("bench", f"job-{number:07}", WORKLOAD, delay_ms=delay_ms) for number in range(count)]


HOUR_MS = 3_600_000


async def submit_single(running: Daemon) -> Figures:
    async with Client(running.url) as client:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < 2:
            await client.submit(NewJob("bench", f"single-{count}", WORKLOAD, delay_ms=HOUR_MS))
            count += 1
        return {"submit_single_s": count / (time.perf_counter() - begin)}


async def submit_pipelined(running: Daemon) -> Figures:
    async with Client(running.url) as client:
        many = jobs(50_000, HOUR_MS)
        commits_before, _ = await figures(client)
        begin = time.perf_counter()
        await client.submit_many(many)
        took = time.perf_counter() - begin
        commits, left = await figures(client)
        assert left == len(many), left
        return {"submit_pipelined_s": len(many) / took, "jobs_per_commit": len(many) / (commits - commits_before)}


async def submit_batch(running: Daemon) -> Figures:
    async with Client(running.url) as client:
        many = jobs(100_000, HOUR_MS)
        batches = [many[begin : begin + 1000] for begin in range(0, len(many), 1000)]
        begin = time.perf_counter()
        async with trio.open_nursery() as nursery:
            room = trio.CapacityLimiter(4)

            async def put(batch: list[NewJob]) -> None:
                async with room:
                    await client.submit_batch(batch)

            for batch in batches:
                nursery.start_soon(put, batch)
        took = time.perf_counter() - begin
        _, left = await figures(client)
        assert left == len(many), left
        return {"submit_batch_s": len(many) / took}


async def all_done(client: Client) -> None:
    while (await figures(client))[1]:  # noqa: ASYNC110 - the daemon has no event for it
        await trio.sleep(0.02)


async def drain(running: Daemon) -> Figures:
    async with Client(running.url) as client:
        many = jobs(50_000)
        await client.submit_many(many)
        begin = time.perf_counter()
        with worker(running.url):
            while (await figures(client))[1] == len(many):
                begin = time.perf_counter()
                await trio.sleep(0.005)
            await all_done(client)
            return {"drain_s": len(many) / (time.perf_counter() - begin)}


async def end_to_end(running: Daemon) -> Figures:
    async with Client(running.url) as client:
        with worker(running.url):
            await client.submit_many(jobs(1_000))
            await all_done(client)
            many = jobs(60_000)
            cpu_before, begin = running.cpu_s(), time.perf_counter()
            await client.submit_many(many)
            await all_done(client)
            took = time.perf_counter() - begin
            cpu_s = running.cpu_s() - cpu_before
        return {"end_to_end_s": len(many) / took, "cpu_s_per_10k": cpu_s / len(many) * 10_000}


async def pickup(running: Daemon) -> Figures:
    """From before a submit to the worker's function, one job each 20 ms; both in this process."""
    late_ms: list[float] = []
    begun: dict[str, float] = {}
    measured = Worker(running.url)

    @measured.function("bench", limit=10, inline=True)
    def note(job: Job) -> None:
        late_ms.append((time.perf_counter() - begun[job.name]) * 1000)

    async with Client(running.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: measured.run(task_status=task_status))
        for number in range(250):
            begun[str(number)] = time.perf_counter()
            await client.submit(NewJob("bench", str(number), WORKLOAD))
            await trio.sleep(0.02)
        await all_done(client)
        nursery.cancel_scope.cancel()
    return {"pickup_p50_ms": machine.percentile(late_ms, 50), "pickup_p99_ms": machine.percentile(late_ms, 99)}


SCENARIOS: list[Callable[[Daemon], Awaitable[Figures]]] = [
    submit_single,
    submit_pipelined,
    submit_batch,
    drain,
    end_to_end,
    pickup,
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, under stable keys")
    parser.add_argument("--only", metavar="NAME", help="run one scenario")
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is measured (default: this folder)")
    options = parser.parse_args()
    print(machine.describe())
    result: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        folder = Path(name)
        for scenario in SCENARIOS:
            if options.only in (None, scenario.__name__):
                for old in folder.glob("periodic.db*"):
                    old.unlink()
                with Daemon(folder) as running:
                    took = trio.run(scenario, running)
                for key, value in took.items():
                    print(f"{key:24} {value:12,.2f}", flush=True)
                result |= took
        result["fsync_p50_ms"], result["fsync_p99_ms"] = machine.fsync_ms(folder)
    print(f"{'fsync_p50_ms':24} {result['fsync_p50_ms']:12,.2f}   (p99 {result['fsync_p99_ms']:.2f}; the same minute)")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
