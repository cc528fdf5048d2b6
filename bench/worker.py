"""The measured worker: answers at once, or after a while. ``python -m bench.worker URL LIMIT SLEEP_MS``."""

import signal
import sys

import trio

from periodic_client import Job, Worker


async def main(url: str, limit: int, sleep_ms: int) -> None:
    worker = Worker(url)
    if sleep_ms:

        @worker.function("bench", limit=limit)
        async def answer_later(job: Job) -> None:
            await trio.sleep(sleep_ms / 1000)
    else:

        @worker.function("bench", limit=limit, inline=True)
        def answer(job: Job) -> None:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
