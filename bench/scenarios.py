"""What is measured: each scenario uses a running daemon from outside and returns figures under stable keys.

Rates end in ``_s``. A scenario leaves nothing of the function "bench" behind, and may leave jobs of "later", so that it
can be run again on the same store.
"""

import random
import time
from collections.abc import Awaitable, Callable
from itertools import count

import trio

from bench.ratios import Figures
from bench.worker import worker
from periodic_client import Client, Job, NewJob, Worker
from rig import machine
from rig.daemon import Daemon

Scenario = Callable[[Daemon], Awaitable[Figures]]

WORKLOAD = b"x" * 100
HOUR_MS = 3_600_000
_run = count()


def jobs(func: str, number: int, delay_ms: int | None = None) -> list[NewJob]:
    """So many jobs, under names that were not used before."""
    prefix = f"{time.time_ns():x}-{next(_run)}"
    return [NewJob(func, f"{prefix}-{each:07}", WORKLOAD, delay_ms=delay_ms) for each in range(number)]


async def left(client: Client, func: str = "bench") -> int:
    """How many of its jobs wait or run."""
    status = await client.status(prefix=func)
    return sum(each["waiting"] + each["running"] for each in status["functions"] if each["func"] == func)


async def all_done(client: Client) -> None:
    while await left(client):  # noqa: ASYNC110 - the daemon has no event for it
        await trio.sleep(0.02)


async def _one_at_a_time(client: Client, until: float) -> int:
    done = 0
    prefix = f"{time.time_ns():x}-{next(_run)}"
    while time.perf_counter() < until:
        await client.submit(NewJob("later", f"{prefix}-{done}", WORKLOAD, delay_ms=HOUR_MS))
        done += 1
    return done


async def submit_single(running: Daemon) -> Figures:
    """One connection, one submit after the other."""
    async with Client(running.url) as client:
        await client.ping()
        begin = time.perf_counter()
        done = await _one_at_a_time(client, begin + 2)
        return {"submit_single_s": done / (time.perf_counter() - begin)}


async def submit_10conn(running: Daemon) -> Figures:
    """Ten connections, each one submit after the other."""
    done: list[int] = []

    async def one() -> None:
        async with Client(running.url) as client:
            await client.ping()
            done.append(await _one_at_a_time(client, begin + 2))

    begin = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    return {"submit_10conn_s": sum(done) / (time.perf_counter() - begin)}


async def submit_pipelined(running: Daemon) -> Figures:
    """One connection, single submits, up to a thousand unanswered."""
    async with Client(running.url) as client:
        many = jobs("later", 50_000, HOUR_MS)
        before = await client.status()
        begin = time.perf_counter()
        await client.submit_many(many)
        took = time.perf_counter() - begin
        commits = (await client.status())["commits"] - before["commits"]
        return {"submit_pipelined_s": len(many) / took, "jobs_per_commit": len(many) / commits}


async def submit_batch(running: Daemon) -> Figures:
    """One connection, batches of a thousand, four unanswered."""
    async with Client(running.url) as client:
        many = jobs("later", 100_000, HOUR_MS)
        room = trio.CapacityLimiter(4)

        async def put(batch: list[NewJob]) -> None:
            async with room:
                await client.submit_batch(batch)

        await client.ping()
        begin = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for first in range(0, len(many), 1000):
                nursery.start_soon(put, many[first : first + 1000])
        return {"submit_batch_s": len(many) / (time.perf_counter() - begin)}


async def drain(running: Daemon) -> Figures:
    """Jobs that were due before a worker came, from the first to the last done."""
    async with Client(running.url) as client:
        many = jobs("bench", 50_000)
        await client.submit_many(many)
        with worker(running.url):
            while await left(client) == len(many):  # noqa: ASYNC110 - the worker starts in its own time
                await trio.sleep(0.002)
            begin = time.perf_counter()
            await all_done(client)
            return {"drain_s": len(many) / (time.perf_counter() - begin)}


async def _through(running: Daemon, number: int, sleep_ms: int = 0) -> tuple[float, float]:
    """Jobs a second from submit to done, and the daemon's CPU seconds for 10,000 of them."""
    async with Client(running.url) as client:
        with worker(running.url, sleep_ms=sleep_ms):
            await client.submit_many(jobs("bench", 1_000))
            await all_done(client)
            many = jobs("bench", number)
            cpu_before_s, begin = running.cpu_s(), time.perf_counter()
            await client.submit_many(many)
            await all_done(client)
            took = time.perf_counter() - begin
            return number / took, (running.cpu_s() - cpu_before_s) / number * 10_000


