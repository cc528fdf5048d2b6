"""What every yardstick is given to do: each round uses a running server and returns figures under stable keys.

The submitter is this process, the worker another one (``worker.py``). The keys are those of ``bench/scenarios.py``,
whose clients are our library; here all clients are raw sockets. Workloads are 100 bytes; requests are made beforehand
where a rate is measured. Rates end in ``_s``, times in ``_ms``.
"""

import json
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from bench.ratios import Figures
from bench.yardsticks import Server, Yardstick
from bench.yardsticks.link import connect, received, stamp
from rig.machine import cpu_s, percentile

SECONDS, MOST = 1.0, 100_000
"""Of submitting one at a time, and so many requests at the most."""
HOUR_S = 3600
AT_ONCE, UNANSWERED = 100, 1_000
"""Requests in one write, and requests without an answer, when they are pipelined."""
PICKUPS, PICKUP_EACH_S = 100, 0.02
CALLS = 500
LATE_JOBS, LATE_EACH_S, DELAYS_S = 2_000, 0.002, (1, 2, 3)

_number = count(1)


def _requests(yardstick: Yardstick, jobs: int, delay_s: int = 0) -> list[bytes]:
    talk, workload = yardstick.talk(), stamp(0)
    return [talk.put(next(_number), workload, delay_s) for _ in range(jobs)]


def submit_single(yardstick: Yardstick, server: Server) -> Figures:
    """One connection, one submit after the other, due in an hour."""
    return {"submit_single_s": _one_at_a_time(yardstick, server, 1)}


def submit_10conn(yardstick: Yardstick, server: Server) -> Figures:
    """Ten connections, each one submit after the other."""
    return {"submit_10conn_s": _one_at_a_time(yardstick, server, 10)}


def _one_at_a_time(yardstick: Yardstick, server: Server, connections: int) -> float:
    """Submits a second."""
    requests = iter(_requests(yardstick, MOST, HOUR_S))
    links = {}
    poll = select.epoll()
    for _ in range(connections):
        link = connect(server.port)
        links[link.fileno()] = link, yardstick.talk()
        poll.register(link, select.EPOLLIN)
    done = 0
    begin_s = time.perf_counter()
    for link, _ in links.values():
        link.sendall(next(requests))
    while (took_s := time.perf_counter() - begin_s) < SECONDS:
        for number, _ in poll.poll(1):
            link, talk = links[number]
            answers, _ = talk.heard(received(link))
            if answers:
                done += answers
                link.sendall(next(requests))
    for link, _ in links.values():
        link.close()
    return done / took_s


def _submit_all(yardstick: Yardstick, server: Server, requests: list[bytes]) -> None:
    """Pipelined on one connection."""
    talk = yardstick.talk()
    with connect(server.port) as link:
        answered = 0
        for sent in range(0, len(requests), AT_ONCE):
            while sent - answered > UNANSWERED - AT_ONCE:
                answered += talk.heard(received(link))[0]
            link.sendall(b"".join(requests[sent : sent + AT_ONCE]))
        while answered < len(requests):
            answered += talk.heard(received(link))[0]


