"""Starts a server that is not ours, waits until it listens, and ends it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.yardsticks import Server
from rig.daemon import STOP_S


def free_port() -> int:
    """A port that nobody has. Somebody may take it before it is used; then the server says so and ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(folder: Path, port: int, command: Sequence[str]) -> Iterator[Server]:
    program = which(command[0])
    assert program is not None, f"{command[0]} is not installed"
    output = folder / "output"
    with output.open("w") as said:
        process = subprocess.Popen([program, *command[1:]], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        while not _listens(port):
            # Another process's socket has no event to wait for.
            time.sleep(0.01)
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}: {output.read_text()}"
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(STOP_S)


def which(program: str) -> str | None:
    """Where it is, also where Debian puts servers, which not everybody's PATH has."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
