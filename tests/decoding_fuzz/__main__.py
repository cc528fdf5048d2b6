"""``python -m tests.decoding_fuzz --hours 1 --seed S``: exit code 1 if something was found.

`--file F` tries one finding again.
"""

import logging
import sys
import tempfile
from functools import partial
from pathlib import Path
from random import SystemRandom

import click
import trio

from tests.decoding_fuzz.corpus import corpus
from tests.decoding_fuzz.run import again, run


@click.command()
@click.option("--hours", default=1.0, show_default=True)
@click.option("--seed", type=int, help="Where the dice start; without it they are thrown.")
@click.option(
    "--corpus", "folder", type=click.Path(path_type=Path, exists=True), help="Pictures beside the tests' own."
)
@click.option("--findings", type=click.Path(path_type=Path), help="Where findings are written; else a new folder.")
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Try this one alone.")
def main(hours: float, seed: int | None, folder: Path | None, findings: Path | None, file: Path | None) -> None:
    """Mutate pictures, have the real decoding children decode them, and look for what must not happen."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if file is not None:
        outcome = trio.run(again, file.read_bytes())
        click.echo(f"{outcome.ended} {outcome.fault} {outcome.detail}")
        sys.exit(bool(outcome.fault))
    seed = SystemRandom().randrange(2**32) if seed is None else seed
    findings = findings or Path(tempfile.mkdtemp(prefix="decoding-fuzz-"))
    findings.mkdir(parents=True, exist_ok=True)
    click.echo(f"seed {seed}, findings in {findings}")
    pictures = corpus(folder)
    click.echo(", ".join(f"{len(contents)} {kind}" for kind, contents in sorted(pictures.items())))
    tally = trio.run(partial(run, pictures, seed, findings, seconds=hours * 3600))
    click.echo("\n".join(tally.lines()))
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
