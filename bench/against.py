"""``make bench AGAINST=REV``: this checkout and another in turn, within one run: ratios that noise bends less.

The clients and workers are those of this checkout; only the daemon differs. So REV must speak the same protocol.
"""

import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from bench.scenarios import Figures, Scenario
from rig.daemon import Daemon

ROOT = Path(__file__).parent.parent


def compare(folder: Path, revision: str, scenarios: Sequence[Scenario], repeat: int) -> Figures:
    """Figures of this checkout, and ``vs_rev_*``: what they are of the other's, as medians of the paired rounds."""
    result: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-rev-") as name:
        other = Path(name) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", other, revision], cwd=ROOT, check=True)
        try:
            for scenario in scenarios:
                rounds = [(_run(scenario, folder, other), _run(scenario, folder, ROOT)) for _ in range(repeat)]
                for key in rounds[0][1]:
                    ratio = statistics.median(ours[key] / theirs[key] for theirs, ours in rounds if theirs[key])
                    result |= {key: statistics.median(ours[key] for _, ours in rounds), f"vs_rev_{key}": ratio}
                    print(f"{key:28} {result[key]:12,.2f}  {ratio:5.2f} of {revision}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", other], cwd=ROOT, check=True)
    return result


def _run(scenario: Scenario, folder: Path, tree: Path) -> Figures:
    for old in folder.glob("periodic.db*"):
        old.unlink()
    with Daemon(folder, env={"PYTHONPATH": os.fspath(tree)}) as running:
        return trio.run(scenario, running)
