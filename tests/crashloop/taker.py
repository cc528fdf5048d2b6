"""A process that takes jobs and reports them: ``python -m tests.crashloop.taker URL FOLDER SEED``, until SIGTERM.

It never subscribes. What an answer gave it that did not arrive, or that it was killed with, only the lease brings back.
"""

import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import trio

from periodic_client import CannotConnect, Client, ConnectionLost, LeaseLost
from tests.crashloop import plan
from tests.crashloop.record import FUNC, GROUP_FUNC, Answered, RecordFile, Refused

LEASE_MS = 2_000
AGAIN_S = 0.02


class Taker:
    def __init__(self, client: Client, folder: Path, seed: str) -> None:
        self._client = client
        self._records = RecordFile(folder, "taker")
        self._rng = Random(seed)

    async def run(self) -> None:
        """For ever."""
        while True:
            options = {"funcs": [FUNC, GROUP_FUNC], "max": 2, "wait_ms": 1_000, "lease_ms": LEASE_MS}
            try:
                taken = await self._client.request("take", options)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
                continue
            for job in taken["jobs"]:
                await self._perform(job)

    async def _perform(self, job: dict[str, Any]) -> None:
        self._records.write(plan.started(job))
        end = plan.end_of(job, self._rng)
        await trio.sleep(end.pause_s)
        self._records.write(end.report)
        while True:
            try:
                await self._client.request("finish", job["handle"], end.outcome)
            except LeaseLost:
                self._records.write(Refused(job["handle"]))
                return
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(Answered(job["handle"]))
                return


async def main(url: str, folder: Path, seed: str) -> None:
    async with Client(url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(Taker(client, folder, seed).run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
