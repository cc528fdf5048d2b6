"""``python -m bench.large``: workloads of 1 and 20 MB. How fast they are stored and given out, beside the bare disk;
how much memory the daemon takes while they wait and while they go; and what small jobs feel of them.
"""

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import trio

from bench.crowd import Connection, connections
from bench.heavy import FUNC
from bench.ratios import Figures
from bench.scenarios import HOUR_MS, pickup
from rig import machine
from rig.daemon import STOP_S, Daemon

MB = 1_000_000
SIZES = ((MB, (20, 100, 400)), (20 * MB, (2, 10, 40)))
"""Bytes of a workload, and how many wait before memory is looked at."""
AT_ONCE = 4
"""Connections that submit, so that the next job arrives while one is written."""
LIMITS = ("--workload-bytes", str(20 * MB), "--message-bytes", str(32 * 2**20))
CHECKPOINT_OPS = 5_000
"""So many small ops bring a checkpoint."""
TRAFFIC = (
    ("without", ()),
    ("slow worker", ("slow",)),
    ("submits", ("submit",)),
    ("submits and a quick worker", ("submit", "take")),
)


# -- the bare disk -----------------------------------------------------------------------------------------------------


def disk_mb_s(folder: Path, size: int, number: int) -> float:
    """So many pieces appended to a file, each synced."""
    path, piece = folder / "bare", bytes(size)
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(number):
            file.write(piece)
            os.fdatasync(file.fileno())
    took = time.perf_counter() - begin
    path.unlink()
    return size * number / MB / took


def sqlite_mb_s(folder: Path, size: int, number: int) -> float:
    """So many rows, each committed and synced to the WAL, which is copied into the file at the end."""
    path = folder / "bare.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
    db.execute("CREATE TABLE workloads (id INTEGER PRIMARY KEY, workload BLOB)")
    piece = bytes(size)
    begin = time.perf_counter()
    for _ in range(number):
        db.execute("INSERT INTO workloads (workload) VALUES (?)", (piece,))
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    took = time.perf_counter() - begin
    db.close()
    for left in folder.glob("bare.db*"):
        left.unlink()
    return size * number / MB / took


# -- speed and memory --------------------------------------------------------------------------------------------------


