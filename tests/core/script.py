"""Core tests read as scripts: what happens, what must follow. The real engine, a virtual clock, no network.

``Daemon`` is one life after another of a daemon on one store; ``Peer`` is what a connected program says and hears. Each
``ask`` is a step of the engine, as if nothing else had arrived meanwhile; ``send`` lets several things arrive at once.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from periodic_client.wire import Decoder, Notification, Request, Response, codec, error_from_wire
from periodicd.clock import Now
from periodicd.engine import Engine
from periodicd.scheduler import HANDLE_BYTES, Settings
from periodicd.store import Store
from periodicd.store.memory import MemoryStore

START = Now(1_700_000_000_000, 5_000)


class Daemon:
    def __init__(self, store: Store | None = None, **settings: Any) -> None:
        self.store = store or MemoryStore()
        self.settings = replace(Settings(), **settings)
        self.now = START
        self.peers: dict[int, Peer] = {}
        self.start()

    def start(self) -> None:
        """A new life on the same store: whatever was only in memory is gone."""
        self.engine = Engine(self.store, self.now, self.chance, self.settings)
        self.peers = {}

    def chance(self, size: int) -> bytes:
        """No chance at all: every handle can be told."""
        return b"".join(number.to_bytes(HANDLE_BYTES, "big") for number in range(1, size // HANDLE_BYTES + 1))

    def connect(self) -> "Peer":
        peer = Peer(self)
        self.peers[peer.number] = peer
        return peer

    def step(self) -> None:
        if self.engine.begin(self.now):
            self.engine.commit()
            self.engine.committed(250)
        for me, data in self.engine.finish():
            if me.number in self.peers:
                self.peers[me.number].hear(data)
        for peer, msgid, listing in self.engine.take_listings():
            self.engine.listed(peer, msgid, self.store.list_jobs(listing))
        if self.engine.busy:
            self.step()

    def later(self, ms: int, wall_ms: int | None = None) -> None:
        """Time passes, and the engine is woken whenever it asked to be. The wall clock may move otherwise."""
        end = Now(self.now.wall_ms + (ms if wall_ms is None else wall_ms), self.now.mono_ms + ms)
        if wall_ms is None:
            while True:
                wait_ms = max(1, self.engine.wakeup_ms(self.now))
                if self.now.mono_ms + wait_ms >= end.mono_ms:
                    break
                self.now = Now(self.now.wall_ms + wait_ms, self.now.mono_ms + wait_ms)
                self.step()
        self.now = end
        self.step()

    def job(self, func: str, name: str) -> dict[str, Any]:
        """The job as ``get`` shows it."""
        found = self.connect().ask("get", func, name, {"workload": True})
        assert found["result"] == "found", f"{func} {name} is {found}"
        return dict(found["job"])

    def gone(self, func: str, name: str) -> bool:
        return bool(self.connect().ask("get", func, name) == {"result": "absent", "job": None})


@dataclass
class Run:
    """A ``perform`` that a peer was sent."""

    peer: "Peer"
    msgid: int
    job: dict[str, Any]

    @property
    def handle(self) -> str:
        return str(self.job["handle"])

    @property
    def name(self) -> str:
        return str(self.job["name"])

    def respond(self, result: Any = None) -> None:
        self.peer.raw(codec.encode_response(self.msgid, result))
        self.peer.daemon.step()

    def fail(self, reason: str = "failed") -> None:
        self.peer.raw(codec.encode_error(self.msgid, reason))
        self.peer.daemon.step()


class Peer:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.me = daemon.engine.attach(daemon.now)
        self.runs: deque[Run] = deque()
        self.answers: dict[int, Response] = {}
        self.notices: list[tuple[str, str]] = []
        """Handle and kind."""
        self._in, self._out = Decoder(), Decoder()
        self._msgid = 0
        self.reads = True
        """Whether it takes what is sent to it at once, as a connection would report."""

    @property
    def number(self) -> int:
        return self.me.number

    def raw(self, data: bytes) -> None:
        for message in self._out.feed(data):
            self.daemon.engine.receive(self.me, message)
        self.me.heard_ms = self.daemon.now.mono_ms

    def read(self) -> None:
        """Take all that is on its way."""
        was_held_back = not self.me.is_reading or self.daemon.engine.memory.is_full
        self.me.note_outbox(0)
        if was_held_back:
            self.daemon.engine.drained(self.me)

    def hear(self, data: bytes) -> None:
        if self.reads:
            self.read()
        for message in self._in.feed(data):
            match message:
                case Request(msgid, "perform", [job]):
                    self.runs.append(Run(self, msgid, job))
                case Response(int(msgid)):
                    self.answers[msgid] = message
                case Notification("notice", [handle, kind, str()]):
                    self.notices.append((handle, kind))
                case _:
                    raise AssertionError(message)

    def send(self, method: str, *params: Any) -> int:
        """Arrives, but nothing is done yet. Returns the msgid."""
        self._msgid += 1
        self.raw(codec.encode_request(self._msgid, method, list(params)))
        return self._msgid

    def answer(self, msgid: int) -> Any:
        """The result of an answered request; raises its error."""
        response = self.answers.pop(msgid)
        if response.error is not None:
            raise error_from_wire(response.error)
        return response.result

    def ask(self, method: str, *params: Any) -> Any:
        msgid = self.send(method, *params)
        self.daemon.step()
        return self.answer(msgid)

    def submit(self, name: str, func: str = "f", **job: Any) -> str:
        return str(self.ask("submit", {"func": func, "name": name, **job})["result"])

    def take(self) -> Run:
        """The next job that was given to this peer."""
        assert self.runs, "was given no job"
        return self.runs.popleft()

    def names(self) -> list[str]:
        """Of the jobs given and not yet taken."""
        return [run.name for run in self.runs]

    def end(self) -> None:
        """It sends no more, and still hears."""
        self.daemon.engine.end(self.me)
        self.daemon.step()

    def close(self) -> None:
        self.daemon.engine.detach(self.me)
        self.daemon.step()


def worker(daemon: Daemon, func: str = "f", limit: int = 10, **hello: Any) -> Peer:
    """A peer that subscribed."""
    peer = daemon.connect()
    if hello:
        peer.ask("hello", hello)
    peer.ask("subscribe", func, {"limit": limit})
    return peer
