"""What users of other job systems complain of (docs/lessons.md), tried on the library with the real daemon."""

import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from bench.daemon import Daemon
from periodic_client import Client, Job, NewJob, Retry, Worker

ONCE = Retry(limit=0)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


async def outcome(real: Daemon, call: Callable[[Job], Any], *, inline: bool = False) -> str | None:
    """Run one job with this function: None if it is done, or the reason why it is dead."""
    worker = Worker(real.url)
    worker.function("f", inline=inline)(call)
    async with trio.open_nursery() as nursery, Client(real.url) as client:
        await nursery.start(worker.run)
        await client.submit(NewJob("f", "n", b"w"))
        # The daemon tells nobody that a job is done, so it is asked.
        while (job := await client.get("f", "n")) is not None and job["state"] != "dead":
            assert not job["failures"], f"it is tried again: {job['reason']}"
            await trio.sleep(0.01)
        worker.stop()
    return None if job is None else str(job["reason"])


# -- functions ---------------------------------------------------------------------------------------------------------


class Resizer:
    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, job: Job) -> None:
        await trio.lowlevel.checkpoint()
        self.seen.append(job.workload)

    async def with_size(self, size: int, job: Job) -> None:
        await self(job)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda resizer: resizer,
        partial,
        lambda resizer: partial(partial(resizer)),
        lambda resizer: partial(resizer.with_size, 64),
    ],
    ids=["an object", "a partial of an object", "a partial of a partial", "a partial of a method"],
)
async def test_whatever_is_async_when_called_runs_in_a_task(
    real: Daemon, wrapped: Callable[[Resizer], Callable[[Job], Awaitable[None]]]
) -> None:
    resizer = Resizer()
    assert await outcome(real, wrapped(resizer)) is None
    assert resizer.seen == [b"w"]


def test_an_object_that_is_async_when_called_cannot_be_inline() -> None:
    with pytest.raises(ValueError, match="async"):
        Worker().function("f", inline=True)(Resizer())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("inline", [False, True])
async def test_a_sync_function_that_returns_a_coroutine_is_told_so_at_once(real: Daemon, inline: bool) -> None:
    reason = await outcome(real, lambda job: Resizer()(job), inline=inline)
    assert reason == "f is not async, but returned a coroutine: nobody awaits it; let the function be async"


@pytest.mark.parametrize("kind", ["task", "thread", "inline"])
async def test_a_run_that_raised_holds_no_memory_until_python_looks_for_cycles(real: Daemon, kind: str) -> None:
    def raises(job: Job) -> None:
        raise ValueError(job.name)

    async def raises_in_a_task(job: Job) -> None:
        raises(job)

    logging.disable()  # pytest keeps what is logged, with its traceback
    gc.collect()
    gc.disable()
    try:
        function = raises_in_a_task if kind == "task" else raises
        worker = Worker(real.url)
        worker.function("f", inline=kind == "inline")(function)
        async with trio.open_nursery() as nursery, Client(real.url) as client:
            await nursery.start(worker.run)
            await client.submit(NewJob("f", "n", retry=ONCE))
            while (await client.status())["failed"] == 0:  # noqa: ASYNC110 - another process
                await trio.sleep(0.01)
            worker.stop()
        assert not [each for each in gc.get_objects() if isinstance(each, Job)]
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


async def test_a_thread_s_end_of_iteration_is_an_error_as_any_other(real: Daemon) -> None:
    def function(job: Job) -> None:
        next(iter(()))

    worker = Worker(real.url)
    worker.function("f")(function)
    async with trio.open_nursery() as nursery, Client(real.url) as client:
        await nursery.start(worker.run)
        await client.submit(NewJob("f", "n", retry=ONCE))
        while (await client.status())["failed"] == 0:  # noqa: ASYNC110 - another process
            await trio.sleep(0.01)
        job = await client.get("f", "n")
        worker.stop()
    assert job is not None
    assert job["reason"] == "StopIteration: "


async def test_a_lease_is_extended_from_any_thread(real: Daemon) -> None:
    """As by a progress callback, which a library calls in a thread of its own."""
    errors: list[BaseException] = []

    def function(job: Job) -> None:
        def progress() -> None:
            try:
                job.extend_sync(60_000)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=progress)
        thread.start()
        thread.join()

    assert await outcome(real, function) is None
    assert not errors
