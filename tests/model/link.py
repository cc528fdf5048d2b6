"""A connection that asks and is asked: it keeps what the daemon says of its own accord."""

import time
from typing import Any

from periodic_client.wire import error_from_wire
from rig.daemon import Daemon
from tests.daemon.raw import Raw
from tests.model.oracle import Moment


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Link:
    def __init__(self, daemon: Daemon) -> None:
        self.raw = Raw(daemon)
        self.performs: list[tuple[int, dict[str, Any]]] = []
        self.notices: list[tuple[str, str]] = []
        """Handle and kind."""
        self._msgid = 0

    def send(self, method: str, *params: Any) -> int:
        self._msgid += 1
        self.raw.send([0, self._msgid, method, list(params)])
        return self._msgid

    def ask(self, method: str, *params: Any) -> Any:
        """Raises PeriodicError."""
        msgid = self.send(method, *params)
        while (message := self.hear()) is None:
            pass
        _, answered, error, result = message
        assert answered == msgid
        if error is not None:
            raise error_from_wire(error)
        return result

    def hear(self) -> list[Any] | None:
        """The next message if it is a response; the others are kept."""
        message = self.raw.receive()
        if message[0] == 1:
            return message
        if message[0] == 0:
            assert message[2] == "perform"
            self.performs.append((message[1], message[3][0]))
        else:
            _, method, (handle, kind, _) = message
            assert method == "notice"
            self.notices.append((handle, kind))
        return None

    def timed(self, method: str, *params: Any) -> tuple[Any, Moment]:
        """The answer, and the moment in which the daemon acted."""
        begin_ms = now_ms()
        answer = self.ask(method, *params)
        return answer, Moment(begin_ms, now_ms())

    def close(self) -> None:
        self.raw.socket.close()
