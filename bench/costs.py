"""What one job costs beside time: rows written, commits, system calls."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import trio

from bench.ratios import Figures
from bench.scenarios import WORKLOAD, all_done, jobs
from bench.worker import worker
from periodic_client import Client
from periodic_client.wire import Request, Response
from periodicd.clock import system_now
from periodicd.engine import drive, start
from periodicd.store.sqlite import SqliteStore
from rig.daemon import Daemon

JOBS = 10_000
AT_ONCE = 100


def rows_per_job(folder: Path) -> float:
    """Rows inserted, updated and deleted, as SQLite counts them: the real engine and store in this process."""
    store = SqliteStore(folder / "rows.db", "relaxed")
    engine = start(store, system_now(), os.urandom)
    peer = engine.attach(system_now())

    def step() -> list[Request]:
        said = drive(engine.step(system_now()), store)
        peer.note_outbox(0)
        return [message for _, message in said.messages if isinstance(message, Request)]

    engine.receive(peer, Request(0, "subscribe", ["bench", {"limit": AT_ONCE}]))
    step()
    before = store._db.total_changes
    for first in range(0, JOBS, AT_ONCE):
        for number in range(first, first + AT_ONCE):
            job = {"func": "bench", "name": str(number), "workload": WORKLOAD}
            engine.receive(peer, Request(number + 1, "submit", [job]))
        for given in step():
            engine.receive(peer, Response(given.msgid, None, None))
    step()
    rows = store._db.total_changes - before
    store.close()
    return rows / JOBS


async def _load(running: Daemon, number: int) -> float:
    """Jobs from submit to done, pipelined; returns the commits for each."""
    async with Client(running.url) as client:
        before = (await client.status())["commits"]
        await client.submit_many(jobs("bench", number))
        await all_done(client)
        return float((await client.status())["commits"] - before) / number


def syscalls_per_job(folder: Path) -> Figures:
    """Counted by strace, which slows the daemon: fewer jobs share a step or more, so this is an estimate."""
    if shutil.which("strace") is None:
        print("strace is not installed: system calls are not counted (apt-get install strace)")
        return {}
    output = folder / "strace"
    with Daemon(folder) as running, worker(running.url):
        trio.run(_load, running, 1_000)
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-o", str(output), "-p", str(running.pid)], stderr=subprocess.DEVNULL
        )
        commits = trio.run(_load, running, JOBS)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    total = re.findall(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total$", output.read_text(), re.MULTILINE)
    return {"syscalls_per_job": int(total[0]) / JOBS, "commits_per_job": commits}


def costs(folder: Path) -> Figures:
    return {"rows_per_job": rows_per_job(folder)} | syscalls_per_job(folder)
