"""Core tests read as scripts: what happens, what must follow. The real engine, a virtual clock, no network.

``Daemon`` is one life after another of a daemon on one store; ``Peer`` is what a connected program says and hears. Each
``ask`` is a step of the engine, as if nothing else had arrived meanwhile; ``send`` lets several things arrive at once.

Scripts are strict: whatever a daemon said must have been looked at when the test ends (``conftest.py``), or be allowed,
``daemon.allow("run")``, by a test that is about something else.
"""

from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Any, Literal

from periodic_client.wire import ClosingError, Decoder, Message, Notification, Request, Response, codec, error_from_wire
from periodicd.clock import Now
from periodicd.engine import Detached, Ended, Heard, Listed, ReadsAgain, drive, start
from periodicd.scheduler import Said, Settings
from periodicd.scheduler.events import Event
from periodicd.scheduler.numbers import HANDLE_BYTES
from periodicd.scheduler.peers import Peer as ServerPeer
from periodicd.store import Store
from periodicd.store.memory import MemoryStore

START = Now(1_700_000_000_000, 5_000)

Kind = Literal["answer", "run", "notice", "closing"]
"""What a daemon may say to a peer. Events are for an operator, and a script about leases would be full of them."""

SHOWN = 100

stage: list["Daemon"] = []
"""All daemons of the test that runs."""


class NotLookedAt(AssertionError):
    """A daemon said something that the script passed over."""


