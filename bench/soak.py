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

from bench.flat import Bound, Sample, TooFew, Verdict, judge
from bench.mixed import Mixed
from bench.plot import Chart, svg
from rig import machine
from rig.daemon import Daemon

EVERY_S = 5.0
WARM_UP_S = 900.0
"""At the longest; a quarter of a shorter run. The backlog grows to what it will be, SQLite's pages fill their share of
memory, 20,000 functions of jobs are remembered, and the C library's heap gets its holes."""
TIMER_S = 0.05
BOUNDS = (
    Bound("rss_mb", "resident memory, MB", 0.03, 1.0),
    Bound("descriptors", "open descriptors", 0.0, 1.0),
    Bound("store_mb", "store with its WAL, MB", 0.05, 2.0),
    Bound("late_p50_ms", "lateness, p50, ms", 0.25, 1.0),
    Bound("late_p99_ms", "lateness, p99, ms", 0.25, 10.0),
    Bound("cpu_us_per_run", "the daemon's CPU for a run and what goes with it, us", 0.15, 0.0),
)
CHARTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("resident memory, MB", (("", "rss_mb"),)),
    ("open descriptors", (("", "descriptors"),)),
    ("store with its WAL, MB", (("", "store_mb"),)),
    ("lateness, ms", (("p50", "late_p50_ms"), ("p99", "late_p99_ms"))),
    ("how late a bare timer is meanwhile, ms", (("p50", "timer_p50_ms"), ("p99", "timer_p99_ms"))),
    ("the daemon's CPU for a run and what goes with it, us", (("", "cpu_us_per_run"),)),
)


def warm_up_s(samples: Sequence[Sample]) -> float:
    return min(WARM_UP_S, samples[-1]["s"] / 4) if samples else 0.0


async def _timer(late_ms: list[float]) -> None:
    """What the machine does to anybody who waits for a moment: without it growing lateness could be anyone's doing."""
    while True:
        due_s = trio.current_time() + TIMER_S
        await trio.sleep_until(due_s)
        late_ms.append((trio.current_time() - due_s) * 1000)


def _percentiles(key: str, values: list[float]) -> Sample:
    """And forget them."""
    found = {f"{key}_p{percent}_ms": machine.percentile(values or [0.0], percent) for percent in (50, 99)}
    values.clear()
    return found


async def soak(running: Daemon, hours: float, output: Path, acts_s: float, seed: int) -> None:
    """The load, and a line of ``output`` for each moment that was looked at."""
    mixed = Mixed(running.url, acts_s, seed)
    timer_ms: list[float] = []
    begin_s, end_s = time.monotonic(), time.monotonic() + hours * 3600
    with output.open("w") as file:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mixed.run)
            nursery.start_soon(_timer, timer_ms)
            runs, cpu_s = 0, running.cpu_s()
            while (now_s := time.monotonic()) < end_s:
                await trio.sleep(min(EVERY_S, end_s - now_s))
                sample = {
                    "s": round(time.monotonic() - begin_s, 1),
                    "rss_mb": running.rss_mb(),
                    "descriptors": running.descriptors(),
                    "store_mb": sum(path.stat().st_size for path in running.store.parent.glob("periodic.db*")) / 1e6,
                    **_percentiles("late", mixed.late_ms),
                    **_percentiles("timer", timer_ms),
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
    """What was sampled, as one SVG."""
    charts = [
        Chart(title, [(name, [sample[key] for sample in samples]) for name, key in lines])
        for title, lines in CHARTS
        if all(key in samples[0] for _, key in lines)
    ]
    return svg([sample["s"] / 60 for sample in samples], charts)


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
