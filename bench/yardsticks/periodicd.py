"""periodicd itself, of this checkout or of another one, spoken to as the yardsticks are."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgpack

from bench.yardsticks import Refused, Server, Yardstick
from rig.daemon import Daemon

ROOT = Path(__file__).parent.parent.parent
SUBSCRIBE, FLUSH = 2**32 - 1, 2**32 - 2


class Talk:
    """protocol.md."""

    def __init__(self) -> None:
        self.ended = 0
        self._said = 0
        self._given: list[int] = []
        self._messages = msgpack.Unpacker()

    def put(self, number: int, workload: bytes, delay_s: int = 0) -> bytes:
        job = {"func": "bench", "name": str(number), "workload": workload, "delay_ms": delay_s * 1000}
        return _packed([0, number, "submit", [job]])

    def take(self, room: int) -> bytes:
        return _packed([0, SUBSCRIBE, "subscribe", ["bench", {"limit": room}]])

    def heard(self, data: bytes) -> tuple[int, list[bytes]]:
        answers, workloads = 0, []
        self._messages.feed(data)
        for message in self._messages:
            if message[0] == 0:
                self._given.append(message[1])
                workloads.append(message[3][0]["workload"])
            elif message[0] != 1 or message[2] is not None:
                raise Refused(f"periodicd: {message}")
            elif message[1] == FLUSH:
                self.ended = self._said
            elif message[1] != SUBSCRIBE:
                answers += 1
        return answers, workloads

    def reply(self) -> bytes:
        replies = b"".join([_packed([1, msgid, None, None]) for msgid in self._given])
        self._said += len(self._given)
        self._given.clear()
        return replies

    def flush(self) -> bytes:
        return self.ping(FLUSH)

    def ping(self, number: int) -> bytes:
        """Its answer counts as that of a submit."""
        return _packed([0, number, "ping", []])


def _packed(message: list[object]) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


def of_tree(tree: Path) -> dict[str, str]:
    """Variables with which a process runs the code of that checkout.

    Without the second Python would look into the folder that it is started in first, which is a checkout too.
    """
    return {"PYTHONPATH": os.fspath(tree), "PYTHONSAFEPATH": "1"}


def starter(tree: Path) -> Callable[[Path], AbstractContextManager[Server]]:
    """Starts the daemon of the checkout ``tree``."""

    @contextmanager
    def start(folder: Path) -> Iterator[Server]:
        with Daemon(folder, env=of_tree(tree)) as daemon:
            yield Server(int(daemon.url.rsplit(":", 1)[1]), daemon.pid)

    return start


def of(tree: Path = ROOT, name: str = "periodicd") -> Yardstick:
    """The daemon of that checkout, under this name."""
    return Yardstick(name, "periodicd", starter(tree), Talk, connections=1, room=500, jobs=40_000)