def peak_mb(running: Daemon) -> float:
    """The most memory that was ever resident since this was last asked; proc(5), clear_refs."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    Path(f"/proc/{running.pid}/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def submit(clients: Sequence[Connection], size: int, first: int, end: int) -> None:
    """Each connection its share, one after the other."""
    workload = bytes(size)

    def share(place: int) -> None:
        for number in range(first + place, end, len(clients)):
            clients[place].ask("submit", {"func": FUNC, "name": f"{number}", "workload": workload})

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(share, range(len(clients))))


def take_all(worker: Connection, number: int) -> None:
    worker.send([[0, 0, "subscribe", [FUNC, {"limit": 4}]]])
    while number:
        given = [[1, msgid, None, None] for kind, msgid, *_ in worker.receive() if kind == 0]
        if given:
            number -= len(given)
            worker.send(given)
    worker.ask("ping")


def speed_and_memory(folder: Path, size: int, waiting: Sequence[int]) -> Figures:
    key = f"large_{size // MB}mb"
    bare = {
        f"{key}_disk_mb_s": disk_mb_s(folder, size, waiting[1]),
        f"{key}_sqlite_mb_s": sqlite_mb_s(folder, size, waiting[1]),
    }
    figures: Figures = {}
    with Daemon(folder, *LIMITS) as running, connections(running, 1 + AT_ONCE) as (worker, *clients):
        peak_mb(running)
        done, took = 0, 0.0
        for number in waiting:
            begin = time.perf_counter()
            submit(clients, size, done, number)
            took += time.perf_counter() - begin
            done = number
            figures |= {f"{key}_{number}_waiting_peak_mb": peak_mb(running)}
        begin = time.perf_counter()
        take_all(worker, done)
        figures |= {
            f"{key}_submit_mb_s": size * done / MB / took,
            f"{key}_drain_mb_s": size * done / MB / (time.perf_counter() - begin),
            f"{key}_drain_peak_mb": peak_mb(running),
        }
    return bare | figures


def checkpoint_ms(folder: Path, size: int, waiting: Sequence[int]) -> Figures:
    """The longest that a ping waits while the WAL with large jobs is copied into the file."""
    longest_ms, is_over = 0.0, threading.Event()

    def ping() -> None:
        nonlocal longest_ms
        while not is_over.is_set():
            begin = time.perf_counter()
            pinging.ask("ping")
            longest_ms = max(longest_ms, (time.perf_counter() - begin) * 1000)

    with Daemon(folder, *LIMITS) as running, connections(running, 2) as (client, pinging):
        submit([client], size, 0, waiting[1])
        wal_mb = running.store.with_name("periodic.db-wal").stat().st_size / MB
        thread = threading.Thread(target=ping)
        thread.start()
        for first in range(0, CHECKPOINT_OPS, 1000):
            jobs = [
                {"func": "small", "name": f"{number}", "delay_ms": HOUR_MS} for number in range(first, first + 1000)
            ]
            client.ask("submit_batch", jobs)
        client.ask("ping")
        is_over.set()
        thread.join()
    key = f"large_{size // MB}mb"
    return {f"{key}_wal_mb": wal_mb, f"{key}_checkpoint_ping_max_ms": longest_ms}


# -- what small jobs feel ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def traffic(running: Daemon, kinds: Sequence[str], size: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-m", "bench.heavy", kind, running.url, str(size)]) for kind in kinds]
    try:
        yield
    finally:
        for each in started:
            each.terminate()
            each.wait(STOP_S)


def pickup_beside(folder: Path, size: int, kinds: Sequence[str]) -> Figures:
    """Of small jobs of another function, worker and client. The slow worker has eight large jobs to take."""
    with Daemon(folder, *LIMITS) as running:
        if kinds == ("slow",):
            with connections(running, 1) as clients:
                submit(clients, size, 0, 8)
        with traffic(running, kinds, size):
            if kinds:
                _wait_for_traffic(running)
            return trio.run(pickup, running)


def _wait_for_traffic(running: Daemon) -> None:
    with connections(running, 1) as (client,):
        while not client.ask("status")["functions"]:
            time.sleep(0.05)  # other processes start in their own time


# -- all of it ---------------------------------------------------------------------------------------------------------


def measure(folder: Path, repeat: int) -> Figures:
    result: Figures = {}
    for size, waiting in SIZES:
        figures = medians([in_new(folder, speed_and_memory, size, waiting) for _ in range(repeat)])
        figures |= medians([in_new(folder, checkpoint_ms, size, waiting) for _ in range(repeat)])
        for key, value in figures.items():
            print(f"{key:44} {value:10,.1f}", flush=True)
        result |= figures
    for size, _ in SIZES:
        print(f"\n{f'pickup of small jobs beside {size // MB} MB, ms':44} {'p50':>10} {'p99':>10}")
        found = [[in_new(folder, pickup_beside, size, kinds) for _, kinds in TRAFFIC] for _ in range(repeat)]
        for (name, _), runs in zip(TRAFFIC, zip(*found, strict=True), strict=True):
            figures = medians(runs)
            print(f"{name:44} {figures['pickup_p50_ms']:10.2f} {figures['pickup_p99_ms']:10.2f}", flush=True)
            result |= {f"large_{size // MB}mb_{name.replace(' ', '_')}_{key}": value for key, value in figures.items()}
    return result


def in_new(
    folder: Path, what: Callable[[Path, int, Sequence[Any]], Figures], size: int, rest: Sequence[Any]
) -> Figures:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return what(Path(name), size, rest)


def medians(runs: Sequence[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in runs) for key in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, under stable keys")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is measured (default: this folder)")
    options = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        result = measure(Path(name), options.repeat)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
