"""Where commits are made: on the loop while they are small and quick, in the thread from the first slow one on."""

import os
import socket
import threading
import time

import trio

from periodic_client.wire import Limits, Response, encode_request
from periodic_client.wire.codec import Decoder
from periodicd.clock import system_now
from periodicd.engine import start
from periodicd.net.pace import OPS_MAX, QUICK_US, Pace
from periodicd.net.server import Server
from periodicd.store.memory import MemoryStore


def test_small_commits_are_made_on_the_loop_and_large_ones_in_the_thread() -> None:
    pace = Pace()
    assert pace.on_loop(OPS_MAX)
    assert not pace.on_loop(OPS_MAX + 1)


def test_after_a_slow_commit_the_thread_makes_them_until_its_memory_has_faded() -> None:
    pace = Pace()
    pace.note(100 * QUICK_US, on_loop=True)
    in_thread = 0
    while not pace.on_loop(1):
        pace.note(50 * QUICK_US, on_loop=False)
        in_thread += 1
    assert 100 < in_thread < 200


def test_commits_that_are_a_little_slower_once_change_nothing() -> None:
    pace = Pace()
    for _ in range(100):
        pace.note(QUICK_US // 2, on_loop=True)
        assert pace.on_loop(1)


class SlowDisk(MemoryStore):
    """Each commit takes longer than a quick disk's."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def commit(self) -> None:
        self.threads.append(threading.get_ident())
        time.sleep(3 * QUICK_US / 1e6)


async def test_a_slow_disk_holds_the_loop_up_once() -> None:
    store = SlowDisk()
    server = Server(start(store, system_now(), os.urandom), store, Limits(), 0, 10, lambda: None)
    store.threads.clear()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, [listening], lambda: None)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                decoder = Decoder()
                for number in range(20):
                    await stream.send_all(encode_request(number, "submit", [{"func": "f", "name": str(number)}]))
                    answers: list[object] = []
                    while not answers:
                        answers += decoder.feed(bytes(await stream.receive_some()))
                    (answer,) = answers
                    assert isinstance(answer, Response)
                    assert answer.error is None
            nursery.cancel_scope.cancel()
    on_loop = sum(thread == threading.get_ident() for thread in store.threads)
    assert len(store.threads) >= 20
    assert on_loop == 1
