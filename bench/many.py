"""``python -m bench.many``: does a job cost the same in a crowd? The daemon's CPU for one, in rounds of the same shape.

2,000 idle connections, 500 that all submit, 10,000 functions, 1,000 workers on one function, each beside smaller
crowds. All of a table run in turn, and the figures are medians. Where the number of sockets that a round touches grows
with the crowd, a job costs more for that alone, up to the size of a round; beyond it the cost should stay.
"""

import argparse
import contextlib
import json
import resource
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.crowd import Crowd, connections, in_turn
from rig import machine
from rig.daemon import Daemon

ROUND = 100
"""Jobs at a time."""
WARM_UP_ROUNDS = 10

Setting = Callable[[Daemon, int], contextlib.AbstractContextManager[tuple[Crowd, list[str], int]]]
"""The crowd, its functions, and how many jobs make a round."""


@contextlib.contextmanager
def idle(running: Daemon, number: int) -> Iterator[tuple[Crowd, list[str], int]]:
    with connections(running, number), _served(running, 1, 1, ["f"]) as crowd:
        yield crowd, ["f"], ROUND


@contextlib.contextmanager
def busy(running: Daemon, number: int) -> Iterator[tuple[Crowd, list[str], int]]:
    """Each has one unanswered submit; a round is one of each."""
    with _served(running, number, 1, ["f"]) as crowd:
        yield crowd, ["f"], number


@contextlib.contextmanager
def functions(running: Daemon, number: int) -> Iterator[tuple[Crowd, list[str], int]]:
    """Ten workers share them."""
    funcs = [f"function-{each:05}" for each in range(number)]
    with _served(running, 1, 10, funcs) as crowd:
        yield crowd, funcs, ROUND


@contextlib.contextmanager
def workers(running: Daemon, number: int) -> Iterator[tuple[Crowd, list[str], int]]:
    with _served(running, 1, number, ["f"]) as crowd:
        yield crowd, ["f"], ROUND


@contextlib.contextmanager
def _served(running: Daemon, clients: int, serving: int, funcs: list[str]) -> Iterator[Crowd]:
    """Workers that have ten times the room that they need, each with its share of the functions."""
    with connections(running, clients) as submit, connections(running, serving) as perform:
        for number, each in enumerate(perform):
            for func in funcs if len(funcs) == 1 else funcs[number::serving]:
                each.ask("subscribe", func, {"limit": max(1, 10 * ROUND // serving)})
        crowd = Crowd(submit, perform)
        try:
            yield crowd
        finally:
            crowd.close()


TABLES: tuple[tuple[str, str, Setting, tuple[int, ...]], ...] = (
    ("idle", "idle connections beside one client and one worker", idle, (0, 500, 2000)),
    ("busy", "clients, each with one unanswered submit, and one worker", busy, (1, 10, 100, 500)),
    ("functions", "functions, ten workers", functions, (10, 100, 1000, 10_000)),
    ("workers", "workers on one function", workers, (1, 10, 100, 1000)),
)


def measure(setting: Setting, number: int, jobs: int, folder: Path) -> tuple[float, float]:
    """Microseconds of the daemon's CPU for a job, and its resident MB."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        Daemon(Path(name)) as running,
        setting(running, number) as (crowd, funcs, size),
    ):
        rounds = in_turn(funcs, size)
        for _ in range(WARM_UP_ROUNDS):
            crowd.round(next(rounds))
        before_s, done = running.cpu_s(), 0
        while done < jobs:
            crowd.round(next(rounds))
            done += size
        return (running.cpu_s() - before_s) / done * 1e6, running.rss_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, under stable keys")
    parser.add_argument("--only", metavar="NAME", choices=[key for key, *_ in TABLES], help="one of the tables")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--jobs", type=int, default=20_000, help="in each run (default: 20,000)")
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is used (default: this folder)")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(machine.describe())
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        for key, meaning, setting, numbers in TABLES:
            if options.only not in (None, key):
                continue
            print(f"\n{meaning:>58} {'CPU us a job':>14} {'resident MB':>12}")
            found = [
                [measure(setting, each, options.jobs, Path(name)) for each in numbers] for _ in range(options.repeat)
            ]
            for number, runs in zip(numbers, zip(*found, strict=True), strict=True):
                cpu_us, rss_mb = (statistics.median(values) for values in zip(*runs, strict=True))
                result |= {f"many_{key}_{number}_cpu_us": cpu_us, f"many_{key}_{number}_rss_mb": rss_mb}
                print(f"{number:58,} {cpu_us:14.1f} {rss_mb:12.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
