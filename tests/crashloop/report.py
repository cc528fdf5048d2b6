"""What a crash loop and its power cuts say at their end, and the option that they share."""

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from rig import machine
from tests.crashloop.check import KINDS, Findings

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
