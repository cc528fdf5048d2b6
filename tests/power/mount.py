"""The file system as the tests hold it: a process of its own, mounted on a folder inside ``with``."""

import subprocess
import sys
from pathlib import Path
from typing import Self

STOP_S = 30.0


class PowerDisk:
    """``folder`` is made, and is empty until something is written to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.power.filesystem", str(self.folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._wait_until("mount")
        return self

    def __exit__(self, *_: object) -> None:
        """Unmount it, and with it goes all that was written."""
        self._process.communicate(timeout=STOP_S)

    def cut(self, seed: str) -> None:
        """The power goes and comes back. Nothing may have a file open."""
        self._order(f"cut {seed}")

    def fail_syncs(self, count: int) -> None:
        """So many of the next syncs fail, and what they were to write is not on the disk though it can be read."""
        self._order(f"fail_syncs {count}")

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        self._wait_until(order)

    def _wait_until(self, order: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer != f"done: {order}\n":
            raise AssertionError(f"the file system answered {answer!r} to {order}; what it said is on stderr")
