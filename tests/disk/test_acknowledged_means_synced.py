"""The promise at the level of system calls: no answer leaves before the WAL was synced after its request came.

The daemon's calls are read off the real process. With relaxed durability the same look at the same submits must find
answers without a sync: so it can.
"""

from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

from periodic_client import Client, NewJob
from rig.daemon import Daemon
from tests.disk.strace import Call, Strace, calls, content

SINGLE = 50
BURST = 200
TRACED = "--trace=fsync,fdatasync,sendto,sendmsg,recvfrom,recvmsg,write,pwrite64"


async def submit(url: str) -> None:
    async with Client(url) as client:
        for number in range(SINGLE):
            await client.submit(NewJob("f", f"single-{number}", delay_ms=3_600_000))
        await client.submit_many([NewJob("f", f"burst-{number}", delay_ms=3_600_000) for number in range(BURST)])


class Stream:
    """One direction of the connection: its messages, each with the call that completed it or began it."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker()
        self.messages: list[tuple[Any, Call]] = []

    def feed(self, call: Call) -> None:
        self._unpacker.feed(content(call)[: max(0, call.result)])
        self.messages += [(message, call) for message in self._unpacker]


def answers_without_sync(seen: list[Call]) -> tuple[int, list[int]]:
    """How many submits were answered, and the numbers of those for which no sync of the WAL lay between."""
    received, sent = Stream(), Stream()
    for call in seen:
        if call.file.startswith("TCP:") and call.result > 0:
            (received if call.name.startswith("recv") else sent).feed(call)
    syncs = [
        call
        for call in seen
        if call.name in ("fsync", "fdatasync") and call.file.endswith("periodic.db-wal") and call.result == 0
    ]
    asked = {message[1]: call for message, call in received.messages if message[0] == 0 and message[2] == "submit"}
    answered = {message[1]: call for message, call in sent.messages if message[0] == 1 and message[2] is None}
    assert asked.keys() == answered.keys()
    unsynced = [
        msgid
        for msgid, answer in answered.items()
        if not any(asked[msgid].ended < sync.begun and sync.ended < answer.begun for sync in syncs)
    ]
    return len(answered), unsynced


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_every_answer_follows_a_sync(tmp_path: Path, durability: str) -> None:
    with Daemon(tmp_path, "--durability", durability) as daemon:
        with Strace(daemon.pid, tmp_path / "strace", TRACED):
            trio.run(submit, daemon.url)
        answered, unsynced = answers_without_sync(list(calls(tmp_path / "strace")))
    assert answered == SINGLE + BURST
    if durability == "full":
        assert not unsynced
    else:
        assert len(unsynced) == answered
