"""The loop while a commit waits for its disk: it reads, answers pings, obeys signals, and says nothing else."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgpack
import pytest
import trio

from periodic_client.wire import Limits
from periodicd.clock import Now, system_now
from periodicd.engine import start
from periodicd.net.pace import OPS_MAX, QUICK_US
from periodicd.net.server import Server
from periodicd.store.memory import MemoryStore

LARGE_BYTES = 12 * 1024 * 1024
"""More than two sockets hold between them."""


def nothing() -> None:
    """Most commits."""


class StuckDisk(MemoryStore):
    """Once ``sticks`` is set, commits wait until ``release``."""

    def __init__(self) -> None:
        super().__init__()
        self.sticks = False
        self.commits = 0
        self.stuck = threading.Event()
        self._released = threading.Event()
        self.during_next: Callable[[], None] = nothing

    def commit(self) -> None:
        self.commits += 1
        during, self.during_next = self.during_next, nothing
        during()
        if self.sticks:
            self.stuck.set()
            self._released.wait()

    def release(self) -> None:
        self.sticks = False
        self._released.set()

    @property
    def is_released(self) -> bool:
        return self._released.is_set()


class Speaker:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)

    async def send(self, msgid: int, method: str, *params: Any) -> None:
        await self.stream.send_all(msgpack.packb([0, msgid, method, params]))

    async def answered(self) -> int:
        """Which request is answered next, and well."""
        while True:
            for kind, msgid, error, _ in self._unpacker:
                assert (kind, error) == (1, None)
                return int(msgid)
            data = await self.stream.receive_some()
            assert data, "the daemon closed the connection"
            self._unpacker.feed(bytes(data))

    async def asked(self) -> int:
        """The number of the daemon's next request."""
        while True:
            for kind, msgid, *_ in self._unpacker:
                assert kind == 0
                return int(msgid)
            self._unpacker.feed(bytes(await self.stream.receive_some()))

    def nothing_came(self) -> bool:
        return not select.select([self.stream.socket], [], [], 0)[0]


class Served:
    """A daemon and its connections. ``stick``: one sends a batch that is too large to be committed on the loop."""

    def __init__(self, store: StuckDisk, server: Server, port: int) -> None:
        self.store = store
        self.server = server
        self.submitter: Speaker
        self._port = port
        self._streams: list[trio.SocketStream] = []

    async def connect(self) -> Speaker:
        self._streams.append(await trio.open_tcp_stream("127.0.0.1", self._port))
        return Speaker(self._streams[-1])

    def close(self) -> None:
        self.store.release()
        for stream in self._streams:
            stream.socket.close()

    async def stick(self) -> None:
        self.submitter = await self.connect()
        self.store.sticks = True
        await self.submitter.send(
            1, "submit_batch", [{"func": "f", "name": str(number)} for number in range(OPS_MAX + 1)]
        )
        await trio.to_thread.run_sync(self.store.stuck.wait)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    store = StuckDisk()
    server = Server(start(store, system_now(), os.urandom), store, Limits(), 0, 10, lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        here = Served(store, server, listening.getsockname()[1])
        ready = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, [listening], ready.set)
            await ready.wait()
            try:
                with trio.fail_after(60):
                    yield here
            finally:
                here.close()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def stuck() -> AsyncIterator[Served]:
    async with serving() as here:
        await here.stick()
        yield here


async def test_a_commit_that_takes_long_keeps_no_other_connection_s_ping_waiting() -> None:
    async with stuck() as here:
        other = await here.connect()
        for msgid in range(3):
            await other.send(msgid, "ping")
            assert await other.answered() == msgid


async def test_a_ping_waits_for_what_its_own_connection_sent_before() -> None:
    async with stuck() as here:
        busy, other = await here.connect(), await here.connect()
        await here.submitter.send(2, "ping")
        await busy.send(1, "submit", {"func": "f", "name": "busy"})
        await busy.send(2, "ping")
        # Whoever pings twice is answered by turns of the loop in which the others were read.
        for msgid in range(2):
            await other.send(msgid, "ping")
            assert await other.answered() == msgid
        assert here.submitter.nothing_came()
        assert busy.nothing_came()
        here.store.release()
        assert [await here.submitter.answered() for _ in range(2)] == [1, 2]
        assert [await busy.answered() for _ in range(2)] == [1, 2]


async def test_what_a_worker_reports_before_a_ping_is_on_disk_when_it_is_answered() -> None:
    """A response has no answer of its own, so nothing but the ping's tells of it."""
    async with stuck() as here:
        worker, other = await here.connect(), await here.connect()
        await worker.stream.send_all(msgpack.packb([1, 99, None, None]))
        await worker.send(1, "ping")
        for msgid in range(2):
            await other.send(msgid, "ping")
            assert await other.answered() == msgid
        assert worker.nothing_came()
        here.store.release()
        assert await worker.answered() == 1


async def test_what_is_sent_during_a_commit_is_read_and_shares_the_next() -> None:
    async with stuck() as here:
        speakers, other = [await here.connect() for _ in range(5)], await here.connect()
        commits = here.store.commits
        for number, speaker in enumerate(speakers):
            await speaker.send(1, "submit", {"func": "f", "name": f"late {number}"})
        for msgid in range(2):
            await other.send(msgid, "ping")
            assert await other.answered() == msgid
        here.store.release()
        for speaker in speakers:
            assert await speaker.answered() == 1
        assert here.store.commits == commits + 1


async def test_a_large_message_is_read_during_a_commit() -> None:
    async with stuck() as here:
        other = await here.connect()
        await other.send(1, "submit", {"func": "f", "name": "large", "workload": bytes(LARGE_BYTES)})
        assert not here.store.is_released, "all but what the sockets hold was taken by the daemon"
        here.store.release()
        assert await other.answered() == 1


async def test_a_signal_during_a_commit_is_obeyed_once_that_is_made() -> None:
    async with stuck() as here:
        os.kill(os.getpid(), signal.SIGTERM)
        other = await here.connect()
        await other.send(1, "ping")
        assert await other.answered() == 1
        here.store.release()
        assert await here.submitter.answered() == 1
        assert await here.submitter.stream.receive_some() == b""


async def test_what_arrives_during_a_slow_commit_on_the_loop_is_heard_before_time_judges(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the daemon it is only in the socket then, and the lease has run out meanwhile."""
    stalled_ms = 0

    def now() -> Now:
        wall_ms, mono_ms = system_now()
        return Now(wall_ms + stalled_ms, mono_ms + stalled_ms)

    def report(socket_fd: int, run: int) -> None:
        nonlocal stalled_ms
        os.write(socket_fd, msgpack.packb([1, run, None, None]))
        stalled_ms += 2000
        time.sleep(3 * QUICK_US / 1e6)

    monkeypatch.setattr("periodicd.net.server.system_now", now)
    monkeypatch.setattr("periodicd.net.connection.system_now", now)
    # In which order the loop turns to its tasks is up to chance.
    for _ in range(10):
        async with serving() as here:
            worker, submitter = await here.connect(), await here.connect()
            await worker.send(1, "subscribe", "f")
            assert await worker.answered() == 1
            await submitter.send(1, "submit", {"func": "f", "name": "a", "lease_ms": 1000})
            assert await submitter.answered() == 1
            run = await worker.asked()
            here.store.during_next = partial(report, worker.stream.socket.fileno(), run)
            await submitter.send(1, "submit", {"func": "g", "name": "b"})
            assert await submitter.answered() == 1
            await worker.send(2, "ping")
            assert await worker.answered() == 2
    assert "lease" not in caplog.text
