"""Commands about the store's file: ``periodicd backup``, ``restore`` and ``check``. They start no daemon."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from periodicd.config import IN_MEMORY, Config
from periodicd.store import StoreError
from periodicd.store.check import Checked, Finding
from periodicd.store.check import check as check_store
from periodicd.store.check import repair as repair_store
from periodicd.store.copies import backup as write_backup
from periodicd.store.copies import restore as put_back

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_STORE = 3


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def backup(context: click.Context, file: Path) -> None:
    """Copy the store to FILE, beside a daemon that works or without one.

    The copy is what was on disk at one moment, in one file that only you can read. It holds nobody up; the daemon's
    -wal grows until it is made. FILE must not be there.
    """
    try:
        size = write_backup(_store(context), file)
    except StoreError as error:
        fail(EXIT_STORE, str(error))
    click.echo(f"{file}: {size:,} bytes", file=sys.stdout)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def restore(context: click.Context, file: Path) -> None:
    """Put the copy FILE in the place of the store, while no daemon has it.

    What was there stays beside it under another name. Ids, run numbers and boots go on above all that it ever gave out,
    so none is used twice.
    """
    store = _store(context)
    try:
        restored = put_back(file, store)
    except StoreError as error:
        fail(EXIT_STORE, str(error))
    click.echo(f"{store}: {restored.jobs:,} jobs of {file}", file=sys.stdout)
    if restored.replaced is not None:
        click.echo(f"what was there is {restored.replaced} now", file=sys.stdout)
    if not restored.are_known:
        text = "which ids were given out since the copy was made is not known, so a thousand million are passed over"
        click.echo(text, file=sys.stdout)


@click.command()
@click.argument("store", required=False, type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Mend what can be, after a copy was made; while no daemon has the store.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(context: click.Context, store: Path | None, repair: bool, as_json: bool) -> None:
    """See whether a store is whole: the file, and what must hold between its rows.

    Without STORE it is the one that is configured. Exit code 0: it is, or all was mended; 1: something is wrong; 3: it
    cannot be looked at.
    """
    store = store or _store(context)
    try:
        checked = repair_store(store) if repair else check_store(store)
    except StoreError as error:
        fail(EXIT_STORE, str(error))
    if as_json:
        click.echo(json.dumps(_as_map(store, checked)), file=sys.stdout)
    else:
        _show(store, checked, repair)
    left = [finding for finding in checked.findings if not repair or finding.mend is None]
    context.exit(EXIT_FOUND if left else 0)


def _as_map(store: Path, checked: Checked) -> dict[str, Any]:
    return {
        "store": str(store),
        "jobs": checked.jobs,
        "findings": [finding._asdict() for finding in checked.findings],
        "copy": None if checked.copy is None else str(checked.copy),
    }


def _show(store: Path, checked: Checked, repaired: bool) -> None:
    for finding in checked.findings:
        click.echo(_sentence(finding, repaired), file=sys.stdout)
    if checked.copy is not None:
        click.echo(f"what it was before is {checked.copy}", file=sys.stdout)
    if not checked.findings:
        click.echo(f"{store}: {checked.jobs:,} jobs, all whole", file=sys.stdout)


def _sentence(finding: Finding, repaired: bool) -> str:
    ids = ", ".join(map(str, finding.ids)) + (", ..." if finding.found > len(finding.ids) else "")
    which = f" (ids {ids})" if ids else ""
    if finding.mend is None:
        return f"{finding.found:,} {finding.what}{which}: not mended; restore a backup"
    return f"{finding.found:,} {finding.what}{which}: " + (finding.mend if repaired else f"--repair: {finding.mend}")


def _store(context: click.Context) -> Path:
    values: Config = context.obj()[0]
    if values.store == IN_MEMORY:
        fail(EXIT_USAGE, "the store is in memory, and has no file; name one with --store before the command")
    return Path(values.store)


def fail(code: int, message: str) -> NoReturn:
    """Ends a command with a message, before it is known how to log."""
    click.echo(f"periodicd: {message}", err=True)
    sys.exit(code)
