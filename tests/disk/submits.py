"""Submits that remember which of them were answered, and what must hold at the end of a daemon and after it."""

import sqlite3

import pytest
import trio

from periodic_client import CannotConnect, Client, ConnectionLost, NewJob
from rig.daemon import Daemon

HOUR_MS = 3_600_000
WELL = 20
"""So many submits are answered before the fault."""
MANY = 6000
"""So many submits do not go without a checkpoint."""


class Submits:
    """Jobs that stay where they are, submitted one after the other and many at once in turns."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answered: set[str] = set()
        """Their names."""

    def one_by_one(self, count: int) -> list[str]:
        """Each in a commit of its own. Returns the names in this order."""
        return trio.run(self._one_by_one, count)

    async def _one_by_one(self, count: int) -> list[str]:
        names = [f"single-{number}" for number in range(count)]
        async with Client(self._url) as client:
            for name in names:
                await client.submit(NewJob("f", name, delay_ms=HOUR_MS))
                self.answered.add(name)
        return names

    def some(self, count: int) -> None:
        trio.run(self._some, count)

    def until_lost(self, count: int = MANY) -> None:
        """Until the daemon is gone. Fails if it is not after so many submits."""
        with pytest.raises((ConnectionLost, CannotConnect)):
            trio.run(self._some, count)

    async def _some(self, count: int) -> None:
        begin = len(self.answered)
        async with Client(self._url) as client:
            for first in range(begin, begin + count, 100):
                names = [f"{number}" for number in range(first, min(first + 100, begin + count))]
                for name in names[:10]:
                    await client.submit(NewJob("f", name, delay_ms=HOUR_MS))
                    self.answered.add(name)
                await client.submit_many([NewJob("f", name, delay_ms=HOUR_MS) for name in names[10:]])
                self.answered.update(names[10:])

    def listed(self) -> set[str]:
        return trio.run(self._listed)

    async def _listed(self) -> set[str]:
        async with Client(self._url) as client:
            return {job["name"] async for job in client.list("f")}


def check_end(daemon: Daemon, reason: str) -> None:
    """The daemon has ended as it must when its store fails."""
    assert daemon.wait() == 5
    # Only counts of what was held back may follow.
    (end,) = (line for line in daemon.said.splitlines()[-5:] if "CRITICAL" in line)
    assert f"{daemon.store.resolve()} failed: {reason}" in end, daemon.said
    assert "nothing was acknowledged after that" in end
    assert "Traceback" not in daemon.said


def check_recovery(daemon: Daemon, submits: Submits) -> None:
    """The disk is well again: everything that was answered is there, and the daemon works."""
    daemon.start()
    assert submits.answered <= submits.listed()
    submits.some(WELL)
    assert daemon.stop() == 0
    with sqlite3.connect(daemon.store) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
