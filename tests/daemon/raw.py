"""A connection to the real daemon, spoken by hand: for all that a library would not send, and not show."""

import socket
from typing import Any

import msgpack
import pytest

from periodic_client.wire import error_from_wire
from rig.daemon import Daemon


class Raw:
    """A connection that sends what it is told, byte for byte."""

    def __init__(self, daemon: Daemon) -> None:
        host, port = daemon.url.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)

    def send(self, *values: Any) -> None:
        self.socket.sendall(b"".join(map(msgpack.packb, values)))

    def receive(self) -> list[Any]:
        while True:
            for message in self._unpacker:
                return list(message)
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def ask(self, method: Any, *params: Any, msgid: int = 1) -> Any:
        self.send([0, msgid, method, list(params)])
        _, answered, error, result = self.receive()
        assert answered == msgid
        if error is not None:
            raise error_from_wire(error)
        return result

    def refusal(self, method: Any, *params: Any) -> str:
        self.send([0, 7, method, list(params)])
        kind, msgid, error, result = self.receive()
        assert (kind, msgid, result) == (1, 7, None)
        return str(error)

    def ends_with(self) -> str:
        """The last words of a daemon that then closes."""
        kind, msgid, error, result = self.receive()
        assert (kind, msgid, result) == (1, None, None)
        with pytest.raises(EOFError):
            self.receive()
        return str(error)
