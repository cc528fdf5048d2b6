"""A process that runs jobs with our library: ``python -m tests.crashloop.worker URL FOLDER SEED``, until SIGTERM.

Most runs end with ``finish``, whose answer says that the end is on disk; the others with the plain response, which is
never acknowledged and is the library's to bring home.
"""

import logging
import signal
import sys
from pathlib import Path
from random import Random

import trio

from periodic_client import (
    CannotConnect,
    Client,
    ConnectionLost,
    Done,
    Failed,
    Job,
    Later,
    LeaseLost,
    NewJob,
    Outcome,
    Retry,
    Worker,
)
from tests.crashloop import plan
from tests.crashloop.record import FUNC, GROUP_FUNC, LOCK_FUNC, Answered, RecordFile, Refused

LIMIT = 8
PLAIN = 0.25
"""The part of the runs that end with the plain response."""
GRACE_MS = 1000
AGAIN_S = 0.02


class Runs:
    def __init__(self, client: Client, folder: Path, seed: str) -> None:
        self._client = client
        self._records = RecordFile(folder, "worker")
        self._rng = Random(seed)

    async def run(self, job: Job) -> Outcome:
        given = {
            "name": job.name, "handle": job.handle, "workload": job.workload, "headers": job.headers,
            "due_at_ms": job.due_at_ms, "attempt": job.attempt, "failures": job.failures,
        }  # fmt: skip
        self._records.write(plan.started(given))
        end = plan.end_of(given, self._rng)
        await trio.sleep(end.pause_s)
        self._records.write(end.report)
        if self._rng.random() < PLAIN:
            return _outcome(end)
        await self._finish(job, end)
        return None

    async def _finish(self, job: Job, end: plan.End) -> None:
        while True:
            try:
                await self._client.request("finish", job.handle, end.outcome)
            except LeaseLost:
                self._records.write(Refused(job.handle))
                return
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(Answered(job.handle))
                return


def _outcome(end: plan.End) -> Outcome:
    said = end.outcome
    if said["outcome"] == "later":
        return Later(said["delay_ms"])
    if said["outcome"] == "failed":
        return Failed(said["reason"], final=said.get("final", False))
    follow_ons = [NewJob(**each | {"retry": Retry(**each["retry"])}) for each in said.get("submit", ())]
    return Done(said.get("data", b""), follow_ons)


async def main(url: str, folder: Path, seed: str) -> None:
    worker = Worker(url, disconnect_grace_ms=GRACE_MS, rng=Random(seed))
    async with Client(url) as client, trio.open_nursery() as nursery:
        runs = Runs(client, folder, seed)
        for func in (FUNC, LOCK_FUNC, GROUP_FUNC):
            worker.function(func, limit=LIMIT)(runs.run)
        nursery.start_soon(worker.run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                worker.stop()
                return


if __name__ == "__main__":
    # It loses its daemon all the time, and says so.
    logging.getLogger("periodic_client").setLevel(logging.ERROR)
    trio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
