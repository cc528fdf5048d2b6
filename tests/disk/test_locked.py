"""Another program writes to the daemon's store: it is waited for, off the loop and not for long, and named."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from periodicd.store import Locked, ops
from periodicd.store.sqlite import SqliteStore
from rig.daemon import Daemon
from tests.daemon.raw import Raw


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """This process holds the right to write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


ME = f"is locked by process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()}), which writes to it"


def wait_for(daemon: Daemon, text: str) -> None:
    while text not in daemon.said:
        # A file of another process has no event to wait for.
        time.sleep(0.02)


def test_a_locked_store_does_nothing_and_goes_on_once_it_has_the_lock(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    with writing(tmp_path / "jobs.db"):
        with pytest.raises(Locked, match=f"jobs.db is locked by process {os.getpid()} "):
            store.apply([ops.Reserve(7)])
        assert store.apply([ops.Fetch(1)]) == [None], "reading is free"
        with pytest.raises(Locked):
            store.lock(20)
    store.lock(20)
    store.apply([ops.Reserve(7)])
    store.commit()
    (boot,) = store.apply([ops.Boot()])
    assert isinstance(boot, ops.BootResult)
    assert boot.next_id == 7
    store.close()


def test_a_step_waits_for_whoever_writes_to_the_store_and_says_for_whom(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        raw = Raw(daemon)
        with writing(daemon.store):
            raw.send([0, 1, "submit", [{"func": "f", "name": "a"}]])
            wait_for(daemon, "waiting up to 10 s: ")
            late = Raw(daemon)
            late.send([0, 1, "ping", []])
        assert ME in daemon.said
        assert raw.receive()[3]["result"] == "created"
        assert late.receive() == [1, 1, None, {}], "the loop went on"
        raw.socket.close()
        late.socket.close()


def test_after_ten_seconds_the_daemon_ends_and_says_who_is_to_blame(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.start()
    raw = Raw(daemon)
    with writing(daemon.store):
        raw.send([0, 1, "submit", [{"func": "f", "name": "a"}]])
        assert daemon.wait() == 5
    assert f"{ME}; nothing was acknowledged after that" in daemon.said
    raw.socket.close()
