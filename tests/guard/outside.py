"""Work of the real daemon, counted from outside with strace(1): system calls, and bytes written to the store's files.

Calls in which threads wait for each other (futex) are left out: how many there are is chance. What else disturbs, a
wake-up each second, can only add.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from periodic_client.wire import Decoder, Message, encode_request
from rig.daemon import Daemon
from tests.disk.strace import Strace, calls
from tests.guard.compare import Counts
from tests.guard.loads import Load

CHANCE = {"futex", "restart_syscall", "sched_yield"}
WRITES = {"pwrite64", "write", "writev", "pwritev"}
_BEGUN = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)


class Outside:
    """One connection to a daemon."""

    def __init__(self, running: Daemon) -> None:
        host, port = running.url.removeprefix("tcp://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._decoder = Decoder()

    def close(self) -> None:
        self._socket.close()

    def talk(self, said: bytes, answers: int) -> list[Message]:
        self._socket.sendall(said)
        heard: list[Message] = []
        while len(heard) < answers:
            data = self._socket.recv(2**20)
            assert data, "the daemon closed the connection"
            heard += self._decoder.feed(data)
        return heard


@contextmanager
def _connected(running: Daemon) -> Iterator[Outside]:
    link = Outside(running)
    try:
        yield link
    finally:
        link.close()


def count(load: Load, folder: Path) -> Counts:
    """What one job of the load takes, on a store of its own below ``folder``."""
    output = folder / "strace"
    with Daemon(folder, module="tests.guard.daemon") as running, _connected(running) as link:
        load.prepare(link)
        with Strace(running.pid, output, "-s", "0"):
            jobs = load.run(link)
            link.talk(encode_request(0, "ping", []), 1)  # a checkpoint may follow the last answer, and is work too
        store = str(running.store.resolve())
    made = sum(name not in CHANCE for name in _BEGUN.findall(output.read_text()))
    written = sum(call.result for call in calls(output) if call.name in WRITES and call.file.startswith(store))
    return {"system_calls": made / jobs, "bytes_written": written / jobs}
