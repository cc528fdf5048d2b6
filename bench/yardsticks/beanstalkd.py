"""beanstalkd, which syncs every job before its answer (``-b DIR -f0``): <https://beanstalkd.github.io>, protocol.txt.

A connection that waits for a job reads nothing else, so a worker has several, each with one job at a time.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from bench.yardsticks import Refused, Server, Yardstick
from bench.yardsticks.process import free_port, started

RUN_S = 600
"""Time to run, after which another worker would be given the job: as a lease of periodicd."""


class Talk:
    """protocol.txt."""

    def __init__(self) -> None:
        self.ended = 0
        self._given: list[bytes] = []
        self._rest = b""

    def put(self, number: int, workload: bytes, delay_s: int = 0) -> bytes:
        return b"put 0 %d %d %d\r\n%b\r\n" % (delay_s, RUN_S, len(workload), workload)

    def take(self, room: int) -> bytes:
        return b"reserve\r\n" * room

    def heard(self, data: bytes) -> tuple[int, list[bytes]]:
        answers, workloads = 0, []
        data = self._rest + data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            word, *values = data[at:end].split()
            after = end + 2
            if word == b"INSERTED":
                answers += 1
            elif word == b"DELETED":
                self.ended += 1
            elif word == b"RESERVED":
                begin, after = after, after + int(values[1]) + 2
                if len(data) < after:
                    break
                workloads.append(data[begin : after - 2])
                self._given.append(values[0])
            else:
                raise Refused(f"beanstalkd: {data[at:end]!r}")
            at = after
        self._rest = data[at:]
        return answers, workloads

    def reply(self) -> bytes:
        replies = b"".join([b"delete %b\r\nreserve\r\n" % job for job in self._given])
        self._given.clear()
        return replies

    def flush(self) -> bytes:
        return b""  # each delete is answered


def start(folder: Path) -> AbstractContextManager[Server]:
    port = free_port()
    return started(folder, port, ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder), "-f0"])


YARDSTICK = Yardstick("beanstalkd", "beanstalkd", start, Talk, connections=8, room=1, jobs=5_000)
