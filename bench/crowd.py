"""Many connections to one daemon, spoken by hand in one process: clients that submit, workers that answer at once.

Our library would spend more on each job than the daemon does, and with a thousand connections that would be all that is
measured. Blocking sockets and a selector are enough: a round is submitted, and over when every job of it was answered.
"""

import contextlib
import selectors
import socket
from collections.abc import Iterator, Sequence
from itertools import count, cycle, islice
from typing import Any

import msgpack

from rig.daemon import Daemon

WORKLOAD = b"x" * 100
TIMEOUT_S = 60.0


class Connection:
    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)

    def send(self, messages: Sequence[Any]) -> None:
        self.socket.sendall(b"".join(map(msgpack.packb, messages)))

    def receive(self) -> list[Any]:
        """What came, at least a piece of something."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the daemon closed a connection")
        self._unpacker.feed(data)
        return list(self._unpacker)

    def ask(self, method: str, *params: Any) -> Any:
        """A request while nothing else is on its way."""
        self.send([[0, 0, method, params]])
        while not (heard := self.receive()):
            pass
        ((_, _, error, answer),) = heard
        if error is not None:
            raise ConnectionError(f"{method}: {error}")
        return answer


class Crowd:
    """``clients`` submit in turn, ``workers`` serve what they were subscribed to."""

    def __init__(self, clients: Sequence[Connection], workers: Sequence[Connection]) -> None:
        self._clients = clients
        self._selector = selectors.DefaultSelector()
        for each in (*clients, *workers):
            self._selector.register(each.socket, selectors.EVENT_READ, each)
        self._number = count(1)

    def close(self) -> None:
        self._selector.close()

    def round(self, funcs: Sequence[str]) -> None:
        """One job of each function, from submit to the answer of its worker, all at once."""
        for first, client in enumerate(self._clients):
            if chosen := funcs[first :: len(self._clients)]:
                client.send([self._submit(func) for func in chosen])
        answers = performs = 0
        while answers < len(funcs) or performs < len(funcs):
            ready = self._selector.select(TIMEOUT_S)
            if not ready:
                raise TimeoutError(f"{answers} answers and {performs} jobs came of {len(funcs)}")
            for key, _ in ready:
                heard = key.data.receive()
                given = [[1, msgid, None, None] for kind, msgid, *_ in heard if kind == 0]
                if given:
                    key.data.send(given)
                performs += len(given)
                answers += len(heard) - len(given)

    def _submit(self, func: str) -> list[Any]:
        number = next(self._number)
        return [0, number, "submit", [{"func": func, "name": f"{number:08}", "workload": WORKLOAD}]]


@contextlib.contextmanager
def connections(running: Daemon, number: int) -> Iterator[list[Connection]]:
    """So many, closed at the end."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(Connection(running.url))
            stack.callback(opened[-1].socket.close)
        yield opened


def in_turn(funcs: Sequence[str], jobs: int) -> Iterator[list[str]]:
    """Rounds without end: so many jobs, over all functions in turn."""
    turn = cycle(funcs)
    while True:
        yield list(islice(turn, jobs))
