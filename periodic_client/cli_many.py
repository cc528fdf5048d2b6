"""What ``periodic`` does with many jobs at once: the number first, and the question whether so many are meant.

``--where`` is one grammar for all commands about jobs. Asks the daemon through what it is given, and knows no rule.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from periodic_client.cli_output import counting, show, show_json
from periodic_client.cli_values import Where
from periodic_client.streams import telling
from periodic_client.wire import limits

REFUSED = 1

Change = Callable[..., Awaitable[int]]
"""A method of Client, such as ``remove_matching``."""
Ask = Callable[[Callable[[Any], Awaitable[int]]], int]
"""Gives a client to what asks it something. Raises click's Exit if that fails, once it is told."""

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as JSON, with the keys of the protocol."
)

only_id = click.option(
    "--id",
    "id_",
    type=click.IntRange(min=1),
    metavar="ID",
    help="Only if the job has this id, which get and list show.",
)


def _as_query(_: click.Context, __: click.Parameter, said: tuple[tuple[str, str | int], ...]) -> dict[str, str | int]:
    query = dict(said)
    if len(query) < len(said):
        raise click.BadParameter("each key may be given once")
    return query


where = click.option(
    "--where",
    type=Where(),
    multiple=True,
    callback=_as_query,
    metavar="KEY=VALUE",
    help="Jobs to which this applies, and each other --where: func=NAME, state=waiting|running|behind|dead|parked,"
    " prefix=TEXT, with which the name begins, reason=TEXT, which is in the reason of the last failure,"
    " due_from=ISO8601, due_before=ISO8601, group_id=ID, of which group it is a member.",
)

ONE_OR_MANY = (
    click.argument("func", required=False),
    click.argument("names", nargs=-1, metavar="[NAME]..."),
    only_id,
    where,
    click.option("--all", "all_", is_flag=True, help="Every job, in place of --where."),
    click.option("--dry-run", is_flag=True, help="With --where: only print how many jobs that are."),
    click.option("--yes", is_flag=True, help="With --where: do not ask whether so many are meant."),
    as_json,
)


def one_or_many(command: Callable[..., None]) -> Callable[..., None]:
    """The parameters of what can be done with single jobs, and with all that a query means."""
    for parameter in reversed(ONE_OR_MANY):
        command = parameter(command)
    return command


def change_many(
    ask: Ask,
    change: Change,
    done: str,
    func: str | None,
    id_: int | None,
    *,
    where: dict[str, Any],
    all_: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    at_once: int = limits.MATCHED_MAX,
) -> bool:
    """Whether many were meant; then it is done. ``done``: the word for a job with which it was; ``at_once``: how many
    one request changes.
    """
    if not where and not all_:
        if dry_run or yes:
            raise click.UsageError("--dry-run and --yes go with --where or --all")
        return False
    if (where and all_) or func is not None or id_ is not None:
        raise click.UsageError("FUNC NAME..., --where and --all each say which jobs are meant; give one of them")
    can_ask = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not (dry_run or yes or can_ask):
        raise click.UsageError("nobody can be asked whether so many are meant: give --yes, or --dry-run to count them")
    query = where or {"all": True}
    count = ask(lambda client: change(client, dry_run=True, **query))
    if not dry_run and count:
        if not yes and not click.confirm(f"{count:,} jobs are to be {done}. Go on?", err=True):
            click.echo("periodic: nothing was changed", err=True)
            raise click.exceptions.Exit(REFUSED)
        count = _change(ask, change, done, query, count, at_once)
    with telling(f"{done}: {count}"):
        if as_json:
            show_json({"count": count})
        else:
            show(str(count) if dry_run else f"{done}: {count}")
    return True


def _change(ask: Ask, change: Change, done: str, query: dict[str, Any], expected: int, at_once: int) -> int:
    so_far = 0

    def note(count: int) -> None:
        nonlocal so_far
        so_far = count
        show_count(count)

    try:
        with counting(expected) as show_count:
            return ask(lambda client: change(client, progress=note, **query))
    except click.exceptions.Exit:
        click.echo(f"periodic: {so_far} were {done} before, and up to {at_once} more may have been", err=True)
        raise
