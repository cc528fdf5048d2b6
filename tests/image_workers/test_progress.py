"""The lease is kept while a step moves; what stands still is left behind, and changes nothing any more."""

import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio

from image_workers.progress import Progress, Stopped, keep
from image_workers.stores.folder import FolderStore
from periodic_client import LeaseLost


@dataclass
class StandInJob:
    """What is used of a job; `extended` is told of each extension."""

    lease_ms: int = 30
    lost: bool = False
    extended: trio.Event = field(default_factory=trio.Event)
    count: int = 0

    async def extend(self) -> None:
        if self.lost:
            raise LeaseLost("it is another's")
        self.count += 1
        if self.count == 5:
            self.extended.set()


async def test_the_lease_is_extended_until_the_step_ends() -> None:
    job = StandInJob()

    async def step() -> str:
        await job.extended.wait()
        return "done"

    assert await keep(job, Progress(), step) == "done"
    assert job.count == 5


async def test_an_error_comes_as_it_is() -> None:
    async def step() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await keep(StandInJob(), Progress(), step)


async def test_what_stands_still_is_left_behind_and_writes_nothing_any_more(tmp_path: Path) -> None:
    """The disk holds a write up; a newer run writes; then the disk goes on."""
    root = FolderStore(tmp_path)
    goes_on, ended = threading.Event(), threading.Event()
    progress = Progress()

    def write() -> None:
        try:
            with root.replacing("x", progress) as file:
                file.write(b"old")
                goes_on.wait()
        finally:
            ended.set()

    step = partial(trio.to_thread.run_sync, write, abandon_on_cancel=True)
    with pytest.raises(Stopped, match=r"nothing moved for 0\.05 s"):
        await keep(StandInJob(), progress, step, standstill_s=0.05)
    root.write("x", b"newer")
    goes_on.set()
    await trio.to_thread.run_sync(ended.wait)
    assert root.read("x", 9)[0] == b"newer"
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == []


async def test_bytes_that_move_and_a_child_at_work_are_no_standstill() -> None:
    job = StandInJob()
    progress = Progress()

    async def step() -> str:
        with progress.working():
            await job.extended.wait()
        for _ in range(40):
            progress.moved(1)
            await trio.sleep(0.005)
        return "done"

    assert await keep(job, progress, step, standstill_s=0.1) == "done"
    assert progress.bytes == 40


async def test_a_run_that_lost_its_lease_stops(tmp_path: Path) -> None:
    progress = Progress()
    with pytest.raises(Stopped, match="the lease was lost: it is another's"):
        await keep(StandInJob(lost=True), progress, trio.sleep_forever)
    with pytest.raises(Stopped):
        FolderStore(tmp_path).write("x", b"late", progress)
    assert not (tmp_path / "x").exists()


async def test_nor_does_a_thread_of_a_worker_that_was_stopped_go_on() -> None:
    progress = Progress()
    with trio.CancelScope() as scope:
        scope.cancel()
        await keep(StandInJob(), progress, trio.sleep_forever)
    with pytest.raises(Stopped, match="the run is over"):
        progress.moved(0)
