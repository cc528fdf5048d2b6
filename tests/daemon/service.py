"""The real daemon under something that stands for systemd: it is ready when it says so, on a real datagram socket."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from rig.daemon import STOP_S


class Service:
    """``periodicd`` in ``folder``, listening on a unix socket there, with what ``arguments`` add."""

    def __init__(self, folder: Path, *arguments: str, abstract: bool = False) -> None:
        self.url = f"unix://{folder / 'periodic.sock'}"
        self._folder = folder
        self._arguments = arguments
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"periodicd-test-{os.getpid()}-{id(self)}"
        self._manager.bind(f"\0{name}" if abstract else str(folder / "notify.sock"))
        self._manager.settimeout(STOP_S)
        self.environ = os.environ | {"NOTIFY_SOCKET": f"@{name}" if abstract else str(folder / "notify.sock")}

    def __enter__(self) -> Self:
        self._start()
        self.wait_for("READY=1")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        self._manager.close()

    def run(self) -> int:
        """A start that ends by itself. Returns the exit code."""
        with self._manager:
            self._start()
            return self.process.wait(STOP_S)

    def _start(self) -> None:
        command = [sys.executable, "-m", "periodicd", "--listen", self.url, *self._arguments]
        with (self._folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, cwd=self._folder, env=self.environ, stderr=log)

    def wait_for(self, state: str) -> str:
        """The next message that begins so."""
        while not (heard := self._manager.recv(4096).decode()).startswith(state):
            pass
        return heard

    def stop(self) -> int:
        """Returns the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()
