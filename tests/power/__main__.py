"""``python -m tests.power --cuts N --seed S``: exit code 1 and the offending records if a promise was broken.

``python -m tests.power --slow-ms 100``: no cuts, but a disk whose syncs take so long.
"""

import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from random import SystemRandom

import click

from rig import machine
from tests.crashloop.loop import Loop, LoopError
from tests.crashloop.report import report, span
from tests.power import slow
from tests.power.mount import PowerDisk

SLOW_SUBMITS = 1_000


@click.command()
@click.option("--cuts", default=50, show_default=True, help="How often the power goes.")
@click.option("--seed", type=int, help="Where the dice start; without it they are thrown.")
@click.option("--seconds-between", default="0.3..2", show_default=True, callback=span, help="Life between two cuts.")
@click.option("--durability", default="full", show_default=True, help="With relaxed it must lose: exit code 1.")
@click.option("--slow-ms", type=click.IntRange(1), help="No cuts: each sync takes so long, and who waits is counted.")
def main(
    cuts: int, seed: int | None, seconds_between: tuple[float, float], durability: str, slow_ms: int | None
) -> None:
    """Cut the power under load again and again, and count what the daemon acknowledged and lost."""
    if slow_ms is not None:
        sys.exit(be_slow(slow_ms))
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="power-"))
    begin_s = time.monotonic()
    number = count()
    with PowerDisk(folder / "disk") as disk:
        loop = Loop(
            folder,
            disk.folder,
            seed,
            seconds_between,
            lambda: disk.cut(f"{seed}-{next(number)}"),
            ("--durability", durability),
        )
        try:
            findings = loop.run(cuts)
        except LoopError as error:
            click.echo(f"{error} (seed {seed})", err=True)
            sys.exit(2)
    sys.exit(report(findings, folder, seed, cuts=cuts, seconds=round(time.monotonic() - begin_s)))


def be_slow(slow_ms: int) -> int:
    """Print what was seen, and what is wrong about it. Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, PowerDisk(Path(folder) / "disk") as disk:
        seen = slow.run(disk, slow_ms, SLOW_SUBMITS)
    click.echo(f"{time.strftime('%Y-%m-%d')}, {machine.describe()}; each sync takes {slow_ms} ms")
    for name, value in seen._asdict().items():
        click.echo(f"{name.replace('_', ' '):>28} {value:>9,}")
    faults = list(seen.faults())
    for fault in faults:
        click.echo(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    main()
