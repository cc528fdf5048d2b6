"""``make bench``: what the daemon does in a second, on this machine, every job synced to disk before its answer.

Each scenario runs alternately on an empty store and on one with a million jobs waiting for next week; the figures are
medians. The disk's fsync time is measured in the same minutes, because most figures hang on it.

Those figures are of the moment: another program on the machine halves them. So ratios follow, of work done in turn
within the run: ``cpu_ratio`` and ``latency_ratio`` (bare.py), ``vs_beanstalkd_*`` and ``vs_gearmand_*`` (yardsticks/);
with ``--against`` there are ``vs_rev_*`` and nothing else (against.py). Each is the median of its rounds, with the
lowest and the highest under the keys ``..._low`` and ``..._high``, and is printed beside its bar, if it has one
(ratios.py). The machine, the interpreter and whether the core is compiled come first.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import trio

from bench.against import compare
from bench.bare import beside_bare
from bench.costs import costs
from bench.ratios import Figures, Ratio, compared, flat, medians, verdict
from bench.scenarios import SCENARIOS, Scenario, fill, first_answer
from bench.yardsticks.compare import beside, installed
from rig import machine
from rig.daemon import Daemon

RATIOS = "ratios"


def run(scenario: Scenario, folder: Path, fresh: bool) -> Figures:
    if fresh:
        for old in folder.glob("periodic.db*"):
            old.unlink()
    with Daemon(folder) as running:
        return trio.run(scenario, running)


def show(figures: Figures, note: str = "") -> None:
    for key, value in figures.items():
        said = note or verdict(key, value, machine.is_compiled())
        print(f"{key:28} {value:12,.2f}  {said}".rstrip(), flush=True)


def prepare_backlog(folder: Path, number: int) -> Figures:
    """Fill the store, and look at a daemon that starts on it."""
    with Daemon(folder) as running:
        begin = time.perf_counter()
        trio.run(fill, running, number)
        rate = number / (time.perf_counter() - begin)
    disk = sum(path.stat().st_size for path in folder.glob("periodic.db*"))
    ready_s = []
    for _ in range(3):
        begin = time.perf_counter()
        with Daemon(folder) as running:
            trio.run(first_answer, running)
            ready_s.append(time.perf_counter() - begin)
            rss_mb = running.rss_mb()
    return {
        "backlog_fill_s": rate,
        "backlog_disk_bytes_per_job": disk / number,
        "backlog_ready_s": statistics.median(ready_s),
        "backlog_rss_mb": rss_mb,
    }


def ratios(folder: Path, options: argparse.Namespace) -> Figures:
    """What a busy machine bends least: ours beside the bare work, and beside other servers."""
    return beside_bare(folder, options.repeat) | beside(installed(), folder, options.repeat)


def measure(folder: Path, options: argparse.Namespace) -> Figures:
    plain, loaded = folder / "plain", folder / "backlog"
    result: Figures = {}
    fsyncs: list[tuple[float, float]] = []
    for each in (plain, loaded):
        each.mkdir()
    if options.backlog:
        result |= prepare_backlog(loaded, options.backlog)
        show(result, f"{options.backlog:,} jobs waiting for next week")
    if options.only is None:
        costs_folder = folder / "costs"
        costs_folder.mkdir()
        figures = costs(costs_folder)
        show(figures)
        result |= figures
    beside_empty: dict[str, Ratio] = {}
    for scenario in SCENARIOS:
        if options.only not in (None, scenario.__name__):
            continue
        runs, loaded_runs = [], []
        for _ in range(options.repeat):
            runs.append(run(scenario, plain, fresh=True))
            if options.backlog:
                loaded_runs.append(run(scenario, loaded, fresh=False))
            fsyncs.append(machine.fsync_ms(folder))
        figures = medians(runs)
        show(figures)
        result |= figures
        if options.backlog:
            figures = {f"backlog_{key}": value for key, value in medians(loaded_runs).items()}
            show(figures, "with the backlog")
            result |= figures
            rates = [{key: value for key, value in each.items() if key.endswith("_s")} for each in runs]
            beside_empty |= compared("backlog_ratio", loaded_runs, rates)
    if beside_empty:
        result |= flat(beside_empty) | {"backlog_ratio_min": min(ratio.median for ratio in beside_empty.values())}
    result["fsync_p50_ms"] = statistics.median(p50 for p50, _ in fsyncs)
    result["fsync_p99_ms"] = statistics.median(p99 for _, p99 in fsyncs)
    show({key: result[key] for key in ("backlog_ratio_min", "fsync_p50_ms", "fsync_p99_ms") if key in result})
    return result if options.only else result | ratios(folder, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, under stable keys")
    names = [each.__name__ for each in SCENARIOS]
    parser.add_argument("--only", choices=[*names, RATIOS], metavar="NAME", help=f"run one scenario, or {RATIOS}")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run (default: 3)")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="jobs waiting for next week (0: leave that out)")
    parser.add_argument("--against", metavar="REV", help="compare with another revision, in turn, and do nothing else")
    parser.add_argument("--folder", type=Path, default=Path(), help="whose disk is measured (default: this folder)")
    options = parser.parse_args()
    if options.against and options.only == RATIOS:
        parser.error("--against prints ratios of every scenario; --only names one")
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        if options.against:
            chosen = [each for each in SCENARIOS if options.only in (None, each.__name__)]
            result = compare(Path(name), options.against, chosen, options.repeat)
        elif options.only == RATIOS:
            result = ratios(Path(name), options)
        else:
            result = measure(Path(name), options)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe()} | result, indent=2) + "\n")


if __name__ == "__main__":
    main()
