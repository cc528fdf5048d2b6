"""The programs of the demo, each a process of its own, and what can be seen of them from outside.

The demo and the tests that kill its programs in the middle use the same code.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import trio
from PIL import Image

from periodic_client import CannotConnect, Client, ConnectionLost

SUFFIXES = ("_fw1024.jpg", "_fw500.jpg", "_fw192.jpg", "_fw64.jpg")
LINE_COLUMNS = 79
START_S = 15.0
STOP_S = 30.0


ReadObject = Callable[[str], bytes | None]
"""The content of the object under a key of the bucket, None if there is none."""


class ChainError(Exception):
    """The chain did not do what it must. The message says what and where to look."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object of the bucket."""

    key: str
    original: int
    """Bytes of the picture that was saved."""
    uploaded: int
    """Bytes of what was uploaded first: the picture itself or a thumbnail."""
    final: int
    """Bytes of the object now."""


class Chain:
    """Daemon and worker with all their files below ``folder``, where the worker's configuration ``config`` is.

    ``read_object`` reads the bucket, if it is not the folder ``bucket``.
    """

    def __init__(self, folder: Path, config: str = "config.yml", read_object: ReadObject | None = None) -> None:
        self.folder = folder
        self._config = config
        self._read_object = read_object or self._read_file
        self.run = folder / "run"
        self.run.mkdir(parents=True, exist_ok=True)
        self.url = f"tcp://127.0.0.1:{_free_port()}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- processes -----------------------------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        self._start("periodicd", "periodicd", "--listen", self.url, "--store", str(self.run / "periodic.db"))
        deadline = time.monotonic() + START_S
        while self.periodic("ping").returncode:
            if self._processes["periodicd"].poll() is not None or time.monotonic() > deadline:
                raise ChainError(f"the daemon did not start; see {self._log('periodicd')}")

    def start_worker(self, name: str = "image-workers", config: str | None = None) -> None:
        self._start(name, "image_workers", config or self._config)

    def start_page(self) -> str:
        """Returns its address as soon as it listens. Raises ChainError."""
        self._start("page", "image_workers", "serve", self._config)
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"the page is at (http://\S+)", self._log("page").read_text())):
            if self._processes["page"].poll() is not None or time.monotonic() > deadline:
                raise ChainError(f"the page did not start; see {self._log('page')}")
            time.sleep(0.05)
        return found[1]

    def _start(self, name: str, module: str, *arguments: str) -> None:
        self.start(name, sys.executable, "-m", module, *arguments)

    def start(self, name: str, *command: str | Path) -> None:
        """Start a program, under a name by which it can be killed."""
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                cwd=self.folder,
                env={**os.environ, "PERIODIC_URL": self.url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _log(self, name: str) -> Path:
        return self.run / f"{name}.log"

    def kill(self, name: str) -> None:
        """As kill -9 does: the program has no time for anything."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> list[str]:
        """Stop all that was started, as an operator would. Returns those that did not end well."""
        unwell = []
        for name, process in reversed(self._processes.items()):
            process.send_signal(signal.SIGTERM)
            try:
                if process.wait(STOP_S) != 0:
                    unwell.append(f"{name} ended with exit code {process.returncode}; see {self._log(name)}")
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                unwell.append(f"{name} did not stop within {STOP_S:g} s")
        self._processes.clear()
        return unwell

    def periodic(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command ``periodic``."""
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "periodic_client", "--url", self.url, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    def submit(self, picture: Path) -> None:
        answer = self.periodic("submit", "save", picture.name, "-w", f"@{picture}")
        if answer.returncode:
            raise ChainError(f"periodic submit save {picture.name}: {answer.stderr.strip()}")

    # -- what happens --------------------------------------------------------------------------------------------------

    def wait(
        self, until: Callable[[dict[str, Any]], bool], timeout_s: float, *, may_fail: bool = False
    ) -> dict[str, Any]:
        """Ask for the status, over a restart of the daemon too, until it is as wanted. Returns it.

        Raises ChainError if it takes too long, if a program ended, or, unless jobs may fail, if one was given up.
        """
        return trio.run(self._wait, until, timeout_s, may_fail)

    async def _wait(self, until: Callable[[dict[str, Any]], bool], timeout_s: float, may_fail: bool) -> dict[str, Any]:
        with trio.move_on_after(timeout_s):
            async with Client(self.url) as client:
                while True:
                    try:
                        status = await client.status()
                    except (CannotConnect, ConnectionLost) as error:
                        if self._processes["periodicd"].poll() is not None:
                            raise ChainError(f"the daemon ended; see {self._log('periodicd')}") from error
                    else:
                        if not may_fail and any(function["dead"] for function in status["functions"]):
                            raise ChainError(f"jobs were given up: {await self._reasons(client)}")
                        if until(status):
                            return status
                    for name, process in self._processes.items():
                        if process.poll() is not None:
                            raise ChainError(f"{name} ended; see {self._log(name)}")
                    await trio.sleep(0.2)
        raise ChainError(f"not finished after {timeout_s:g} s; see the logs in {self.run}")

    async def _reasons(self, client: Client) -> str:
        return "; ".join([f"{job['func']} {job['name']}: {job['reason']}" async for job in client.list(state="dead")])

    def jobs(self, func: str | None, state: str) -> list[dict[str, Any]]:
        """The jobs of a function, or of all, in this state."""

        async def listed() -> list[dict[str, Any]]:
            async with Client(self.url) as client:
                return [job async for job in client.list(func, state)]

        return trio.run(listed)

    def removals(self) -> list[dict[str, Any]]:
        """The planned removals."""
        return self.jobs("remove", "waiting")

    # -- what came of it -----------------------------------------------------------------------------------------------

    def rows(self, pictures: list[Path]) -> list[Row]:
        """One for each object there must be. Raises ChainError if one is missing, larger than before, or broken."""
        rows = []
        images = self.run / "images"
        for picture in pictures:
            for key in (picture.name, *(picture.stem + suffix for suffix in SUFFIXES)):
                first = images / ("" if key == picture.name else "resize-image") / key
                final = self._read_object(key)
                if final is None:
                    raise ChainError(f"the object {key} is missing in the bucket")
                row = Row(key, picture.stat().st_size, first.stat().st_size, len(final))
                if row.final > row.uploaded:
                    raise ChainError(f"the object {key} grew from {row.uploaded} to {row.final} bytes")
                _decode(key, final)
                rows.append(row)
        return rows

    def _read_file(self, key: str) -> bytes | None:
        path = self.folder / "bucket" / key
        return path.read_bytes() if path.exists() else None


def idle(status: dict[str, Any]) -> bool:
    """Nothing is left to be done but the planned removals."""
    return all(
        not function["waiting"] and not function["running"]
        for function in status["functions"]
        if function["func"] != "remove"
    )


def progress(what: str, status: dict[str, Any], after_s: float) -> str:
    """One line, which fits the narrowest terminal."""
    counts = {state: sum(each[state] for each in status["functions"]) for state in ("running", "waiting")}
    counts["waiting"] -= sum(each["waiting"] for each in status["functions"] if each["func"] == "remove")
    busy = ", ".join(each["func"] for each in status["functions"] if each["running"])
    line = f"{after_s:3.0f} s  {what}: {counts['running']} running, {counts['waiting']} waiting  {busy}"
    return line if len(line) <= LINE_COLUMNS else f"{line[: LINE_COLUMNS - 3]}..."


def _decode(key: str, content: bytes) -> None:
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
    except OSError as error:
        raise ChainError(f"the object {key} does not decode: {error}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
