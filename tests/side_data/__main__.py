"""The command: python -m tests.side_data --mutations 10000 --seed 1."""

import argparse
import logging
import sys
import time

from tests.side_data.mutations import FORMATS, fault


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.side_data", description="Pictures whose side data are broken."
    )
    parser.add_argument("--mutations", type=int, default=10_000, help="of each format; default: %(default)s")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="default: another one each time")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    faults = 0
    for kind in FORMATS:
        found = [
            (seed, what)
            for seed in range(options.seed, options.seed + options.mutations)
            if (what := fault(kind, seed)) is not None
        ]
        for seed, what in found[:20]:
            logging.info("%s, seed %d: %s", kind, seed, what)
        logging.info("%s: %d mutations, %d faults", kind, options.mutations, len(found))
        faults += len(found)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
