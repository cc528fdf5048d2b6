"""The real daemon on a disk that stalls: what waits for it, and what does not. ``make power`` does it under load."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rig.daemon import Daemon
from tests.daemon.raw import Raw

pytest.importorskip("pyfuse3", reason="apt-get install libfuse3-dev fuse3 pkg-config gcc; pip install pyfuse3")

from tests.power.mount import PowerDisk

PINGS = 20
SLOW_MS = 100


class Stalled:
    """A daemon that has met its slow disk once, and a submit that waits for a sync that does not end."""

    def __init__(self, disk: PowerDisk, daemon: Daemon, stack: ExitStack) -> None:
        self.disk = disk
        self.daemon = daemon
        self._stack = stack
        self.submitter, self.other = self.connect(), self.connect()
        disk.slow_syncs(SLOW_MS)
        self.submitter.ask("submit", job("finds out"))
        self.stall()

    def connect(self) -> Raw:
        raw = Raw(self.daemon)
        self._stack.callback(raw.socket.close)
        return raw

    def stall(self) -> None:
        self.disk.hold_syncs()
        self.submitter.send([0, 2, "submit", [job("waits")]])
        self.disk.until_held()

    def pings_are_answered(self) -> None:
        for msgid in range(PINGS):
            assert self.other.ask("ping", msgid=msgid) == {}


def job(name: str) -> dict[str, Any]:
    return {"func": "f", "name": name, "delay_ms": 3_600_000}


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[Stalled]:
    with PowerDisk(tmp_path / "disk") as disk, ExitStack() as stack:
        daemon = Daemon(disk.folder)
        daemon.start()
        stack.callback(daemon.kill)
        stack.callback(disk.release_syncs)
        yield Stalled(disk, daemon, stack)


def test_after_one_slow_commit_pings_of_others_wait_for_none(stalled: Stalled) -> None:
    for _ in range(3):
        stalled.pings_are_answered()
        stalled.disk.release_syncs()
        kind, msgid, error, _ = stalled.submitter.receive()
        assert (kind, msgid, error) == (1, 2, None)
        stalled.stall()


def test_what_is_submitted_during_a_sync_shares_the_next(stalled: Stalled) -> None:
    others = [stalled.connect() for _ in range(20)]
    for number, other in enumerate(others):
        other.send([0, 1, "submit", [job(str(number))]])
    stalled.pings_are_answered()
    syncs = stalled.disk.count_syncs()
    stalled.disk.release_syncs()
    for raw in (stalled.submitter, *others):
        assert raw.receive()[2] is None
    assert stalled.disk.count_syncs() == syncs + 1


def test_a_signal_during_a_sync_ends_the_daemon_in_order(stalled: Stalled) -> None:
    os.kill(stalled.daemon.pid, signal.SIGTERM)
    stalled.pings_are_answered()
    stalled.disk.release_syncs()
    assert stalled.submitter.receive()[2] is None
    assert stalled.daemon.wait() == 0
    with sqlite3.connect(stalled.daemon.store) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM jobs").fetchall() == [(2,)]
    db.close()
