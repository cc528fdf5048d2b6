"""What the daemon's work costs without the daemon: the least of what SQLite, the disk and a socket ask for.

``cpu_ratio``: the daemon's CPU time for a job, end to end under load, by that of its bare SQL statements: the same
statements on the same kind of file, so many to a commit as the daemon had, in a process of their own. Claims that the
daemon writes on the way count as its own.

``latency_ratio``: the time of a submit, one at a time on one connection, by the sum of a ping's round trip and a bare
commit of one job.

Both sides of each are taken in turn, so a machine that slows down slows both.
"""

import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import trio

from bench.ratios import Figures, flat, medians, paired
from bench.yardsticks.compare import show
from bench.yardsticks.kinds import OURS
from bench.yardsticks.link import connect, received, stamp
from bench.yardsticks.periodicd import Talk
from bench.yardsticks.rounds import HOUR_S, through
from periodic_client import Client
from periodicd.job import Job, State
from periodicd.store import bulk, file
from periodicd.store.sqlite import CHECKPOINT_WEIGHT
from periodicd.store.statements import SQL, row_of
from rig import machine

TURNS, IN_A_TURN = 20, 20
"""Of submits, pings and bare commits."""

Row = list[Any]


class Statements:
    """The statements of jobs that come and go, on a file that was opened as the store opens its own."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._execute = db.cursor().execute
        self._weight = 0

    def commit(self, rows: Sequence[Row], ended: Sequence[int]) -> None:
        """One transaction: these jobs are put, those are done. Then what the store does to its file now and then."""
        self._execute("BEGIN IMMEDIATE")
        self._in_bulks(bulk._INSERT_PLAIN, SQL["insert_plain"], rows)
        self._in_bulks(bulk._DELETE_ANY, SQL["delete_run"], [[job_id] for job_id in ended], [None])
        self._db.commit()
        self._weight += len(rows) + len(ended) + 1
        if self._weight >= CHECKPOINT_WEIGHT:
            self._weight = 0
            self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _in_bulks(self, many: str, one: str, rows: Sequence[Row], more: Sequence[object] = ()) -> None:
        bulked = len(rows) // bulk.BULK * bulk.BULK
        for first in range(0, bulked, bulk.BULK):
            self._execute("SAVEPOINT a_bulk")
            self._execute(many, [value for row in rows[first : first + bulk.BULK] for value in row])
            self._execute("RELEASE a_bulk")
        for row in rows[bulked:]:
            self._execute(one, [*row, *more])


def rows_of(first: int, jobs: int) -> list[Row]:
    """As the store would write them."""
    now_ms = time.time_ns() // 1_000_000
    made = (Job(number, "bench", str(number), now_ms, now_ms, stamp(0)) for number in range(first, first + jobs))
    return [row_of(job, State.WAITING, True) for job in made]


def cpu_us(folder: Path, jobs: int, per_commit: int) -> float:
    """CPU microseconds for a job: each transaction puts ``per_commit`` jobs and ends those of the one before."""
    db = file.open_(folder / "bare.db", "full")
    statements = Statements(db)
    batches = [rows_of(first, per_commit) for first in range(1, jobs + 1, per_commit)]
    begin_s = time.process_time()
    for ended, put in pairwise([[], *batches, []]):
        statements.commit(put, [row[0] for row in ended])
    took_s = time.process_time() - begin_s
    db.close()
    return took_s / (len(batches) * per_commit) * 1e6


async def _commits(url: str) -> int:
    async with Client(url) as client:
        commits: int = (await client.status())["commits"]
        return commits


def cpu_round(folder: Path) -> Figures:
    """CPU microseconds for a job: of the daemon, and of its bare statements."""
    with OURS.start(folder) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        through(OURS, server, OURS.jobs // 20)
        commits, before_s = trio.run(_commits, url), machine.cpu_s(server.pid)
        through(OURS, server, OURS.jobs)
        daemon_us = (machine.cpu_s(server.pid) - before_s) / OURS.jobs * 1e6
        per_commit = max(1, round(OURS.jobs / (trio.run(_commits, url) - commits)))
    command = [sys.executable, "-m", "bench.bare", str(folder), str(OURS.jobs), str(per_commit)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"raw_cpu_us": daemon_us, "bare_cpu_us": float(told.stdout), "raw_jobs_per_commit": per_commit}


def latency_round(folder: Path) -> Figures:
    """Milliseconds, each the median of this round: a submit, a ping, and a bare commit of one job."""
    talk, numbers = Talk(), range(1, TURNS * IN_A_TURN + 1)
    with OURS.start(folder) as server, connect(server.port) as link:
        db = file.open_(folder / "bare.db", "full")
        statements = Statements(db)

        def ask(request: bytes) -> None:
            link.sendall(request)
            while not talk.heard(received(link))[0]:
                pass

        def commit(row: Row) -> None:
            statements.commit([row], [])

        kinds: dict[str, tuple[Callable[[Any], None], Iterator[Any]]] = {
            "raw_submit": (ask, iter([talk.put(number, stamp(0), HOUR_S) for number in numbers])),
            "raw_ping": (ask, iter([talk.ping(number) for number in numbers])),
            "bare_commit": (commit, iter(rows_of(1, len(numbers)))),
        }
        took_ms: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(TURNS):
            for name, (act, given) in kinds.items():
                for each in islice(given, IN_A_TURN):
                    begin_s = time.perf_counter()
                    act(each)
                    took_ms[name].append((time.perf_counter() - begin_s) * 1000)
        db.close()
    return {f"{name}_p50_ms": statistics.median(each) for name, each in took_ms.items()}


def beside_bare(folder: Path, repeat: int) -> Figures:
    """Both ratios, and what they are made of."""
    cpu, latency = [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="cpu-", dir=folder) as own:
            cpu.append(cpu_round(Path(own)))
        with tempfile.TemporaryDirectory(prefix="latency-", dir=folder) as own:
            latency.append(latency_round(Path(own)))
    figures = medians(cpu) | medians(latency)
    print("bare: " + ", ".join(f"{name} {value:,.3f}" for name, value in figures.items()))
    ratios = {
        "cpu_ratio": paired([each["raw_cpu_us"] for each in cpu], [each["bare_cpu_us"] for each in cpu]),
        "latency_ratio": paired(
            [each["raw_submit_p50_ms"] for each in latency],
            [each["raw_ping_p50_ms"] + each["bare_commit_p50_ms"] for each in latency],
        ),
    }
    show(ratios)
    return figures | flat(ratios)


if __name__ == "__main__":
    print(cpu_us(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
