"""A worker's process, for any yardstick: ``python -m bench.yardsticks.worker NAME PORT JOBS``.

It answers each job at once, ends when it knows that JOBS of them have ended, and prints one line of JSON: when it was
given the first, when it knew, and for each job how long after the time in its workload it began. Times are nanoseconds
of the system's monotonic clock, which all processes share.
"""

import json
import select
import sys
import time

from bench.yardsticks import Yardstick
from bench.yardsticks.kinds import WORKERS
from bench.yardsticks.link import connect, received, stamped_ns

SILENCE_S = 60


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
        if not (heard := poll.poll(SILENCE_S)):
            raise TimeoutError(f"{yardstick.name} said nothing for {SILENCE_S} s; of {jobs} jobs {len(after_ns)} came")
        for number, _ in heard:
            link, talk = links[number]
            _, workloads = talk.heard(received(link))
            now_ns = time.monotonic_ns()
            begin_ns = begin_ns or (now_ns if workloads else 0)
            after_ns += [now_ns - stamped_ns(workload) for workload in workloads]
            if said := talk.reply():
                link.sendall(said)
            if workloads and len(after_ns) == jobs:
                for other, its in links.values():
                    other.sendall(its.flush())
    return {"begin_ns": begin_ns, "end_ns": time.monotonic_ns(), "after_ns": after_ns}


if __name__ == "__main__":
    name, port, jobs = sys.argv[1:]
    print(json.dumps(work(WORKERS[name], int(port), int(jobs))))
