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

    def slow_syncs(self, ms: int) -> None:
        """From now on each takes so long."""
        self._order(f"slow_syncs {ms}")

    def hold_syncs(self) -> None:
        """Those that begin from now on do not end before ``release_syncs``."""
        self._order("hold_syncs")

    def until_held(self) -> None:
        """One is."""
        self._order("until_held")

    def release_syncs(self) -> None:
        self._order("release_syncs")

    def count_syncs(self) -> int:
        """How many have begun so far."""
        return int(self._order("count_syncs"))

    def _order(self, order: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._wait_until(order)

    def _wait_until(self, order: str) -> str:
        """Returns what is answered beside that it is done."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.startswith(f"done: {order}"):
            raise AssertionError(f"the file system answered {answer!r} to {order}; what it said is on stderr")
        return answer.removeprefix(f"done: {order}").strip()
