"""``python -m bench.locks``: does a job with locks cost the same however many stand in line, and however many locks are
in use? The daemon's CPU for one, in runs of the same shape, with a small line and a large one in turn.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from bench.crowd import Connection
from rig import machine
from rig.daemon import Daemon

BATCH = 1_000
SIZES = (10, 1_000, 100_000)
GATE = "gate"
_number = count(1)


def batches(client: Connection, locks: Callable[[int], dict[str, int]], number: int) -> None:
    """So many jobs, put in batches."""
    for first in range(0, number, BATCH):
        jobs = [
            {"func": "f", "name": str(next(_number)), "locks": locks(each)}
            for each in range(first, min(first + BATCH, number))
        ]
        client.ask("submit_batch", jobs)


def one_line(client: Connection, number: int) -> Callable[[int], dict[str, int]]:
    """So many stand in line for one lock; each job is one more, and goes through it."""
    batches(client, lambda _: {GATE: 1}, number)
    return lambda _: {GATE: 1}


def many_locks(client: Connection, number: int) -> Callable[[int], dict[str, int]]:
    """So many locks have a line; each job has a lock of its own."""
    client.ask("submit", {"func": "held", "name": "0", "locks": {GATE: 1}})
    batches(client, lambda each: {GATE: 1, f"lock-{each}": 1}, number)
    return lambda each: {f"own-{each}": 1}


TABLES = (
    ("jobs in line for one lock that each job goes through", one_line),
    ("locks with a line, beside jobs that have one of their own", many_locks),
)


def measure(setting: Callable[[Connection, int], Callable[[int], dict[str, int]]], number: int, jobs: int) -> float:
    """Microseconds of the daemon's CPU for a job: put, given out when its locks are free, and done."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path()) as name, Daemon(Path(name)) as running:
        client, worker, holder = (Connection(running.url) for _ in range(3))
        holder.ask("subscribe", "held", {"limit": 1})
        worker.ask("subscribe", "f", {"limit": 1_000})
        locks = setting(client, number)
        while parked(client) < number - 1:
            pass
        run = given(worker) if setting is one_line else None
        before_s = running.cpu_s()
        for each in range(jobs):
            job = {"func": "f", "name": str(next(_number)), "priority": -1, "locks": locks(each)}
            client.ask("submit", job)
            if run is not None:
                worker.send([[1, run, None, None]])
            run = given(worker)
            if setting is many_locks:
                worker.send([[1, run, None, None]])
                run = None
        spent_us = (running.cpu_s() - before_s) / jobs * 1e6
        for each_ in (client, worker, holder):
            each_.socket.close()
        return spent_us


def parked(client: Connection) -> int:
    functions: list[dict[str, Any]] = client.ask("status", {"prefix": "f"})["functions"]
    return sum(int(each["parked"]) for each in functions)


def given(worker: Connection) -> int:
    """The msgid of the next run."""
    while True:
        for message in worker.receive():
            if message[0] == 0:
                msgid: int = message[1]
                return msgid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--jobs", type=int, default=2_000, help="in each run (default: 2,000)")
    options = parser.parse_args()
    print(machine.describe())
    for meaning, setting in TABLES:
        print(f"\n{meaning:>60} {'CPU us a job':>14}")
        found = [[measure(setting, size, options.jobs) for size in SIZES] for _ in range(options.repeat)]
        for size, runs in zip(SIZES, zip(*found, strict=True), strict=True):
            print(f"{size:60,} {statistics.median(runs):14.1f}", flush=True)


if __name__ == "__main__":
    main()
