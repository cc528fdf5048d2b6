"""Peers that send too much, never read, never answer: the daemon's memory stays under its limit and others are served.

The memory measured is the resident set of the real process. Idle it is some 50 MB; connections may hold 256 MB in all.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgpack
import pytest

from rig.daemon import Daemon
from tests.daemon.raw import Raw

LIMIT_MB = 460
"""Idle, the budget, one message of the largest size beyond it, and what 200 connections may always hold. Twenty stuck
workers were seen to make it 361 to 431."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon
        assert daemon.rss_mb() < LIMIT_MB, "afterwards"


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Callable[[], Raw]]:
    """Opens connections that are closed after the test."""
    opened: list[Raw] = []

    def open_one() -> Raw:
        opened.append(Raw(daemon))
        return opened[-1]

    yield open_one
    for raw in opened:
        raw.socket.close()


def push(raw: Raw, data: bytes) -> int:
    """Send as much as the daemon takes; returns how much."""
    raw.socket.settimeout(0.02)
    sent = 0
    try:
        while sent < len(data):
            sent += raw.socket.send(data[sent : sent + 65536])
    except (TimeoutError, ConnectionError):
        pass
    raw.socket.settimeout(20)
    return sent


def served(daemon: Daemon) -> bool:
    other = Raw(daemon)
    answer = other.ask("submit", {"func": "g", "name": "a"})["result"] in ("created", "replaced")
    other.socket.close()
    return answer


def test_200_connections_half_way_through_a_maximum_message(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    head = b"\x94\x00\x01\xa6submit\x91\x83\xa4func\xa1f\xa4name\xa1a\xa8workload\xc6\x01\x00\x00\x00"
    half = head + bytes(8 * 1024 * 1024)
    raws = [connect() for _ in range(200)]
    taken = sum(push(raw, half) for raw in raws)
    assert taken > 100_000_000
    assert daemon.rss_mb() < LIMIT_MB
    assert served(daemon)
    for raw in raws:
        raw.socket.close()
    assert served(daemon)


def test_200_headers_that_claim_four_billion_elements(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    before = daemon.rss_mb()
    raws = [connect() for _ in range(200)]
    for raw in raws:
        raw.socket.sendall(b"\xdd\xff\xff\xff\xff")
    assert served(daemon)
    assert daemon.rss_mb() < before + 20
    for raw in raws:
        raw.socket.close()


def test_a_client_that_asks_for_large_answers_and_never_reads(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    raw = connect()
    raw.ask("submit", {"func": "f", "name": "a", "workload": bytes(16 * 1024 * 1024)})
    for _ in range(5):
        greedy = connect()
        push(greedy, b"".join(msgpack.packb([0, number, "get", ["f", "a"]]) for number in range(1000)))
    assert served(daemon)
    assert daemon.rss_mb() < LIMIT_MB


def test_a_client_that_asks_for_small_answers_and_never_reads(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    raw = connect()
    before = daemon.rss_mb()
    pings = b"".join(msgpack.packb([0, number, "no such method", []]) for number in range(100_000))
    for _ in range(5):
        push(raw, pings)
    assert served(daemon)
    assert daemon.rss_mb() < before + 50


def test_a_worker_that_takes_large_jobs_and_never_reads_or_answers(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    raw = connect()
    for number in range(40):
        raw.ask("submit", {"func": "f", "name": str(number), "workload": bytes(8 * 1024 * 1024)})
    stuck = [connect() for _ in range(20)]
    for each in stuck:
        each.send([0, 1, "subscribe", ["f", {"limit": 1000}]])
    assert served(daemon)
    assert daemon.rss_mb() < LIMIT_MB
    for each in stuck:
        each.socket.close()
    reader = connect()
    reader.ask("subscribe", "f")
    assert reader.receive()[2] == "perform"


def test_a_client_that_submits_faster_than_the_disk(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    raw = connect()
    jobs = [msgpack.packb([0, number, "submit", [{"func": "f", "name": str(number), "workload": bytes(50_000)}]])
            for number in range(4000)]  # fmt: skip
    raw.socket.settimeout(60)
    answered = 0
    raw.socket.setblocking(False)
    data, at = b"".join(jobs), 0
    unpacker = msgpack.Unpacker()
    highest = 0.0
    while answered < len(jobs):
        try:
            at += raw.socket.send(data[at : at + 1_000_000]) if at < len(data) else 0
        except BlockingIOError:
            highest = max(highest, daemon.rss_mb())
        try:
            unpacker.feed(raw.socket.recv(65536))
            answered += sum(1 for _ in unpacker)
        except BlockingIOError:
            pass
    assert highest < LIMIT_MB


def test_1000_idle_connections_cost_little(daemon: Daemon) -> None:
    before = daemon.rss_mb()
    with ExitStack() as idle:
        for _ in range(1000):
            idle.enter_context(socket.create_connection(("127.0.0.1", int(daemon.url.rsplit(":", 1)[1]))))
        assert served(daemon)
        assert daemon.rss_mb() < before + 80


def test_ten_storms_of_connections_leave_no_more_than_one(daemon: Daemon) -> None:
    rest_mb: list[float] = []
    for number in range(10):
        storm = [Raw(daemon) for _ in range(800)]
        for raw in storm:
            raw.send([0, 1, "hello", [{"client": "storm"}]])
        for raw in storm:
            raw.receive()
            raw.socket.close()
        if number in (0, 9):
            rest_mb.append(settled_mb(daemon, 1.2 * rest_mb[0] if rest_mb else 0))
    assert rest_mb[-1] <= 1.2 * rest_mb[0], rest_mb


def settled_mb(daemon: Daemon, enough_mb: float) -> float:
    """Resident once the connections are gone and what they took was given back, which the daemon does in its time."""
    stranger = Raw(daemon)
    while stranger.ask("status")["connections"] > 1:
        pass
    stranger.socket.close()
    lowest, until_s = daemon.rss_mb(), time.monotonic() + 7
    while lowest > enough_mb and time.monotonic() < until_s:
        time.sleep(0.2)
        lowest = min(lowest, daemon.rss_mb())
    return lowest
