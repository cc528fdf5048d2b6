"""``python -m tests.power --cuts N --seed S``: exit code 1 and the offending records if a promise was broken."""

import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from random import SystemRandom

import click

from tests.crashloop.loop import Loop, LoopError
from tests.crashloop.report import report, span
from tests.power.mount import PowerDisk


@click.command()
@click.option("--cuts", default=50, show_default=True, help="How often the power goes.")
@click.option("--seed", type=int, help="Where the dice start; without it they are thrown.")
@click.option("--seconds-between", default="0.3..2", show_default=True, callback=span, help="Life between two cuts.")
@click.option("--durability", default="full", show_default=True, help="With relaxed it must lose: exit code 1.")
def main(cuts: int, seed: int | None, seconds_between: tuple[float, float], durability: str) -> None:
    """Cut the power under load again and again, and count what the daemon acknowledged and lost."""
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


if __name__ == "__main__":
    main()
