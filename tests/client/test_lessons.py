"""What users of other job systems complain of (docs/lessons.md), tried on the library with the real daemon."""

import gc
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from periodic_client import CannotConnect, Client, Done, GiveUp, Job, NewJob, Retry, Worker
from periodic_client.session import open_stream
from rig.daemon import Daemon
from tests.client.program import PROGRAM, program

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


# -- what cannot be is said at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"credit": 0}, "credit is 0; it goes from 1 to 1000"),
        ({"credit": -1}, "credit is -1; it goes from 1 to 1000"),
        ({"credit": 1001}, "credit is 1001; it goes from 1 to 1000"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"drain_s": -1}, "drain_s is -1; it must be 0 or more"),
        ({"drain_s": float("nan")}, "drain_s is nan; it must be 0 or more"),
        ({"disconnect_grace_ms": -1}, "disconnect_grace_ms is -1; it goes from 0 to 600000"),
        ({"disconnect_grace_ms": 600_001}, "disconnect_grace_ms is 600001; it goes from 0 to 600000"),
        ({"name": "x" * 256}, "name has 256 bytes, and may have 255"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_worker_that_could_never_work_is_not_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Worker(**options)


def test_a_decorator_without_its_parentheses_is_told_so() -> None:
    worker = Worker()
    with pytest.raises(TypeError, match=r"^function takes a name: @worker\.function\(\"resize\"\)$"):

        @worker.function  # type: ignore[arg-type]
        def resize(job: Job) -> None:
            pass


@pytest.mark.parametrize("host", ["a..b", "x" * 64, f"{'x' * 64}.example", ".a"], ids=lambda host: host[:10])
@pytest.mark.parametrize("owner", [Client, Worker])
def test_a_host_that_no_name_service_takes_is_told_at_once(host: str, owner: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="is no name of a host") as caught:
        owner(f"tcp://{host}:5000")
    assert f"tcp://{host}:5000" in str(caught.value)


# -- schedules ---------------------------------------------------------------------------------------------------------

PERIOD_MS = 200


def next_at_ms() -> int:
    """As docs/lessons.md shows it."""
    now_ms = time.time_ns() // 1_000_000
    return now_ms - now_ms % PERIOD_MS + PERIOD_MS


async def test_a_job_that_submits_itself_by_the_clock_neither_drifts_nor_catches_up(real: Daemon) -> None:
    due: list[int] = []
    attempts: list[int] = []
    worker = Worker(real.url)

    @worker.function("tick")
    async def tick(job: Job) -> Done:
        attempts.append(job.attempt)
        if job.attempt == 1:
            due.append(job.due_at_ms)
        if len(due) == 2 and job.attempt == 1:
            raise ValueError("too late by its retry")
        if len(due) == 4:
            await trio.sleep(3.3 * PERIOD_MS / 1000)  # so three are missed
        if len(due) == 6:
            worker.stop()
        return Done(submit=[NewJob("tick", job.name, due_at_ms=next_at_ms(), retry=Retry(delay_ms=130))])

    async with Client(real.url) as client:
        await client.submit(NewJob("tick", "n", due_at_ms=next_at_ms(), retry=Retry(delay_ms=130)))
    await worker.run()
    assert [at_ms % PERIOD_MS for at_ms in due] == [0] * 6
    assert len(set(due)) == 6
    assert attempts == [1, 1, 2, 1, 1, 1, 1]


# -- connections -------------------------------------------------------------------------------------------------------


async def test_a_connection_that_ended_while_nothing_ran_here_is_not_used(real: Daemon) -> None:
    """The program was busy and gave its loop no turn: the end of the connection lies there unread."""
    async with Client(real.url) as client:
        await client.submit(NewJob("f", "1"))
        real.kill()
        real.start()
        assert (await client.submit(NewJob("f", "2"))).result == "created"


async def test_more_listings_at_once_than_the_daemon_makes_wait_their_turn(real: Daemon) -> None:
    counts: list[int] = []

    async def count(client: Client) -> None:
        counts.append(len([job async for job in client.list("f")]))

    async with Client(real.url) as client:
        await client.submit_many(NewJob("f", str(number), delay_ms=3_600_000) for number in range(3000))
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(count, client)
    assert counts == [3000] * 30


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A Unix socket whose listener has as many connections waiting as it may, and the listener."""
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        listener.bind(path)
        listener.listen(1)
        with suppress(BlockingIOError):
            while True:
                sock = waiting.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                sock.connect(path)
        yield f"unix://{path}", listener


async def test_a_socket_where_too_many_wait_is_waited_for(
    full: tuple[str, socket.socket], nursery: trio.Nursery
) -> None:
    url, listener = full
    connected = trio.Event()

    async def connect() -> None:
        stream = await open_stream(url)
        await stream.send_all(b"hello")
        await stream.aclose()
        connected.set()

    nursery.start_soon(connect)
    await wait_all_tasks_blocked()
    received = b""
    with trio.fail_after(10):
        while not received:
            accepted, _ = await trio.to_thread.run_sync(listener.accept)
            with accepted:
                # Those that only waited say nothing, and are open.
                accepted.settimeout(0.2)
                with suppress(TimeoutError):
                    received = accepted.recv(100)
        await connected.wait()
    assert received == b"hello"


async def test_a_socket_where_too_many_wait_for_too_long_was_not_connected_to(full: tuple[str, socket.socket]) -> None:
    async with Client(full[0], timeout_s=0.3) as client:
        with pytest.raises(CannotConnect):
            await client.submit(NewJob("f", "n"))


# -- the log -----------------------------------------------------------------------------------------------------------


async def test_nobody_writes_lines_into_a_worker_s_log(real: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    worker = Worker(real.url)
    name = "x\n2026-01-31 08:00:00,000 CRITICAL all is lost\x1b[31m\u2028"

    @worker.function("raises")
    async def raises(job: Job) -> None:
        raise ValueError("no\nmore")

    @worker.function("gives\nup")
    async def gives_up(job: Job) -> None:
        raise GiveUp("no\nmore")

    async with trio.open_nursery() as nursery, Client(real.url) as client:
        await nursery.start(worker.run)
        await client.submit(NewJob("raises", name, retry=ONCE))
        await client.submit(NewJob("gives\nup", name))
        while (await client.status())["failed"] < 2:  # noqa: ASYNC110 - another process
            await trio.sleep(0.01)
        worker.stop()
    records = [record for record in caplog.records if record.name.startswith("periodic_client")]
    lines = [record.getMessage() for record in records]
    assert any("is given up" in line for line in lines)
    assert any("failed" in line for line in lines)
    assert all(line.isprintable() for line in lines), lines
    assert "lines" not in {record.module for record in records}, "each tells the place that it comes from"


async def test_a_locale_without_unicode_is_none_of_a_worker_s_business(
    real: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(key, value)
    with program(PROGRAM.format(drain_s=1), real.url) as process:
        async with Client(real.url) as client:
            await client.submit(NewJob("f", "日本.jpg", "größer", retry=ONCE))
            while (await client.status())["failed"] == 0:  # noqa: ASYNC110 - another process
                await trio.sleep(0.01)
        process.terminate()
        _, log = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 0
    assert "f \\u65e5\\u672c.jpg failed: ValueError" in log
