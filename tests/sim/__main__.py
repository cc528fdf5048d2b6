"""``make sim SEED=... STEPS=...``: as many seeds as one likes, or one seed again.

Without SEED: seeds from the clock on, until interrupted or for SECONDS. A failure prints the command that replays it.
"""

import argparse
import sys
import time
import traceback

from tests.sim.world import run, shortest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--from", type=int, dest="first", help="the first seed, for --seeds (default: from the clock)")
    parser.add_argument("--seeds", type=int, help="so many, instead of --seconds")
    options = parser.parse_args()
    first = next(seed for seed in (options.seed, options.first, time.time_ns() % 10**9) if seed is not None)
    count = 1 if options.seed is not None else options.seeds
    print(f"from seed {first}, {options.steps} steps each", flush=True)
    begin, seeds, lives, runs, orphans = time.monotonic(), 0, 0, 0, 0
    while seeds < count if count is not None else time.monotonic() - begin < options.seconds:
        seed = first + seeds
        try:
            world = run(seed, options.steps)
        except Exception:
            traceback.print_exc()
            steps = shortest(seed, options.steps)
            print(f"replay: make sim SEED={seed} STEPS={steps}", flush=True)
            return 1
        seeds += 1
        lives += world.lives
        runs += sum(version.runs for version in world.book.versions.values())
        orphans += world.book.orphans
        if options.seed is not None:
            print(f"trace {world.trace.hexdigest()}")
    print(f"{seeds} seeds, {lives} lives of the daemon, {runs} runs, {orphans} late reports refused: all promises held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
