"""``make guard``: counts what a job of each load costs, shows the change, and makes the counts the new limits.

``--look`` changes nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.guard import inside, outside
from tests.guard.compare import LIMITS, Counts, read, write
from tests.guard.loads import LOADS, Load

TIMES = 3
"""Each is counted so often, and the least of it counts."""


def count(load: Load, folder: Path) -> Counts:
    found: list[Counts] = []
    for number in range(TIMES):
        places = folder / f"inside-{number}", folder / f"outside-{number}"
        for place in places:
            place.mkdir()
        found.append({**inside.count(load, places[0]), **outside.count(load, places[1])})
    return {what: min(counts[what] for counts in found) for what in found[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--look", action="store_true", help="leave the limits as they are")
    options = parser.parse_args()
    if not (options.look or inside.IS_PURE):
        print("the core is compiled, so calls cannot be counted; `make pure`, then `make guard`", file=sys.stderr)
        return 2
    limits = read()[0] if LIMITS.exists() else {}
    counted: dict[str, Counts] = {}
    for load in LOADS:
        with tempfile.TemporaryDirectory() as name:
            counted[load.name] = count(load, Path(name))
        for what, value in counted[load.name].items():
            limit = limits.get(load.name, {}).get(what)
            change = f"{(value / limit - 1) * 100:+.1f} %" if limit else "new"
            print(f"{load.name:20} {what:14} {value:12,.3f}  {change}", flush=True)
    if not options.look:
        write(counted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