class _Worker:
    """The worker's process, waiting for jobs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.begin_ns = 0
        self.end_ns = 0
        self.after_ms: list[float] = []

    def wait(self) -> None:
        """Until it knows that all jobs have ended; then it has its figures."""
        said, _ = self._process.communicate()
        assert self._process.returncode == 0, "the worker failed"
        told = json.loads(said)
        self.begin_ns, self.end_ns = told["begin_ns"], told["end_ns"]
        self.after_ms = [after_ns / 1_000_000 for after_ns in told["after_ns"]]


@contextmanager
def _worker(yardstick: Yardstick, server: Server, jobs: int) -> Iterator[_Worker]:
    command = [sys.executable, "-m", "bench.yardsticks.worker", yardstick.name, str(server.port), str(jobs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", "the worker did not start"
            yield _Worker(process)
        finally:
            if process.poll() is None:
                process.kill()


def through(yardstick: Yardstick, server: Server, jobs: int) -> float:
    """Jobs a second from the first submit to the last known end, pipelined submits, a worker that waits for them."""
    requests = _requests(yardstick, jobs)
    with _worker(yardstick, server, jobs) as worker:
        begin_ns = time.monotonic_ns()
        _submit_all(yardstick, server, requests)
        worker.wait()
    return jobs / (worker.end_ns - begin_ns) * 1e9


def end_to_end(yardstick: Yardstick, server: Server) -> Figures:
    """Single pipelined submits, a worker that answers at once; and the server's CPU time for 10,000 of the jobs."""
    through(yardstick, server, yardstick.jobs // 20)
    before_s = cpu_s(server.pid)
    rate = through(yardstick, server, yardstick.jobs)
    return {"end_to_end_s": rate, "cpu_s_per_10k": (cpu_s(server.pid) - before_s) / yardstick.jobs * 10_000}


def drain(yardstick: Yardstick, server: Server) -> Figures:
    """Jobs that were due before a worker came, from the first given to the last known end."""
    _submit_all(yardstick, server, _requests(yardstick, yardstick.jobs))
    with _worker(yardstick, server, yardstick.jobs) as worker:
        worker.wait()
    return {"drain_s": yardstick.jobs / (worker.end_ns - worker.begin_ns) * 1e9}


def pickup(yardstick: Yardstick, server: Server) -> Figures:
    """From before a submit to the worker that has it, one job each 20 ms."""
    after_ms = _paced(yardstick, server, [0] * PICKUPS, PICKUP_EACH_S)
    return {"pickup_p50_ms": percentile(after_ms, 50), "pickup_p99_ms": percentile(after_ms, 99)}


def call(yardstick: Yardstick, server: Server) -> Figures:
    """From before a submit to the answer that tells the worker that its job has ended, one job after the other.

    Of beanstalkd that is put, reserve and delete. Submitter and worker are both this process.
    """
    putting, working = yardstick.talk(), yardstick.talk()
    took_ms: list[float] = []
    with connect(server.port) as submitter, connect(server.port) as worker:
        worker.sendall(working.take(1))
        for _ in range(CALLS):
            begin_s, before = time.perf_counter(), working.ended
            submitter.sendall(putting.put(next(_number), stamp(0)))
            while working.ended == before:
                _, workloads = working.heard(received(worker))
                if said := working.reply():
                    worker.sendall(said)
                if workloads and (question := working.flush()):
                    worker.sendall(question)
            took_ms.append((time.perf_counter() - begin_s) * 1000)
            while not putting.heard(received(submitter))[0]:
                pass
    return {"call_p50_ms": percentile(took_ms, 50), "call_p99_ms": percentile(took_ms, 99)}


def lateness(yardstick: Yardstick, server: Server) -> Figures:
    """From when a job was due to the worker that has it; 500 a second are submitted, and 500 come due.

    Delays are whole seconds, since beanstalkd takes no others. A job is due so long after it was sent.
    """
    rng = random.Random(20)
    late_ms = _paced(yardstick, server, [rng.choice(DELAYS_S) for _ in range(LATE_JOBS)], LATE_EACH_S)
    return {"lateness_p50_ms": percentile(late_ms, 50), "lateness_p99_ms": percentile(late_ms, 99)}


def _paced(yardstick: Yardstick, server: Server, delays_s: list[int], each_s: float) -> list[float]:
    """Jobs submitted one at a time at a steady pace. Returns how long after they were due the worker had them."""
    talk = yardstick.talk()
    with _worker(yardstick, server, len(delays_s)) as worker, connect(server.port) as link:
        begin_s = time.monotonic() + each_s
        for at, delay_s in enumerate(delays_s):
            time.sleep(max(0, begin_s + at * each_s - time.monotonic()))
            link.sendall(talk.put(next(_number), stamp(time.monotonic_ns() + delay_s * 1_000_000_000), delay_s))
            while not talk.heard(received(link))[0]:
                pass
        worker.wait()
    return worker.after_ms


Round = Callable[[Yardstick, Server], Figures]
ROUNDS: list[Round] = [submit_single, submit_10conn, end_to_end, drain, pickup, call, lateness]