async def end_to_end(running: Daemon) -> Figures:
    """Single pipelined submits, a worker that answers at once; every job written and synced."""
    rate, cpu_s = await _through(running, 60_000)
    async with Client(running.url) as client:
        status = await client.status()
    return {
        "end_to_end_s": rate,
        "cpu_s_per_10k": cpu_s,
        "commit_p50_ms": status["commit_p50_us"] / 1000,
        "commit_p99_ms": status["commit_p99_us"] / 1000,
    }


async def end_to_end_20ms(running: Daemon) -> Figures:
    """The same with a worker that answers after 20 ms, 500 jobs at a time: 25,000/s would be all it can do."""
    rate, _ = await _through(running, 40_000, sleep_ms=20)
    return {"end_to_end_20ms_s": rate}


async def pickup(running: Daemon) -> Figures:
    """From before a submit to the worker's function, one job each 20 ms; both in this process."""
    took_ms: list[float] = []
    begun: dict[str, float] = {}
    measured = Worker(running.url)

    @measured.function("bench", limit=10, inline=True)
    def note(job: Job) -> None:
        took_ms.append((time.perf_counter() - begun[job.name]) * 1000)

    async with Client(running.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: measured.run(task_status=task_status))
        for job in jobs("bench", 250):
            begun[job.name] = time.perf_counter()
            await client.submit(job)
            await trio.sleep(0.02)
        await all_done(client)
        nursery.cancel_scope.cancel()
    return {"pickup_p50_ms": machine.percentile(took_ms, 50), "pickup_p99_ms": machine.percentile(took_ms, 99)}


async def call(running: Daemon) -> Figures:
    """A job that does nothing, from before ``client.call`` to its result, one after the other; all in this process."""
    took_ms: list[float] = []
    called = Worker(running.url)
    called.function("bench", limit=10, inline=True)(lambda job: None)
    async with Client(running.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: called.run(task_status=task_status))
        for job in jobs("bench", 500):
            begin = time.perf_counter()
            await client.call(job)
            took_ms.append((time.perf_counter() - begin) * 1000)
        nursery.cancel_scope.cancel()
    return {"call_p50_ms": machine.percentile(took_ms, 50), "call_p99_ms": machine.percentile(took_ms, 99)}


async def lateness(running: Daemon) -> Figures:
    """10,000 jobs due at random in 20 s: when the worker's function began, less when the job was due."""
    late_ms: list[float] = []
    measured = Worker(running.url)

    @measured.function("bench", limit=100, inline=True)
    def note(job: Job) -> None:
        late_ms.append(time.time() * 1000 - job.due_at_ms)

    async with Client(running.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: measured.run(task_status=task_status))
        rng = random.Random(20)
        first_ms = time.time_ns() // 1_000_000 + 2_000
        await client.submit_many(
            NewJob(job.func, job.name, WORKLOAD, due_at_ms=first_ms + rng.randrange(20_000))
            for job in jobs("bench", 10_000)
        )
        await all_done(client)
        nursery.cancel_scope.cancel()
    return {
        "lateness_p50_ms": machine.percentile(late_ms, 50),
        "lateness_p99_ms": machine.percentile(late_ms, 99),
        "early": sum(late < 0 for late in late_ms),
    }


SCENARIOS: list[Scenario] = [
    submit_single,
    submit_10conn,
    submit_pipelined,
    submit_batch,
    drain,
    end_to_end,
    end_to_end_20ms,
    pickup,
    call,
    lateness,
]


async def fill(running: Daemon, number: int) -> None:
    """So many jobs for next week."""
    async with Client(running.url) as client:
        for first in range(0, number, 100_000):
            many = jobs("backlog", min(100_000, number - first), 7 * 24 * HOUR_MS)
            for begin in range(0, len(many), 1000):
                await client.submit_batch(many[begin : begin + 1000])


async def first_answer(running: Daemon) -> None:
    """A command accepted and synced."""
    async with Client(running.url) as client:
        await client.submit(jobs("later", 1, HOUR_MS)[0])
