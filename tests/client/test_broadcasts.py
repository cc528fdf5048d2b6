"""What a worker does with its run of a broadcast: it takes no place, and is lost with its connection."""

import threading

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from periodic_client import Broadcast, Job
from tests.client.peer import HELLO, Daemon
from tests.client.workers import new_worker, running

MANY = 45
"""More than trio has threads, unless it is asked for more."""


async def test_one_of_a_lost_connection_is_lost_and_takes_no_place(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon, credit=1)
    begun: list[Job] = []
    freed = trio.Event()

    @worker.function("f", limit=1)
    async def wait(job: Job) -> None:
        begun.append(job)
        await freed.wait()

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(name="reload", func="f", handle="h", broadcast=True)
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        with trio.fail_after(60):
            await peer.serve("subscribe", {}, "f", {"limit": 1})
        assert [job.lost for job in begun] == [True]
        freed.set()


async def test_each_begins_at_once_in_a_thread_of_its_own(daemon: Daemon) -> None:
    worker = new_worker(daemon, threads=1)
    all_wait = threading.Barrier(MANY, timeout=20)

    @worker.function("f")
    def wait(job: Job) -> None:
        all_wait.wait()

    async with running(worker, daemon, ("f", 1)) as peer:
        for number in range(MANY):
            await peer.perform(name=f"{number}", func="f", handle=f"h{number}", broadcast=True)
        for _ in range(MANY):
            assert (await peer.expect_response()).error is None


def test_its_result_may_say_more_than_is_known_here() -> None:
    told = b'{"runs": 3, "done": 1, "failed": 0, "lost": 2, "late": 0}'
    assert Broadcast.from_result(told) == Broadcast(3, done=1, failed=0, lost=2)


@pytest.mark.parametrize("result", [b"", b"done", b"[1]", b'{"runs": 1}', b'{"runs": "x", "done": 1}'])
def test_what_is_no_result_of_one_is_said_to_be_none(result: bytes) -> None:
    with pytest.raises(ValueError, match="this is not the result of a broadcast"):
        Broadcast.from_result(result)
