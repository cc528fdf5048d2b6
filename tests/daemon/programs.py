"""Command workers as processes, jobs for them, what their commands tell a test, and whether processes are there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from periodic_client import Client, JobDead, NewJob, Retry
from rig.daemon import Daemon

ONCE = Retry(limit=0)


class Told:
    """A pipe with a name, into which commands write lines: ``echo hello >"$TOLD"``."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._unread = b""

    async def line(self) -> str:
        with trio.fail_after(30):
            while b"\n" not in self._unread:
                await trio.lowlevel.wait_readable(self._descriptor)
                self._unread += os.read(self._descriptor, 65536)
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def has_more(self) -> bool:
        with suppress(BlockingIOError):
            self._unread += os.read(self._descriptor, 65536)
        return bool(self._unread)

    def close(self) -> None:
        os.close(self._descriptor)


class Program:
    """``periodic work`` as a process; its messages in a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def keeper(self) -> int:
        (keeper,) = children_of(self.process.pid)
        return keeper

    @property
    def most_memory_mb(self) -> int:
        """The most that it has held so far."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return kilobytes // 1024

    async def ended(self) -> int:
        """Its exit code."""
        with trio.fail_after(30):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)


@contextmanager
def command_worker(
    daemon: Daemon, *arguments: str | Path, before: tuple[str, ...] = (), expects: int | None = 0
) -> Iterator[Program]:
    """``periodic work`` with these arguments. In the end it is stopped, and must end with the exit code ``expects``."""
    folder = daemon.store.parent
    log = folder / f"worker-{len(list(folder.glob('worker-*')))}.log"
    command = [*before, sys.executable, "-m", "periodic_client", "--url", daemon.url, "work", *map(str, arguments)]
    with (
        log.open("wb") as file,
        subprocess.Popen(command, env=os.environ | {"TOLD": str(folder / "told")}, stderr=file) as process,
    ):
        try:
            yield Program(process, log)
            if process.poll() is None:
                process.terminate()
                process.wait(30)
        finally:
            process.kill()
            sys.stderr.write(log.read_text())
    assert expects is None or process.returncode == expects


async def call(client: Client, name: str, workload: bytes | str = b"", func: str = "f") -> bytes:
    with trio.fail_after(60):
        return await client.call(NewJob(func, name, workload, retry=ONCE, result_ms=60_000))


async def reason_of(client: Client, name: str, workload: bytes = b"") -> str:
    with pytest.raises(JobDead) as caught:
        await call(client, name, workload)
    assert caught.value.reason is not None
    return caught.value.reason


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_there(pid: int) -> bool:
    """Also as a zombie."""
    return Path(f"/proc/{pid}").exists()


async def gone(pid: int) -> None:
    """Returns when this process has ended, perhaps to be a zombie."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def until(holds: Callable[[], object]) -> None:
    """For what no event tells of."""
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.02)
