"""The real daemon in a process of its own: start it, kill it, stop it, look at it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rig import machine

STOP_S = 30.0


class DidNotStart(Exception):
    """The daemon ended before it listened. The message is what it said, ``code`` its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Daemon:
    """``periodicd`` on a store below ``folder``, listening on a port of its own and on what ``arguments`` add.

    ``env``: variables for it beside those of this process. ``module``: another way to start it.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        listen: str = "tcp://127.0.0.1:0",
        env: Mapping[str, str] | None = None,
        module: str = "periodicd",
    ) -> None:
        self.store = folder / "periodic.db"
        self._log = folder / "periodicd.log"
        self.url = ""
        self._listen = listen
        self._arguments = arguments
        self._env = env or {}
        self._module = module

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()
        elif self._process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError(f"the daemon ended with {self._process.returncode}: {self.said[-5000:]}")

    def start(self) -> None:
        """Returns when it listens. Raises DidNotStart."""
        self._log.touch()
        begin = self._log.stat().st_size
        command = [sys.executable, "-m", self._module, "--listen", self._listen, "--store", str(self.store)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdin=subprocess.DEVNULL, stderr=log, env=os.environ | self._env
            )
        while ": store " not in (said := self.said[begin:]):
            # Another process's file has no event to wait for.
            time.sleep(0.01)
            if self._process.poll() is not None:
                raise DidNotStart(self.said[begin:], self._process.returncode)
        found = re.search(r"listening on ((tcp|unix)://\S+)", said)
        assert found is not None
        self.url = self._listen = self.url or found.group(1)

    @property
    def said(self) -> str:
        """All that it ever said; its log is in ASCII."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """User and system time so far."""
        return machine.cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self) -> int:
        """Open files and sockets now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - of nothing but numbers

    def kill(self) -> None:
        """As kill -9 does."""
        self._process.kill()
        self._process.wait(STOP_S)

    def stop(self) -> int:
        """Returns the exit code."""
        self._process.terminate()
        return self._process.wait(STOP_S)

    def wait(self) -> int:
        """Until it ends by itself. Returns the exit code."""
        return self._process.wait(STOP_S)
