"""``worker.main()``: a worker as a program of its own, with real signals, the real daemon, and from other loops."""

import asyncio
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from periodic_client import Client, Job, NewJob, Worker
from rig.daemon import Daemon
from tests.client.program import PROGRAM, program

FOR_EVER = "3600"


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


async def begun(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True) == "begun\n"


async def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its exit code and what it said on stderr."""
    _, errors = await trio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
    return process.returncode, errors


SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("func", ["f", "t"])
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_lets_running_jobs_finish(real: Daemon, number: signal.Signals, func: str) -> None:
    with program(PROGRAM.format(drain_s=30), real.url) as process:
        async with Client(real.url) as client:
            await client.submit_batch([NewJob(func, name, "0.5") for name in ("begun", "left")])
            await begun(process)
            process.send_signal(number)
            code, errors = await ended(process)
            assert code == 0, errors
            assert "Traceback" not in errors
            assert f"stopping on {number.name}" in errors
            left = [(job["name"], job["state"], job["failures"]) async for job in client.list()]
            assert left == [("left", "waiting", 0)]


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("func", ["f", "t"])
async def test_a_second_signal_ends_it_at_once_and_nothing_counts_as_a_crash(
    real: Daemon, second: signal.Signals, func: str
) -> None:
    with program(PROGRAM.format(drain_s=3600), real.url) as process:
        async with Client(real.url) as client:
            await client.submit(NewJob(func, "n", FOR_EVER))
            await begun(process)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            while "stopping on SIGTERM" not in await trio.to_thread.run_sync(
                process.stderr.readline, abandon_on_cancel=True
            ):
                pass
            process.send_signal(second)
            code, errors = await ended(process)
            assert code == 0, errors
            assert "Traceback" not in errors
            job = await client.get(func, "n")
            assert job is not None
            assert (job["state"], job["crashes"], job["failures"]) == ("waiting", 0, 0)


async def test_deploys_make_no_job_dead(real: Daemon) -> None:
    """Five workers stopped in the middle of the same job, each with too little time for it."""
    async with Client(real.url) as client:
        await client.submit(NewJob("t", "n", FOR_EVER))
        for _ in range(5):
            with program(PROGRAM.format(drain_s=0), real.url) as process:
                await begun(process)
                process.send_signal(signal.SIGTERM)
                assert (await ended(process))[0] == 0
        job = await client.get("t", "n")
        assert job is not None
        assert (job["state"], job["crashes"], job["attempt"]) == ("waiting", 0, 5)


async def test_a_bug_exits_1_with_its_traceback_and_counts_as_a_crash(real: Daemon) -> None:
    with program(PROGRAM.format(drain_s=30), real.url) as process:
        async with Client(real.url) as client:
            await client.submit(NewJob("vandal", "n"))
            await begun(process)
            code, errors = await ended(process)
            assert code == 1
            assert "AttributeError" in errors
            job = await client.get("vandal", "n")
            assert job is not None
            assert job["crashes"] == 1


async def test_an_interrupt_that_no_signal_brought_is_a_failure(real: Daemon) -> None:
    with program(PROGRAM.format(drain_s=30), real.url) as process:
        async with Client(real.url) as client:
            await client.submit_batch([NewJob("interrupt", "n"), NewJob("f", "n", "0", delay_ms=100)])
            await begun(process)
            process.send_signal(signal.SIGTERM)
            assert (await ended(process))[0] == 0
            job = await client.get("interrupt", "n")
            assert job is not None
            assert (job["reason"], job["crashes"]) == ("KeyboardInterrupt: ", 0)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from periodic_client import Worker\nWorker().main()", "no functions"),
        (
            "from periodic_client import Worker\nworker = Worker()\nworker.function('f' * 300)(print)\nworker.main()",
            "func has 300 bytes",
        ),
    ],
    ids=["no functions", "refused"],
)
async def test_wrong_use_exits_2_and_says_so(real: Daemon, source: str, complaint: str) -> None:
    with program(source, real.url) as process:
        code, errors = await ended(process)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert complaint in errors


# -- from other places than a program's end ----------------------------------------------------------------------------


def test_from_asyncio_the_error_says_what_to_do() -> None:
    worker = Worker()
    worker.function("f")(lambda job: None)

    async def submit() -> None:
        async with Client() as client:
            await client.ping()

    coroutines: list[Any] = [worker.run(), submit()]
    for coroutine in coroutines:
        with pytest.raises(RuntimeError, match=r"under trio.*asyncio.to_thread\(trio.run, "):
            asyncio.run(coroutine)


def test_beside_asyncio_in_a_thread_of_its_own(real: Daemon) -> None:
    worker = Worker(real.url)
    seen: list[str] = []
    done = threading.Event()

    @worker.function("f")
    async def f(job: Job) -> None:
        seen.append(job.name)
        done.set()

    async def submit() -> None:
        async with Client(real.url) as client:
            await client.submit(NewJob("f", "n"))

    async def main() -> None:
        run: Any = trio.run
        running = asyncio.create_task(asyncio.to_thread(run, worker.run))
        await asyncio.to_thread(trio.run, submit)
        await asyncio.to_thread(done.wait, 10)
        worker.stop()
        await asyncio.wait_for(running, 10)
        worker.stop()

    asyncio.run(main())
    assert seen == ["n"]


async def test_main_where_it_cannot_be() -> None:
    worker = Worker()
    worker.function("f")(lambda job: None)
    with pytest.raises(RuntimeError, match=r"await worker.run\(\)"):
        worker.main()
    caught: list[Exception] = []

    def elsewhere() -> None:
        try:
            worker.main()
        except RuntimeError as error:
            caught.append(error)

    await trio.to_thread.run_sync(elsewhere)
    assert "trio.run(worker.run)" in str(caught[0])
