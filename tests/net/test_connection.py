"""A connection and time: what happens when a peer stops in the middle, with a clock that jumps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from periodic_client.wire import Limits, Message, Notification, Request, Response, encode
from periodicd.clock import Now
from periodicd.engine import Apply, Calls, Detached, drive, start
from periodicd.net.connection import HALF_S, STALL_S, TURN_S, WHOLE_S, Connection, encoded
from periodicd.net.pace import Pace
from periodicd.net.pings import Steps
from periodicd.scheduler import Said, Settings
from periodicd.store.memory import MemoryStore


class Ends:
    """An engine with connections on streams in memory, stepped whenever something arrives."""

    def __init__(self, nursery: trio.Nursery, settings: Settings | None = None) -> None:
        self._store = MemoryStore()
        self.engine = start(self._store, Now(0, 0), bytes, settings)
        self._begun: Calls[Said] | None = None
        self.turn = trio.Lock()
        self.after_step: list[Connection] = []
        self.connections: dict[Any, Connection] = {}
        self.closed: dict[Any, float] = {}
        self._nursery = nursery

    def connect(self, lockstep: bool = False) -> trio.StapledStream[Any, Any]:
        pair = trio.testing.lockstep_stream_pair() if lockstep else trio.testing.memory_stream_pair()
        peer = self.engine.attach(Now(0, 0))
        stream: Any = pair[1]
        self.connections[peer] = Connection(
            stream, self.engine, peer, Limits(), self.step, self.after_step.append, self.turn, Steps(Pace())
        )
        self._nursery.start_soon(self._run, peer)
        return pair[0]

    async def _run(self, peer: Any) -> None:
        await self.connections[peer].run()
        self.closed[peer] = trio.current_time()
        del self.connections[peer]
        self.engine.tell(peer, Detached())

    def begin(self) -> None:
        """A step, up to its commit, for which nobody waits yet."""
        if self._begun is None:
            self._begun = self.engine.step(Now(0, 0))
            call = next(self._begun)
            while isinstance(call, Apply):
                call = self._begun.send(self._store.apply(call.ops))

    def commit(self) -> None:
        assert self._begun is not None
        with pytest.raises(StopIteration) as end:
            self._begun.send(0)
        self._deliver(end.value.value)

    def step(self) -> None:
        self._deliver(drive(self.engine.step(Now(0, 0)), self._store))

    def _deliver(self, said: Said) -> None:
        for peer, message in said.messages:
            if peer in self.connections:
                self.connections[peer].queue(message)
                self.connections[peer].send()
        after_step, self.after_step[:] = self.after_step[:], []
        for connection in after_step:
            connection.step_done()


@asynccontextmanager
async def ends(settings: Settings | None = None) -> AsyncIterator[Ends]:
    async with trio.open_nursery() as nursery:
        yield Ends(nursery, settings)
        nursery.cancel_scope.cancel()


async def receive(stream: Any) -> list[Any]:
    """Everything until the daemon closes."""
    unpacker = msgpack.Unpacker()
    while data := await stream.receive_some():
        unpacker.feed(bytes(data))
    return list(unpacker)


def request(msgid: int, method: str, *params: Any) -> bytes:
    return bytes(msgpack.packb([0, msgid, method, params]))


async def test_a_peer_that_takes_nothing_of_its_outbox_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as here:
        stream = here.connect(lockstep=True)
        await stream.send_all(request(1, "ping"))
        await trio.sleep(STALL_S - 1)
        assert not here.closed
        await trio.sleep(1.5)
        assert list(here.closed.values()) == [STALL_S]


async def test_a_message_that_stops_in_the_middle_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as here:
        stream = here.connect()
        await stream.send_all(request(1, "ping") + request(2, "ping")[:5])
        await trio.sleep(HALF_S - 1)
        await stream.send_all(request(2, "ping")[5:6])
        answers = await receive(stream)
        assert answers[0] == [1, 1, None, {}]
        assert answers[1][2].startswith(f"BUSY: nothing came for {HALF_S} s in the middle of a message")
        assert trio.current_time() >= 2 * HALF_S - 1


async def test_a_message_that_never_ends_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """Whole messages now and then are no such message."""
    async with ends() as here:
        stream = here.connect()
        long = request(9, "ping", b"x" * 200)
        for msgid in range(30):
            await stream.send_all(request(msgid, "ping"))
            await trio.sleep(HALF_S - 1)
        begun_s = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for byte in long:
                await stream.send_all(bytes([byte]))
                await trio.sleep(HALF_S - 1)
        assert WHOLE_S <= trio.current_time() - begun_s <= WHOLE_S + HALF_S
        assert (await receive(stream))[-1][2].startswith(f"BUSY: a message was not whole after {WHOLE_S} s")


async def test_half_a_message_before_the_end_holds_no_answer_up(autojump_clock: trio.testing.MockClock) -> None:
    async with ends(Settings(connections_bytes=200_000)) as here:
        half = request(2, "submit", {"func": "f", "name": "a", "workload": bytes(150_000)})[:60_000]
        other, stream = here.connect(), here.connect()
        await other.send_all(half)
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(request(1, "get", "f", "a") + half)
        await trio.testing.wait_all_tasks_blocked()
        assert here.engine.budget.is_full
        await stream.send_eof()
        with trio.fail_after(1):
            ((*_, result),) = await receive(stream)
            assert result["result"] == "absent"


@pytest.mark.parametrize("noise", [b"", b"\xc1"])
async def test_an_answer_that_is_not_on_disk_yet_leaves_before_the_connection_closes(
    autojump_clock: trio.testing.MockClock, noise: bytes
) -> None:
    async with ends() as here:
        stream = here.connect()
        next(iter(here.connections.values()))._wake = here.begin
        await stream.send_all(request(1, "submit", {"func": "f", "name": "a"}) + noise)
        await stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert not here.closed
        here.commit()
        here.step()
        first, *rest = await receive(stream)
        assert first == [1, 1, None, {"result": "created", "id": 1}]
        assert len(rest) == len(noise)


async def test_a_peer_that_ends_and_takes_nothing_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as here:
        stream = here.connect(lockstep=True)
        await stream.send_all(request(1, "ping"))
        await stream.send_eof()
        await trio.sleep(STALL_S - 1)
        assert not here.closed
        await trio.sleep(1.5)
        assert list(here.closed.values()) == [STALL_S]


async def test_an_idle_connection_stays(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as here:
        stream = here.connect()
        await trio.sleep(80_000)
        await stream.send_all(request(1, "ping"))
        assert msgpack.unpackb(await stream.receive_some()) == [1, 1, None, {}]


async def test_while_memory_is_full_large_messages_go_one_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    settings = Settings(connections_bytes=200_000)
    message = request(1, "submit", {"func": "f", "name": "a", "workload": bytes(150_000)})
    async with ends(settings) as here:
        first, second, third = (here.connect() for _ in range(3))
        for stream in (first, second, third):
            await stream.send_all(message[:80_000])
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert here.engine.budget.is_full
        # The second filled the memory, has its turn, and wastes it; then the others complete their messages.
        await first.send_all(message[80_000:])
        await third.send_all(message[80_000:])
        answers = await receive(second)
        assert answers[0][2].startswith("BUSY: the daemon has no memory")
        assert TURN_S <= trio.current_time() < HALF_S
        for stream in (first, third):
            assert msgpack.unpackb(await stream.receive_some())[3]["result"] in ("created", "replaced")
        small = here.connect()
        await small.send_all(request(7, "ping"))
        assert msgpack.unpackb(await small.receive_some()) == [1, 7, None, {}]


async def test_reading_stops_at_a_thousand_unanswered_requests_and_goes_on_after() -> None:
    async with ends() as here:
        here.step = lambda: None  # type: ignore[method-assign]
        stream = here.connect()
        connection = next(iter(here.connections.values()))
        connection._wake = lambda: None
        many = b"".join(request(number, "ping") for number in range(20_000))
        await stream.send_all(many)
        await trio.testing.wait_all_tasks_blocked(0.01)
        waiting = len(connection.peer.unanswered)
        assert 1_000 <= waiting < 20_000
        while len(connection.peer.unanswered) or here.engine.busy:
            Ends.step(here)
            await trio.testing.wait_all_tasks_blocked(0.01)
        unpacker = msgpack.Unpacker()
        answered = 0
        while answered < 20_000:
            unpacker.feed(bytes(await stream.receive_some()))
            answered += sum(1 for _ in unpacker)


async def test_what_a_closed_connection_held_is_given_back(autojump_clock: trio.testing.MockClock) -> None:
    async with ends() as here:
        stream = here.connect()
        await stream.send_all(request(1, "submit", {"func": "f", "name": "a", "workload": bytes(90_000)})[:70_000])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert here.engine.budget.used_bytes >= 140_000
        here.after_step.extend(here.connections.values())
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        here.step()
        assert here.engine.budget.used_bytes == 0


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "perform", [{"name": "n" * 40, "workload": b"w" * 300, "headers": {}, "due_at_ms": 2**53 - 1}]),
        Response(2**32 - 1, None, {"results": ["created"] * 20, "ids": [1, 128, 2**16, None], "ended": False}),
        Response(None, "BAD_MESSAGE: \u00e9", None),
        Notification("notice", ["handle", "lost", "why"]),
    ],
    ids=repr,
)
def test_the_daemon_packs_a_message_as_the_library_does(message: Message) -> None:
    assert encoded(message) == encode(message)
