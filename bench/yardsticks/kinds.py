"""The servers by name."""

from pathlib import Path

from bench.yardsticks import Yardstick, beanstalkd, gearmand, periodicd

OURS = periodicd.of()
OTHERS = (beanstalkd.YARDSTICK, gearmand.YARDSTICK, gearmand.AHEAD)


def rev(tree: Path) -> Yardstick:
    """The daemon of another checkout."""
    return periodicd.of(tree, "rev")


WORKERS: dict[str, Yardstick] = {each.name: each for each in (OURS, *OTHERS, rev(Path()))}
"""For a worker's process, which knows the name only and starts no server."""
