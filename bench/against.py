"""``make bench AGAINST=REV``: this checkout and another in turn, within one run: ratios that noise bends less.

The clients and workers are those of this checkout; only the daemon differs. So REV must speak the same protocol. What
the yardsticks are given to do is done with their raw clients, which take least of the machine for themselves; the
scenarios that only our library has are done with that.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from bench.ratios import Figures, compared, flat, medians
from bench.scenarios import Scenario
from bench.yardsticks.compare import beside, show
from bench.yardsticks.kinds import rev
from bench.yardsticks.periodicd import ROOT, of_tree
from bench.yardsticks.rounds import ROUNDS
from rig.daemon import Daemon


def compare(folder: Path, revision: str, scenarios: Sequence[Scenario], repeat: int) -> Figures:
    """Figures of this checkout, and ``vs_rev_*``: what they are of the other's, as medians of the paired rounds."""
    result: Figures = {}
    raw = {work.__name__ for work in ROUNDS}
    with checked_out(revision) as tree:
        for scenario in scenarios:
            if scenario.__name__ in raw:
                result |= beside([rev(tree)], folder, repeat, scenario.__name__)
                continue
            rounds = [(_run(scenario, folder, tree), _run(scenario, folder, ROOT)) for _ in range(repeat)]
            ours, theirs = [ours for _, ours in rounds], [theirs for theirs, _ in rounds]
            result |= medians(ours)
            ratios = compared("vs_rev", ours, theirs)
            show(ratios)
            result |= flat(ratios)
    return result


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with that revision, for as long as it is compared."""
    with tempfile.TemporaryDirectory(prefix="bench-rev-") as name:
        tree = Path(name) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", tree, revision], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def _run(scenario: Scenario, folder: Path, tree: Path) -> Figures:
    for old in folder.glob("periodic.db*"):
        old.unlink()
    with Daemon(folder, env=of_tree(tree)) as running:
        return trio.run(scenario, running)
