"""The network of the simulation: links that deliver late, in order, and may be cut with messages on their way."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from periodic_client.wire import Decoder, Message, encode_error, encode_request, encode_response
from periodicd.net.pings import Pings, Steps
from periodicd.scheduler.peers import Peer


class Asked(NamedTuple):
    """A request of an actor."""

    method: str
    params: tuple[Any, ...]
    memo: Any
    """What the actor wants to remember of it."""


class Link:
    """One connection. The world moves messages; the actor at the other end only sees what was delivered to it."""

    def __init__(self, number: int, peer: Peer, steps: Steps) -> None:
        self.number = number
        self.peer = peer
        self.pings = Pings(steps, peer)
        """The daemon's rule, as its connection has it."""
        self.is_up = True
        self.up: deque[bytes] = deque()
        """On the way to the daemon: each is what one write sent."""
        self.down: deque[bytes] = deque()
        """On the way to the actor."""
        self.asked: dict[int, Asked] = {}
        """The actor's requests whose answer it has not heard."""
        self.arrived: set[int] = set()
        """Those that a step of the daemon has heard, and none has answered."""
        self.read: list[Message] = []
        """What the daemon has, for its next step."""
        self.is_heard = False
        """The step under way has heard something from here."""
        self.unwaited: set[int] = set()
        """Those that are to wait no longer, says an answer."""
        self.waits: dict[int, int] = {}
        """Since when those of them wait that were found waiting; by the monotonic clock."""
        self.performing: dict[int, int] = {}
        """Runs by the number of the ``perform`` that left for here."""
        self._to_daemon, self._to_actor = Decoder(), Decoder()
        self._msgid = 0
        self._written: list[bytes] | None = None

    @contextmanager
    def one_write(self) -> Iterator[None]:
        """A pipeline: all that is sent meanwhile arrives at once."""
        self._written = []
        yield
        if self._written:
            self.up.append(b"".join(self._written))
        self._written = None

    def _send(self, message: bytes) -> None:
        (self.up if self._written is None else self._written).append(message)

    def ask(self, method: str, *params: Any, memo: Any = None) -> None:
        self._msgid += 1
        self.asked[self._msgid] = Asked(method, params, memo)
        self._send(encode_request(self._msgid, method, params))

    def respond(self, msgid: int, result: Any) -> None:
        self._send(encode_response(msgid, result))

    def refuse(self, msgid: int, error: str) -> None:
        self._send(encode_error(msgid, error))

    def next_up(self) -> list[Message]:
        return list(self._to_daemon.feed(self.up.popleft()))

    def next_down(self) -> list[Message]:
        return list(self._to_actor.feed(self.down.popleft()))
