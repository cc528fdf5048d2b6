"""The measured worker: answers at once, or after a while. ``python -m bench.worker URL LIMIT SLEEP_MS``."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from periodic_client import Job, Worker
from rig.daemon import STOP_S


@contextmanager
def worker(url: str, limit: int = 500, sleep_ms: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """It, in a process of its own, serving the function "bench"."""
    process = subprocess.Popen([sys.executable, "-m", "bench.worker", url, str(limit), str(sleep_ms)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(STOP_S)


async def main(url: str, limit: int, sleep_ms: int) -> None:
    performing = Worker(url)
    if sleep_ms:

        @performing.function("bench", limit=limit)
        async def answer_later(job: Job) -> None:
            await trio.sleep(sleep_ms / 1000)
    else:

        @performing.function("bench", limit=limit, inline=True)
        def answer(job: Job) -> None:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(performing.run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
