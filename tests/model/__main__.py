"""``python -m tests.model``: the real daemon against the oracle, for as many examples as one likes."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from rig.daemon import Daemon
from tests.model.machine import run

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--examples", type=int, default=300)
parser.add_argument("--steps", type=int, default=60)
options = parser.parse_args()
with TemporaryDirectory() as folder, Daemon(Path(folder), "--drain", "0") as daemon:
    run(daemon, options.examples, options.steps)
print(f"{options.examples} examples of up to {options.steps} steps: the daemon did what the rules say")