class Daemon:
    def __init__(self, store: Store | None = None, **settings: Any) -> None:
        self.store = store or MemoryStore()
        self.settings = replace(Settings(), **settings)
        self.now = START
        self.peers: dict[int, Peer] = {}
        self._cast: list[Peer] = []
        self._closings: list[tuple[ServerPeer, ClosingError]] = []
        self._events: list[Event] = []
        self._allowed: set[Kind] = set()
        self.start()
        stage.append(self)

    def start(self) -> None:
        """A new life on the same store: whatever was only in memory is gone."""
        self.engine = start(self.store, self.now, self.chance, self.settings)
        self.peers = {}

    def chance(self, size: int) -> bytes:
        """No chance at all: every handle can be told."""
        return b"".join(number.to_bytes(HANDLE_BYTES, "big") for number in range(1, size // HANDLE_BYTES + 1))

    def connect(self) -> "Peer":
        return Peer(self)

    def enter(self, peer: "Peer") -> None:
        self.peers[peer.number] = peer
        self._cast.append(peer)

    def allow(self, *kinds: Kind) -> None:
        """The script does not care for what is said of these kinds."""
        self._allowed.update(kinds)

    def end(self) -> None:
        """Raises NotLookedAt."""
        unseen: list[tuple[Kind, str]] = [(kind, what) for peer in self._cast for kind, what in peer.unseen()]
        unseen += [("closing", f"{peer.number}: {why}") for peer, why in self._closings]
        unseen = [(kind, what) for kind, what in unseen if kind not in self._allowed]
        if unseen:
            shown = "; ".join(f"{kind} {what}" for kind, what in unseen[:5])
            raise NotLookedAt(f"{dict(Counter(kind for kind, _ in unseen))} were said and not looked at: {shown}")

    def said(self) -> Said:
        """What one step says; nobody hears it."""
        return drive(self.engine.step(self.now), self.store, took_us=250)

    def step(self) -> None:
        said = self.said()
        self._events += said.events
        for me, message in said.messages:
            if me.number in self.peers:
                self.peers[me.number].hear(message)
        self._closings += said.closings
        for peer, _ in said.closings:
            self.peers[peer.number].detach()
        for peer, msgid, listing in said.listings:
            self.engine.tell(peer, Listed(msgid, self.store.list_jobs(listing)))
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

    def take_closings(self) -> list[tuple[ServerPeer, ClosingError]]:
        """The connections that the daemon closed since this was last asked, and why."""
        closings, self._closings = self._closings, []
        return closings

    def take_events(self) -> list[Event]:
        """What an operator should know of since this was last asked."""
        events, self._events = self._events, []
        return events

    def job(self, func: str, name: str) -> dict[str, Any]:
        """The job as ``get`` shows it."""
        found = self._get(func, name)
        assert found["result"] == "found", f"{func} {name} is {found}"
        return dict(found["job"])

    def gone(self, func: str, name: str) -> bool:
        return bool(self._get(func, name)["result"] == "absent")

    def _get(self, func: str, name: str) -> dict[str, Any]:
        peer = self.connect()
        found: dict[str, Any] = peer.ask("get", func, name, {"workload": True})
        peer.detach()
        return found


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
        self._runs: deque[Run] = deque()
        self._answers: dict[int, Response] = {}
        self._notices: list[tuple[str, str]] = []
        self._unseen: dict[tuple[Kind, int], object] = {}
        self._out = Decoder()
        self._msgid = 0
        self.reads = True
        """Whether it takes what is sent to it at once, as a connection would report."""
        daemon.enter(self)

    @property
    def number(self) -> int:
        return self.me.number

    # -- what it heard -------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> deque[Run]:
        """Given, and not yet taken."""
        self._look("run")
        return self._runs

    @property
    def answers(self) -> dict[int, Response]:
        """By msgid, those that ``answer`` has not given."""
        self._look("answer")
        return self._answers

    @property
    def notices(self) -> list[tuple[str, str]]:
        """Handle and kind of each, from the first."""
        self._look("notice")
        return self._notices

    def _look(self, kind: Kind) -> None:
        self._unseen = {key: what for key, what in self._unseen.items() if key[0] != kind}

    def unseen(self) -> list[tuple[Kind, str]]:
        """What was said to it that nobody looked at."""
        return [(kind, f"{what}"[:SHOWN]) for (kind, _), what in self._unseen.items()]

    # -- what it says --------------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        self.daemon.engine.tell(self.me, Heard(self.daemon.now.mono_ms))
        for message in self._out.feed(data):
            self.daemon.engine.receive(self.me, message)

    def read(self) -> None:
        """Take all that is on its way."""
        was_held_back = not self.me.is_reading or self.daemon.engine.budget.is_full
        self.me.note_outbox(0)
        if was_held_back:
            self.daemon.engine.tell(self.me, ReadsAgain())

    def hear(self, message: Message) -> None:
        if self.reads:
            self.read()
        match message:
            case Request(msgid, "perform", [job]):
                self._runs.append(Run(self, msgid, job))
                self._unseen["run", msgid] = (job["func"], job["name"])
            case Response(int(msgid)):
                self._answers[msgid] = message
                self._unseen["answer", msgid] = message
            case Notification("notice", [handle, kind, str()]):
                self._notices.append((handle, kind))
                self._unseen["notice", len(self._notices)] = (handle, kind)
            case _:
                raise AssertionError(message)

    def send(self, method: str, *params: Any) -> int:
        """Arrives, but nothing is done yet. Returns the msgid."""
        self._msgid += 1
        self.raw(codec.encode_request(self._msgid, method, list(params)))
        return self._msgid

    def answer(self, msgid: int) -> Any:
        """The result of an answered request; raises its error."""
        response = self._answers.pop(msgid)
        self._unseen.pop(("answer", msgid), None)
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
        assert self._runs, "was given no job"
        run = self._runs.popleft()
        self._unseen.pop(("run", run.msgid), None)
        return run

    def names(self) -> list[str]:
        """Of the jobs given and not yet taken."""
        return [run.name for run in self.runs]

    def end(self) -> None:
        """It sends no more, and still hears."""
        self.daemon.engine.tell(self.me, Ended())
        self.daemon.step()

    def close(self) -> None:
        self.detach()
        self.daemon.step()

    def detach(self) -> None:
        """The connection is gone; nothing is done about it yet."""
        del self.daemon.peers[self.number]
        self.daemon.engine.tell(self.me, Detached())


def worker(daemon: Daemon, func: str = "f", limit: int = 10, **hello: Any) -> Peer:
    """A peer that subscribed."""
    peer = daemon.connect()
    if hello:
        peer.ask("hello", hello)
    peer.ask("subscribe", func, {"limit": limit})
    return peer
