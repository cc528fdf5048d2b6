"""gearmand with its queue in memory: <http://gearman.org/protocol/>. In C++, and nothing is stored or synced.

It has no delays of a job. SUBMIT_JOB_EPOCH names a second to come, but when that comes no worker that waits is woken,
so there is no lateness to measure: a worker would find the job when it next asks for one.
"""

import struct
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.yardsticks import Refused, Server, Yardstick
from bench.yardsticks.process import free_port, started

CAN_DO, PRE_SLEEP, NOOP, JOB_CREATED, GRAB_JOB = 1, 4, 6, 8, 9
NO_JOB, JOB_ASSIGN, WORK_COMPLETE, ECHO_REQ, ECHO_RES, SUBMIT_JOB_BG = 10, 11, 13, 16, 17, 18
HEAD = struct.Struct(">4sII")


def _packet(kind: int, data: bytes = b"") -> bytes:
    return HEAD.pack(b"\0REQ", kind, len(data)) + data


GRAB = _packet(GRAB_JOB)


class Talk:
    """A worker asks for each job, several at a time; when there is none it says that it sleeps, and is woken."""

    def __init__(self) -> None:
        self.ended = 0
        self._said = 0
        self._room = 0
        self._asked = 0
        self._is_empty = False
        self._given: list[bytes] = []
        self._rest = b""

    def put(self, number: int, workload: bytes, delay_s: int = 0) -> bytes:
        return _packet(SUBMIT_JOB_BG, b"bench\0%d\0%b" % (number, workload))

    def take(self, room: int) -> bytes:
        self._room = self._asked = room
        return _packet(CAN_DO, b"bench") + GRAB * room

    def heard(self, data: bytes) -> tuple[int, list[bytes]]:
        answers, workloads = 0, []
        data = self._rest + data
        at = 0
        while len(data) >= at + HEAD.size:
            _, kind, size = HEAD.unpack_from(data, at)
            begin, after = at + HEAD.size, at + HEAD.size + size
            if len(data) < after:
                break
            if kind == JOB_CREATED:
                answers += 1
            elif kind == JOB_ASSIGN:
                handle, _, workload = data[begin:after].split(b"\0", 2)
                workloads.append(workload)
                self._given.append(handle)
                self._asked -= 1
                self._is_empty = False
            elif kind == NO_JOB:
                self._asked -= 1
                self._is_empty = True
            elif kind == NOOP:
                self._is_empty = False
            elif kind == ECHO_RES:
                self.ended = self._said
            else:
                raise Refused(f"gearmand: a packet of type {kind}: {data[begin:after]!r}")
            at = after
        self._rest = data[at:]
        return answers, workloads

    def reply(self) -> bytes:
        done = b"".join([_packet(WORK_COMPLETE, handle + b"\0") for handle in self._given])
        self._said += len(self._given)
        self._given.clear()
        if self._is_empty:
            return done if self._asked else done + _packet(PRE_SLEEP)
        more = self._room - self._asked
        self._asked = self._room
        return done + GRAB * more

    def flush(self) -> bytes:
        return _packet(ECHO_REQ)


def start(folder: Path) -> AbstractContextManager[Server]:
    port = free_port()
    log = str(folder / "gearmand.log")
    return started(folder, port, ["gearmand", "-L", "127.0.0.1", "-p", str(port), "-q", "builtin", "-l", log])


YARDSTICK = Yardstick(
    "gearmand", "gearmand", start, Talk, connections=8, room=1, jobs=40_000, left_out=frozenset({"lateness"})
)
"""As the workers of its libraries speak: a connection asks for a job when it has none."""
AHEAD = replace(
    YARDSTICK,
    name="gearmand_ahead",
    connections=1,
    room=500,
    left_out=frozenset({"lateness", "submit_single", "submit_10conn", "pickup"}),
)
"""With a worker that asks ahead, for as many jobs as one of periodicd is given."""
