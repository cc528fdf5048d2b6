"""``python -m tests.crashloop --kills N --seed S``: exit code 1 and the offending records if a promise was broken."""

import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import SystemRandom
from typing import Any

import click

from bench import machine
from tests.crashloop.check import KINDS, Findings
from tests.crashloop.loop import Loop, LoopError

SHOWN = 20


def span(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, float]:
    try:
        begin, end = map(float, value.split(".."))
    except ValueError:
        raise click.BadParameter("two numbers, as in 0.1..1.2") from None
    return begin, end


def report(findings: Findings, folder: Path, seed: int, **more: Any) -> int:
    """Print the figures, and remove the folder if there is nothing to look for in it. Returns the exit code."""
    median_ms, worst_ms = machine.fsync_ms(folder)
    click.echo(f"{time.strftime('%Y-%m-%d')}, {machine.describe()}")
    click.echo(f"fsync {median_ms:.2f} ms median, {worst_ms:.2f} ms 99th percentile; seed {seed}")
    broken = Counter(violation.kind for violation in findings.violations)
    for name, value in (more | findings.figures | {kind: broken[kind] for kind in KINDS}).items():
        click.echo(f"{name.replace('_', ' '):>28} {value:>9,}")
    for violation in findings.violations[:SHOWN]:
        click.echo(str(violation))
    if not findings.violations:
        shutil.rmtree(folder)
        return 0
    click.echo(f"seed {seed}; the records are in {folder}")
    return 1


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
