"""``make soak HOURS=``: does anything of the daemon grow while it serves a steady mixed load for hours?

Each few seconds memory, descriptors, file size, lateness and the CPU for a run are sampled, and written to a file at
once, so that a soak that is cut short has told what it saw. At the end the first third is compared with the last
(flat.py); exit code 1 if anything grew. ``--from FILE`` judges and draws what was sampled before, and runs nothing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from bench import machine
from bench.daemon import Daemon
from bench.flat import Bound, Sample, TooFew, Verdict, judge
from bench.mixed import Mixed
from bench.plot import Chart, svg

EVERY_S = 5.0
WARM_UP_S = 180.0
"""At the longest; a tenth of a shorter run. So long the backlog grows to what it will be."""
BOUNDS = (
    Bound("rss_mb", "resident memory, MB", 0.03, 1.0),
    Bound("descriptors", "open descriptors", 0.0, 1.0),
    Bound("store_mb", "store with its WAL, MB", 0.05, 2.0),
    Bound("late_p50_ms", "lateness, p50, ms", 0.25, 1.0),
    Bound("late_p99_ms", "lateness, p99, ms", 0.25, 10.0),
    Bound("cpu_us_per_run", "the daemon's CPU for a run and what goes with it, us", 0.15, 0.0),
)


def warm_up_s(samples: Sequence[Sample]) -> float:
    return min(WARM_UP_S, samples[-1]["s"] / 10) if samples else 0.0


async def soak(running: Daemon, hours: float, output: Path, acts_s: float, seed: int) -> None:
    """The load, and a line of ``output`` for each moment that was looked at."""
    mixed = Mixed(running.url, acts_s, seed)
    begin_s, end_s = time.monotonic(), time.monotonic() + hours * 3600
    with output.open("w") as file:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mixed.run)
            runs, cpu_s = 0, running.cpu_s()
            while (now_s := time.monotonic()) < end_s:
                await trio.sleep(min(EVERY_S, end_s - now_s))
                late_ms = mixed.take_late_ms()
                sample = {
                    "s": round(time.monotonic() - begin_s, 1),
                    "rss_mb": running.rss_mb(),
                    "descriptors": running.descriptors(),
                    "store_mb": sum(path.stat().st_size for path in running.store.parent.glob("periodic.db*")) / 1e6,
                    "late_p50_ms": machine.percentile(late_ms, 50) if late_ms else 0.0,
                    "late_p99_ms": machine.percentile(late_ms, 99) if late_ms else 0.0,
                    "runs": mixed.runs - runs,
                    "cpu_us_per_run": (running.cpu_s() - cpu_s) / max(1, mixed.runs - runs) * 1e6,
                }
                runs, cpu_s = mixed.runs, running.cpu_s()
                file.write(json.dumps(sample) + "\n")
                file.flush()
            nursery.cancel_scope.cancel()


def read(path: Path) -> list[Sample]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def draw(samples: Sequence[Sample]) -> str:
    def line(key: str) -> list[float]:
        return [sample[key] for sample in samples]

    return svg(
        [sample["s"] / 60 for sample in samples],
        [
            Chart("resident memory, MB", [("", line("rss_mb"))]),
            Chart("open descriptors", [("", line("descriptors"))]),
            Chart("store with its WAL, MB", [("", line("store_mb"))]),
            Chart("lateness, ms", [("p50", line("late_p50_ms")), ("p99", line("late_p99_ms"))]),
            Chart("the daemon's CPU for a run and what goes with it, us", [("", line("cpu_us_per_run"))]),
        ],
    )


def show(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> None:
    print(f"{samples[-1]['s'] / 3600:.2f} h, {sum(sample['runs'] for sample in samples):,.0f} runs")
    print(f"{'':54} {'first third':>12} {'last third':>12}")
    for bound, first, last in verdicts:
        grown = "" if Verdict(bound, first, last).is_flat else "  GREW"
        print(f"{bound.meaning:54} {first:12,.2f} {last:12,.2f}{grown}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--acts", type=float, default=50, metavar="N", help="acts of the load a second (default: 50)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("soak.jsonl"), help="where the samples go")
    parser.add_argument("--from", type=Path, dest="earlier", metavar="FILE", help="samples of an earlier soak")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them there")
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is used (default: this folder)")
    options = parser.parse_args()
    if options.earlier is None:
        print(machine.describe(), flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name, Daemon(Path(name)) as running:
            trio.run(soak, running, options.hours, options.output, options.acts, options.seed)
    samples = read(options.earlier or options.output)
    if options.svg and samples:
        options.svg.write_text(draw(samples))
    try:
        verdicts = judge(samples, BOUNDS, warm_up_s(samples))
    except TooFew as error:
        print(error, file=sys.stderr)
        return 2
    show(samples, verdicts)
    return 0 if all(verdict.is_flat for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
