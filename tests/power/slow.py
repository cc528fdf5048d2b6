"""The real daemon under load on a disk whose syncs take long: does anything but what must be synced wait for them?

Judged by counts, as far as that goes. Whoever sends one ping after the other gets no more than one answer in a step if
pings wait for its commit, and clients that each send one submit after the other need a sync for each of theirs if
nothing is shared.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

from rig.daemon import Daemon
from tests.daemon.raw import Raw
from tests.disk.submits import Submits
from tests.power.mount import PowerDisk

CLIENTS = 10
PINGS_A_SYNC = 3
SUBMITS_A_SYNC = 3


class Seen(NamedTuple):
    """``late_pings``: those that took at least as long as a sync."""

    syncs: int
    submits: int
    pings: int
    late_pings: int
    longest_ping_ms: int
    exit_code: int
    lost: int
    """Submits that were acknowledged, and are not there after the next start."""

    def faults(self) -> Iterator[str]:
        if self.pings < PINGS_A_SYNC * self.syncs:
            yield f"{self.pings} pings were answered during {self.syncs} syncs: they wait for them"
        if self.late_pings * 10 > self.syncs:
            yield f"{self.late_pings} pings took as long as a sync, where one commit should find out"
        if self.submits < SUBMITS_A_SYNC * self.syncs:
            yield f"{self.submits} submits of {CLIENTS} clients took {self.syncs} syncs: they do not share them"
        if self.exit_code != 0:
            yield f"stopped under load the daemon ended with {self.exit_code}"
        if self.lost:
            yield f"{self.lost} acknowledged submits are lost"


class Load:
    """Clients that submit and one that pings, in threads of their own, until the daemon closes the connections."""

    def __init__(self, daemon: Daemon, enough: int) -> None:
        self._daemon = daemon
        self._enough = enough
        self.acknowledged: set[str] = set()
        self.pings_s: list[float] = []
        self.is_enough = threading.Event()
        """So many submits were acknowledged."""

    def submit(self, client: int) -> None:
        raw = Raw(self._daemon)
        with raw.socket:
            for number in count():
                name = f"{client}-{number}"
                try:
                    raw.ask("submit", {"func": "f", "name": name, "delay_ms": 3_600_000})
                except (EOFError, ConnectionError):
                    return
                self.acknowledged.add(name)
                if len(self.acknowledged) >= self._enough:
                    self.is_enough.set()

    def ping(self) -> None:
        raw = Raw(self._daemon)
        with raw.socket:
            while True:
                begin_s = time.perf_counter()
                try:
                    raw.ask("ping")
                except (EOFError, ConnectionError):
                    return
                self.pings_s.append(time.perf_counter() - begin_s)


def run(disk: PowerDisk, slow_ms: int, submits: int) -> Seen:
    """Load until so many submits are acknowledged, then SIGTERM in the middle of it, and another start."""
    daemon = Daemon(disk.folder)
    daemon.start()
    try:
        load = Load(daemon, submits)
        disk.slow_syncs(slow_ms)
        before = disk.count_syncs()
        with ThreadPoolExecutor(CLIENTS + 1) as threads:
            threads.submit(load.ping)
            for client in range(CLIENTS):
                threads.submit(load.submit, client)
            load.is_enough.wait()
            made, pings_s, syncs = len(load.acknowledged), load.pings_s[:], disk.count_syncs() - before
            exit_code = daemon.stop()
        disk.slow_syncs(0)
        daemon.start()
        lost = len(load.acknowledged - Submits(daemon.url).listed())
    finally:
        daemon.kill()
    late = sum(ping_s >= slow_ms / 1000 for ping_s in pings_s)
    return Seen(syncs, made, len(pings_s), late, round(max(pings_s) * 1000), exit_code, lost)
