"""A few hundred short lives in ``make test``; ``make sim`` for as long as one likes."""

from collections import Counter

import pytest

from periodicd.methods import METHODS
from tests.sim.world import run

SEEDS = 300
STEPS = 400
EXCUSED = {"shutdown"}
"""It ends the daemon, which is its owner's part: a world has crashes instead, and tests/daemon has the real end."""


@pytest.mark.parametrize("block", range(10))
def test_the_promises_hold(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        run(seed, STEPS)


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run(7, 1_000).trace.hexdigest() == run(7, 1_000).trace.hexdigest()
    assert run(7, 1_000).trace.hexdigest() != run(8, 1_000).trace.hexdigest()


def test_something_happens() -> None:
    """The promises would hold in an empty world too. A method that nobody asks for lacks an act in actors.py."""
    worlds = [run(seed, 1_500) for seed in range(10)]
    assert sum(world.lives for world in worlds) > 50
    assert sum(version.runs for world in worlds for version in world.book.versions.values()) > 300
    assert sum(version.finished for world in worlds for version in world.book.versions.values()) > 50
    assert sum(world.book.orphans for world in worlds) > 10
    assert sum(world.pings_during_commits for world in worlds) > 100
    answers = sum((world.book.answers for world in worlds), Counter[tuple[str, bool]]())
    assert set(METHODS) - EXCUSED == {method for method in METHODS if answers[method, True]}
