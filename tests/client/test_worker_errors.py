"""What ends a run and what ends the worker: whatever a function raises, the library's own bugs, a real Ctrl-C."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from periodic_client import Client, Done, Job, Later, NewJob, Retry, Worker
from periodic_client.session import Session
from periodic_client.wire import Request
from rig.daemon import Daemon as RealDaemon
from tests.client.peer import Daemon
from tests.client.workers import KINDS, add, new_worker, running, serve_to_the_end


class Panic(BaseException):
    """As other languages' runtimes, test frameworks and eventlets raise them."""


def raising(error: BaseException) -> Callable[[Job], None]:
    def function(job: Job) -> None:
        raise error

    return function


# -- the run's ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Panic("at the disco"), "Panic: at the disco"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit: "),
        (asyncio.CancelledError(), "CancelledError: "),
        (BaseExceptionGroup("", [Panic("alone")]), "Panic: alone"),
        (BaseExceptionGroup("two", [Panic(), ValueError()]), "BaseExceptionGroup: two (2 sub-exceptions)"),
    ],
    ids=repr,
)
async def test_whatever_a_function_raises_is_its_own_failure(
    daemon: Daemon, kind: str, error: BaseException, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon)
    add(worker, kind, raising(error))
    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(2):
            assert await peer.run_job() == {"outcome": "failed", "reason": reason}
    assert "in function" in caplog.text, "the traceback"


async def test_an_interrupt_that_no_signal_brought_is_a_thread_s_own_failure(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    add(worker, "thread", raising(KeyboardInterrupt()))
    async with running(worker, daemon, ("f", 1)) as peer:
        assert await peer.run_job() == {"outcome": "failed", "reason": "KeyboardInterrupt: "}


async def test_a_cancellation_that_is_over_is_an_error_as_any_other(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    kept: list[BaseException] = []

    @worker.function("f")
    async def stale(job: Job) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                kept.append(error)
                raise
        raise kept[0]

    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(2):
            assert (await peer.run_job())["reason"].startswith("Cancelled: ")


async def test_what_a_cancelled_run_raises_beside_its_cancellation_is_told(
    daemon: Daemon, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon, drain_s=1)

    @worker.function("f")
    async def untidy(job: Job) -> None:
        async def tidy_up() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Panic("at the end")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tidy_up)
            nursery.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        await wait_all_tasks_blocked()
        worker.stop()
        said = await serve_to_the_end(peer)
    assert all(isinstance(message, Request) for message in said), "it is not finished, and for another worker"
    assert "f n" in caplog.text
    assert "Panic: at the end" in caplog.text


# -- the worker's ------------------------------------------------------------------------------------------------------


async def test_a_bug_of_its_own_ends_the_worker_without_goodbye(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def vandal(job: Job) -> None:
        del job.handle

    said: list[Any] = []

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        said.extend(await serve_to_the_end(peer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ExceptionGroup) as caught:
            await worker.run()
    assert "handle" in str(leaf(caught.value))
    assert said == []


def leaf(error: BaseException) -> BaseException:
    """The one error in nested groups."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


class Broken(trio.abc.Stream):
    """A stream that fails as no stream may, in its n-th ``method``, and whose closing takes a while."""

    def __init__(self, stream: trio.abc.Stream, method: str) -> None:
        self._stream = stream
        self._method = method

    def _fail(self, method: str) -> None:
        if method == self._method:
            raise Panic(method)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._fail("receive_some")
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._fail("send_all")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self._stream.aclose()
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("method", ["receive_some", "send_all"])
async def test_a_bug_in_the_link_ends_run_with_its_own_error(daemon: Daemon, method: str) -> None:
    async def open_broken(url: str) -> trio.abc.Stream:
        return Broken(await daemon.open_stream(url), method)

    worker = Worker(open_stream=open_broken)
    add(worker, "inline", lambda job: None)
    with trio.fail_after(5), pytest.raises(BaseExceptionGroup) as caught:
        await worker.run()
    assert repr(leaf(caught.value)) == repr(Panic(method))
    assert len(daemon.dialled) == 1


async def test_a_session_s_error_is_not_replaced_by_its_owner_s_cancellation() -> None:
    """Its owner, told of the end, cancels it while it still closes the stream."""
    ours, _ = memory_stream_pair()
    session = Session(Broken(ours, "receive_some"))
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await session.ended.wait()
            nursery.cancel_scope.cancel()
    assert isinstance(leaf(caught.value), Panic)


async def test_a_client_s_bug_is_not_replaced_either(daemon: Daemon) -> None:
    async def open_broken(url: str) -> trio.abc.Stream:
        return Broken(await daemon.open_stream(url), "send_all")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with Client(open_stream=open_broken) as client:
            await client.ping()
    assert Panic("send_all").args in [error.args for error in leaves(caught.value)]


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [each for part in error.exceptions for each in leaves(part)]
    return [error]


async def test_a_real_ctrl_c_ends_the_worker_with_goodbye(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def interrupted(job: Job) -> None:
        raise KeyboardInterrupt

    said: list[Any] = []

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        said.extend(await serve_to_the_end(peer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(BaseExceptionGroup) as caught:
            await worker.run()
    assert isinstance(leaf(caught.value), KeyboardInterrupt)
    assert [message.method for message in said] == ["unsubscribe_all"]


# -- with the real daemon ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (bytes(17_000_000), "outcome has 17,000,000 bytes, and may have 16,777,216"),
        (Later(delay_ms=1500.0), "outcome.delay_ms is an integer, not float"),  # type: ignore[arg-type]
        (Done(submit=[NewJob("g", "")]), "outcome.submit[0].name is empty"),
    ],
    ids=["17 MB", "1500.0", "follow-on"],
)
async def test_a_hopeless_outcome_makes_the_job_dead_at_once(tmp_path: Path, outcome: Any, reason: str) -> None:
    with RealDaemon(tmp_path) as real:
        worker = Worker(real.url)

        @worker.function("f")
        async def hopeless(job: Job) -> Any:
            worker.stop()
            return outcome

        async with Client(real.url) as client:
            await client.submit(NewJob("f", "n"))
            await worker.run()
            job = await client.get("f", "n")
    assert job is not None
    assert (job["state"], job["reason"], job["attempt"]) == ("dead", reason, 1)


@pytest.mark.parametrize("error", [Panic("why"), SystemExit(3)], ids=repr)
async def test_what_ended_worker_after_worker_is_counted_and_ends_with_the_retries(
    tmp_path: Path, error: BaseException
) -> None:
    with RealDaemon(tmp_path) as real:
        worker = Worker(real.url)
        attempts: list[int] = []

        @worker.function("f", inline=True)
        def fail(job: Job) -> None:
            attempts.append(job.attempt)
            if len(attempts) == 3:
                worker.stop()
            raise error

        async with Client(real.url) as client:
            await client.submit(NewJob("f", "n", retry=Retry(limit=2, delay_ms=0)))
            await worker.run()
            job = await client.get("f", "n")
    assert attempts == [1, 2, 3]
    assert job is not None
    assert (job["state"], job["crashes"], job["reason"]) == ("dead", 0, f"{type(error).__name__}: {error}")
