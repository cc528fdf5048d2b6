"""``python -m tests.crashloop --kills N --seed S``: exit code 1 and the offending records if a promise was broken."""

import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

import click

from tests.crashloop.loop import Loop, LoopError
from tests.crashloop.report import report, span


@click.command()
@click.option("--kills", default=300, show_default=True, help="How often the daemon is killed.")
@click.option("--seed", type=int, help="Where the dice start; without it they are thrown.")
@click.option("--seconds-between", default="0.1..1.2", show_default=True, callback=span, help="Life between two kills.")
def main(kills: int, seed: int | None, seconds_between: tuple[float, float]) -> None:
    """Kill the daemon under load again and again, and count what it acknowledged and lost."""
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="crashloop-"))
    begin_s = time.monotonic()
    try:
        findings = Loop(folder, folder, seed, seconds_between).run(kills)
    except LoopError as error:
        click.echo(f"{error} (seed {seed})", err=True)
        sys.exit(2)
    sys.exit(report(findings, folder, seed, kills=kills, seconds=round(time.monotonic() - begin_s)))


if __name__ == "__main__":
    main()
