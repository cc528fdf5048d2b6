"""A few hundred short lives in ``make test``; ``make sim`` for as long as one likes."""

import pytest

from tests.sim.world import run

SEEDS = 300
STEPS = 400


@pytest.mark.parametrize("block", range(10))
def test_the_promises_hold(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        run(seed, STEPS)


def test_the_same_seed_gives_the_same_trace() -> None:
    assert run(7, 1_000).trace.hexdigest() == run(7, 1_000).trace.hexdigest()
    assert run(7, 1_000).trace.hexdigest() != run(8, 1_000).trace.hexdigest()


def test_something_happens() -> None:
    """The promises would hold in an empty world too."""
    worlds = [run(seed, 1_500) for seed in range(10)]
    assert sum(world.lives for world in worlds) > 50
    assert sum(version.runs for world in worlds for version in world.book.versions.values()) > 300
    assert sum(version.finished for world in worlds for version in world.book.versions.values()) > 50
    assert sum(world.book.orphans for world in worlds) > 10
