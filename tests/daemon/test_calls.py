"""Jobs called, watched, cancelled and taken: the real daemon, killed in between, the library and the real command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from periodic_client import Client, Job, JobCancelled, LeaseLost, NewJob, NotDone, Worker
from rig.daemon import Daemon

COMMAND = [sys.executable, "-m", "periodic_client"]


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


def periodic(daemon: Daemon, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE) -> "subprocess.Popen[bytes]":
    env = os.environ | {"PERIODIC_URL": daemon.url}
    return subprocess.Popen([*COMMAND, *arguments], env=env, stdout=stdout, stderr=subprocess.PIPE)


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, str]:
    output, errors = process.communicate(timeout=30)
    return process.returncode, output or b"", errors.decode()


def echoing(url: str) -> Worker:
    worker = Worker(url)

    @worker.function("echo", limit=1000, inline=True)
    def echo(job: Job) -> bytes:
        return job.workload

    @worker.function("hang", limit=10, interrupt=True)
    async def hang(job: Job) -> None:
        await job.send(b"begun\n")
        await trio.sleep_forever()

    return worker


async def test_a_thousand_calls_wait_over_a_killed_daemon_and_each_has_its_own_result(real: Daemon) -> None:
    async with Client(real.url) as client, trio.open_nursery() as nursery:
        results: dict[str, bytes] = {}

        async def call(name: str) -> None:
            results[name] = await client.call(NewJob("echo", name, name), timeout_s=60)

        async with trio.open_nursery() as calls:
            for number in range(1000):
                calls.start_soon(call, str(number))
            while (await client.status("echo"))["submitted"] < 1000:  # noqa: ASYNC110 - the daemon has no event for it
                await trio.sleep(0.02)
            await trio.to_thread.run_sync(real.kill)
            await trio.to_thread.run_sync(real.start)
            worker = echoing(real.url)
            nursery.start_soon(worker.run)
        assert results == {str(number): str(number).encode() for number in range(1000)}
        assert (await client.status())["submitted"] == 0, "of this life: nothing was put a second time"
        worker.stop()


async def test_a_watcher_that_never_comes_back_costs_nobody_his_result(real: Daemon) -> None:
    worker = echoing(real.url)
    async with Client(real.url) as client, trio.open_nursery() as nursery:
        await client.submit(NewJob("echo", "n", "r", delay_ms=300))
        process = periodic(real, "watch", "echo", "n")
        async with Client(real.url) as gone:
            async for news in gone.watch("echo", "n"):
                assert news.state == "waiting"
                break
        nursery.start_soon(worker.run)
        told = [news async for news in client.watch("echo", "n")]
        assert told[-1].data == b"r"
        assert await trio.to_thread.run_sync(ended, process) == (0, b"r", "")
        worker.stop()


async def test_calls_of_one_name_that_keep_it_share_one_run(real: Daemon) -> None:
    worker = Worker(real.url)
    begun, may_end = trio.Event(), trio.Event()
    runs: list[int] = []

    @worker.function("f", limit=10)
    async def slow(job: Job) -> str:
        runs.append(job.run)
        begun.set()
        await may_end.wait()
        return "the result"

    job = NewJob("f", "n", existing="keep")
    results: list[bytes] = []

    async def call() -> None:
        results.append(await client.call(job))

    async with Client(real.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        async with trio.open_nursery() as calls:
            calls.start_soon(call)
            await begun.wait()
            calls.start_soon(call)
            await wait_all_tasks_blocked()
            assert (await client.submit(job)).result == "kept", "and what was sent before it has arrived"
            may_end.set()
        assert (results, len(runs)) == ([b"the result"] * 2, 1)
        worker.stop()


async def test_all_who_watch_are_told_every_chunk_in_order(real: Daemon) -> None:
    worker = Worker(real.url)

    @worker.function("f")
    async def tells(job: Job) -> None:
        for number in range(500):
            await job.send(f"{number}")

    told: list[list[bytes]] = []

    async def look() -> None:
        chunks: list[bytes] = []
        async for news in client.watch("f", "n"):
            chunks += news.chunks
            assert not news.missed
        told.append(chunks)

    async with Client(real.url) as client, trio.open_nursery() as nursery:
        await client.submit(NewJob("f", "n", result_ms=60_000))
        async with trio.open_nursery() as watchers:
            for _ in range(3):
                watchers.start_soon(look)
            nursery.start_soon(worker.run)
        assert told == [[b"%d" % number for number in range(500)]] * 3
        worker.stop()


async def test_a_cancel_that_crosses_a_done_leaves_one_ending_that_all_are_told(real: Daemon) -> None:
    worker = echoing(real.url)
    async with Client(real.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: worker.run(task_status=task_status))
        for number in range(50):
            name, cancelled = str(number), ""

            async def cancel(name: str = name) -> None:
                nonlocal cancelled
                cancelled = await client.cancel("echo", name)

            try:
                async with trio.open_nursery() as crossing:
                    crossing.start_soon(cancel)
                    result = await client.call(NewJob("echo", name, "r"), timeout_s=30)
            except* JobCancelled:
                assert cancelled in ("cancelled", "asked")
                kept = "cancelled"
            else:
                assert result == b"r"
                kept = "done"
            last = (await client.look("echo", name)).last
            assert last is not None
            assert last["ending"] == kept
        worker.stop()


async def test_take_finish_and_extend_as_the_library_has_them(real: Daemon) -> None:
    async with Client(real.url) as client:
        assert await client.take("t", wait_s=0) == []
        await client.submit_batch([NewJob("t", name, name, result_ms=60_000) for name in ("a", "b", "c")])
        first, second = await client.take("t", "u", max=2, lease_ms=2000)
        assert (first.name, second.workload, first.lease_ms) == ("a", b"b", 2000)
        assert await client.cancel("t", "b") == "asked"
        assert [(await client.extend(each.handle)).cancelled for each in (first, second)] == [False, True]
        await client.finish(first.handle, b"result")
        with pytest.raises(LeaseLost):
            await client.finish(first.handle, b"result")
        with pytest.raises(NotDone):
            await client.call(NewJob("t", "b", existing="refuse"), timeout_s=5)
        last = (await client.look("t", "a", data=True)).last
        assert last is not None
        assert last["data"] == b"result"


# -- the command -------------------------------------------------------------------------------------------------------


async def test_the_exit_code_of_a_call_is_its_ending(real: Daemon) -> None:
    worker = echoing(real.url)

    @worker.function("fails")
    async def fails(_: Job) -> None:
        raise ValueError("no picture")

    async def call(*arguments: str) -> tuple[int, bytes, str]:
        return await trio.to_thread.run_sync(ended, periodic(real, "call", *arguments))

    async with Client(real.url) as client, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: worker.run(task_status=task_status))
        assert await call("echo", "n", "-w", "r\n") == (0, b"r\n", "")
        failed = await call("fails", "n", "--retry-limit", "0")
        assert failed == (7, b"", "periodic: fails n failed and is not tried again: ValueError: no picture\n")
        code, output, said = await call("nobody", "n", "--timeout", "200ms")
        assert (code, output) == (6, b"")
        assert said.startswith("periodic: nobody has subscribed to nobody; waiting for a worker\n")
        assert (await call("nobody", "n", "--existing", "refuse"))[0] == 1
        with periodic(real, "call", "hang", "n") as hangs:
            assert hangs.stdout is not None
            assert await trio.to_thread.run_sync(hangs.stdout.readline) == b"begun\n"
            assert await client.cancel("hang", "n", reason="enough") == "asked"
            code, _, said = await trio.to_thread.run_sync(ended, hangs)
            assert (code, said) == (7, "periodic: hang n was cancelled: enough\n")
        worker.stop()


def test_a_call_waits_out_a_restart(real: Daemon) -> None:
    with periodic(real, "call", "t", "n", "-w", "x") as called:
        with periodic(real, "take", "t") as taken:
            code, output, _ = ended(taken)
        assert code == 0
        real.kill()
        real.start()
        handle = output.decode().split("job_handle=")[1].split("\n")[0]
        assert ended(periodic(real, "extend", handle)) == (0, b"extended\n", "")
        assert ended(periodic(real, "finish", handle, "--data", "r"))[0] == 0
        assert ended(called)[:2] == (0, b"r")
    assert ended(periodic(real, "finish", handle))[0] == 1


def test_a_take_waits_for_a_daemon_that_is_not_there(real: Daemon) -> None:
    real.kill()
    with periodic(real, "take", "t", "--json") as taken:
        assert taken.stderr is not None
        assert b"trying again" in taken.stderr.readline()
        real.start()
        assert ended(periodic(real, "submit", "t", "n"))[0] == 0
        code, output, _ = ended(taken)
    assert (code, b'"name": "n"' in output) == (0, True)


def test_a_job_that_cannot_be_shown_goes_back_to_the_daemon(real: Daemon) -> None:
    assert ended(periodic(real, "submit", "t", "n", "-w", "x"))[0] == 0
    with Path("/dev/full").open("wb") as full:
        code, _, said = ended(periodic(real, "take", "t", stdout=full))
    assert code == 8
    assert "the jobs went back to the daemon" in said
    code, output, said = ended(periodic(real, "take", "t", "--workload", "/dev/full"))
    assert (code, output) == (8, b"")
    assert "the workload's file: No space left on device" in said
    assert ended(periodic(real, "take", "t", "--wait", "5s"))[0] == 0, "it is there again"


def test_events_are_followed_until_an_interrupt(real: Daemon) -> None:
    env = os.environ | {"PERIODIC_URL": real.url}
    command = [*COMMAND, "events", "--follow", "--func", "t"]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a shell's background ignores it
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as follows:
        try:
            assert follows.stdout is not None
            while not trio.run(_is_kept, real.url):
                assert follows.poll() is None
            _, kind, func, name, *_ = follows.stdout.readline().decode().split("\t")
            assert (kind in ("submitted", "replaced"), func, name) == (True, "t", "n")
            follows.send_signal(signal.SIGINT)
            assert ended(follows)[0] == 130
        finally:
            follows.kill()


async def _is_kept(url: str) -> bool:
    """Whether the event of a submit is kept, since somebody has asked."""
    async with Client(url) as client:
        await client.submit(NewJob("t", "n", delay_ms=3_600_000))
        return bool((await client.events_page(func="t")).events)
