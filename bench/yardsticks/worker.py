"""A worker's process, for any yardstick: ``python -m bench.yardsticks.worker NAME PORT JOBS``.

It answers each job at once, ends when it knows that JOBS of them have ended, and prints one line of JSON: when it was
given the first, when it knew, and for each job how long after the time in its workload it began. Times are nanoseconds
of the system's monotonic clock, which all processes share.
"""

import json
import select
import socket
import sys
import time

from bench.yardsticks import Yardstick
from bench.yardsticks.kinds import WORKERS

READ_BYTES = 2**18


def connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def stamp(at_ns: int) -> bytes:
    """A workload of 100 bytes that bears the time."""
    return b"%020d" % at_ns + b"x" * 80


def work(yardstick: Yardstick, port: int, jobs: int) -> dict[str, object]:
    links = {}
    poll = select.epoll()
    for _ in range(yardstick.connections):
        link = connect(port)
        links[link.fileno()] = link, yardstick.talk()
        poll.register(link, select.EPOLLIN)
    for link, talk in links.values():
        link.sendall(talk.take(yardstick.room))
    print("ready", flush=True)
    begin_ns = 0
    after_ns: list[int] = []
    while sum(talk.ended for _, talk in links.values()) < jobs:
        for number, _ in poll.poll():
            link, talk = links[number]
            if not (data := link.recv(READ_BYTES)):
                raise EOFError(f"{yardstick.name} closed the connection")
            _, workloads = talk.heard(data)
            now_ns = time.monotonic_ns()
            begin_ns = begin_ns or (now_ns if workloads else 0)
            after_ns += [now_ns - int(workload[:20]) for workload in workloads]
            if said := talk.reply():
                link.sendall(said)
            if workloads and len(after_ns) == jobs:
                for other, its in links.values():
                    other.sendall(its.flush())
    return {"begin_ns": begin_ns, "end_ns": time.monotonic_ns(), "after_ns": after_ns}


if __name__ == "__main__":
    name, port, jobs = sys.argv[1:]
    print(json.dumps(work(WORKERS[name], int(port), int(jobs))))
