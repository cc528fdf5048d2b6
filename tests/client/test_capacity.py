"""A worker asks for no more than can begin at once: with the real daemon, leases short and threads few."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from periodic_client import Client, Job, NewJob, Retry, Worker
from rig.daemon import Daemon
from tests.client.workers import at_work

LEASE_MS = 2000
RUN_S = 1.2
"""Fits its lease once; after waiting in the worker for another run it would not."""
AT_ONCE = Retry(delay_ms=0)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


async def until_done(client: Client, count: int) -> dict[str, int]:
    """The daemon's figures once nothing is left to do, or once that many runs should long have been over."""
    with trio.move_on_after(10):
        while True:
            status = await client.status()
            if status["done"] >= count:
                break
            # The daemon tells nobody that a job is done, so it is asked.
            await trio.sleep(0.05)
    status = await client.status()
    return {key: status[key] for key in ("started", "done", "failed", "later")}


def batch(func: str, count: int) -> list[NewJob]:
    return [NewJob(func, str(i), lease_ms=LEASE_MS, retry=AT_ONCE) for i in range(count)]


async def test_more_jobs_than_threads_and_every_run_fits_its_lease(real: Daemon) -> None:
    worker = Worker(real.url, threads=2)

    @worker.function("f", limit=6)
    def slow(job: Job) -> None:
        time.sleep(RUN_S)

    async with Client(real.url) as client:
        await client.submit_batch(batch("f", 8))
        async with at_work(worker):
            assert await until_done(client, 8) == {"started": 8, "done": 8, "failed": 0, "later": 0}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside tasks"])
async def test_functions_that_share_the_threads(real: Daemon, beside: bool) -> None:
    worker = Worker(real.url, threads=2)

    @worker.function("f", limit=2)
    @worker.function("g", limit=2)
    def slow(job: Job) -> None:
        time.sleep(RUN_S)

    begun: list[str] = []
    all_begun = trio.Event()
    if beside:

        @worker.function("task", limit=20)
        async def task(job: Job) -> None:
            begun.append(job.name)
            if len(begun) == 20:
                all_begun.set()
            await all_begun.wait()

    async with Client(real.url) as client:
        await client.submit_batch(batch("f", 4) + batch("g", 4) + batch("task", 20 * beside))
        count = 8 + 20 * beside
        async with at_work(worker):
            assert await until_done(client, count) == {"started": count, "done": count, "failed": 0, "later": 0}


async def test_one_function_may_have_all_the_threads(real: Daemon) -> None:
    worker = Worker(real.url, threads=3)
    together = threading.Barrier(3)

    @worker.function("f", limit=3)
    def meet(job: Job) -> None:
        together.wait(60)

    worker.function("g", limit=3)(lambda job: None)
    async with Client(real.url) as client:
        await client.submit_batch(batch("f", 3))
        async with at_work(worker):
            assert (await until_done(client, 3))["done"] == 3


async def test_a_second_worker_gets_the_backlog(real: Daemon) -> None:
    let_go = threading.Event()
    begun: dict[str, list[str]] = {"first": [], "second": []}
    four_begun = trio.Event()
    workers = []
    for name in begun:
        worker = Worker(real.url, name=name, threads=2)
        workers.append(worker)

        def block(job: Job, name: str = name) -> None:
            begun[name].append(job.name)
            if sum(map(len, begun.values())) == 4:
                trio.from_thread.run_sync(four_begun.set)
            assert let_go.wait(60)

        worker.function("f", limit=6)(block)
    async with Client(real.url) as client:
        await client.submit_batch([NewJob("f", str(i)) for i in range(6)])
        async with at_work(*workers):
            with trio.fail_after(10):
                await four_begun.wait()
            assert {name: len(names) for name, names in begun.items()} == {"first": 2, "second": 2}
            (function,) = (await client.status())["functions"]
            assert (function["running"], function["waiting"]) == (4, 2)
            let_go.set()
            assert (await until_done(client, 6))["done"] == 6
