"""``python -m bench.fairness``: by how much does a client that floods one function delay the due jobs of another?

The lateness of fifty due jobs a second, of a function with a worker of its own, alone and beside each kind of flood, in
turn. The flood has a process of its own, so on two cores it also takes time from the daemon. Beside it a ping's round
trip, which waits for a step but for no turn.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.crowd import Connection
from rig import machine
from rig.daemon import Daemon

RATE_S = 50
AHEAD_MS = 1_000
"""So long before they are due they are submitted: when they are due they only have to be given out."""
FLOODS = ("alone", "single", "batch", "backlog")
BAR_MS = 20


@contextmanager
def flooding(how: str, url: str) -> Iterator[None]:
    if how == "alone":
        yield
        return
    with subprocess.Popen([sys.executable, "-m", "bench.flood", how, url], stdout=subprocess.PIPE) as flood:
        assert flood.stdout is not None
        flood.stdout.readline()
        try:
            yield
        finally:
            flood.kill()


def lateness(url: str, seconds: float) -> tuple[list[float], list[float]]:
    """Of each job in milliseconds, and of pings meanwhile."""
    client, worker = Connection(url), Connection(url)
    worker.send([[0, 0, "subscribe", ["quiet", {"limit": 100}]]])
    number = int(seconds * RATE_S)
    late: list[float] = []

    def serve() -> None:
        while len(late) < number:
            for kind, msgid, *params in worker.receive():
                if kind == 0:
                    late.append(time.time() * 1000 - params[1][0]["due_at_ms"])
                    worker.send([[1, msgid, None, None]])

    serving = threading.Thread(target=serve)
    serving.start()
    pings = []
    begin = time.time()
    for each in range(number):
        time.sleep(max(0.0, begin + each / RATE_S - time.time()))
        due_at_ms = int(time.time() * 1000) + AHEAD_MS
        client.ask("submit", {"func": "quiet", "name": f"{each}", "due_at_ms": due_at_ms})
        asked = time.perf_counter()
        client.ask("ping")
        pings.append((time.perf_counter() - asked) * 1000)
    serving.join()
    return late, pings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each flood in each round")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"python -m bench.fairness --seconds {options.seconds:g} --repeat {options.repeat}")
    print(machine.describe())
    late: dict[str, list[float]] = {how: [] for how in FLOODS}
    pings: dict[str, list[float]] = {how: [] for how in FLOODS}
    for each in range(options.repeat):
        for how in FLOODS if each % 2 == 0 else reversed(FLOODS):
            with (
                tempfile.TemporaryDirectory(prefix="bench-", dir=Path()) as name,
                Daemon(Path(name)) as running,
                flooding(how, running.url),
            ):
                told, round_trips = lateness(running.url, options.seconds)
            late[how] += told
            pings[how] += round_trips
    print(f"{'flood':10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'ping p50':>10}{'ping p99':>10}")
    for how in FLOODS:
        p50, p99 = statistics.median(late[how]), statistics.quantiles(late[how], n=100)[98]
        ping99 = statistics.quantiles(pings[how], n=100)[98]
        shown = (p50, p99, max(late[how]), statistics.median(pings[how]), ping99)
        print(f"{how:10}" + "".join(f"{value:>10.2f}" for value in shown), flush=True)
    alone = statistics.quantiles(late["alone"], n=100)[98]
    for how in FLOODS[1:]:
        more = statistics.quantiles(late[how], n=100)[98] - alone
        print(f"{how}: p99 {more:.1f} ms more than alone (bar {BAR_MS}: {'met' if more < BAR_MS else 'missed'})")


if __name__ == "__main__":
    main()
