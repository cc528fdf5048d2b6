"""Commands of ``periodic`` about dead jobs: dead, which says what they died of; requeue, which gives them a new life.

A mass requeue is spread by this side: the daemon knows of none, and what it was not asked for yet is dead as before.
"""

from functools import partial
from typing import Any

import click
import trio

from periodic_client.cli_many import as_json, change_many, one_or_many
from periodic_client.cli_output import DEAD_COLUMNS, show_json, show_table
from periodic_client.cli_target import Target, for_each_name
from periodic_client.cli_values import Duration
from periodic_client.client import Client
from periodic_client.dead_groups import DeadGroups
from periodic_client.wire import limits


@click.command()
@click.option("--func", help="Only those of this function.")
@as_json
@click.pass_obj
def dead(target: Target, func: str | None, as_json: bool) -> None:
    """Show what the dead jobs died of: how many of each function and reason, the most first, and one of each.

    Reasons are told apart by their first line, digits made alike: "no such file: #.jpg".
    """

    async def grouped(client: Client) -> DeadGroups:
        groups = DeadGroups()
        async for job in client.list(func, "dead"):
            groups.add(job)
        return groups

    found = target.ask(grouped)
    if as_json:
        show_json({"count": found.count, "groups": found.by_count(), "others": found.others})
        return
    show_table(DEAD_COLUMNS, found.by_count())
    if found.others:
        click.echo(f"and {found.others:,} of other reasons", err=True)


@click.command()
@one_or_many
@click.option(
    "--every",
    "every_ms",
    type=Duration(),
    help="With --where: one after the other, each so long after the one before; this takes so long, and may be"
    " interrupted: the rest are dead as before.",
)
@click.pass_obj
def requeue(
    target: Target, /, func: str | None, names: tuple[str, ...], id_: int | None, every_ms: int | None, **many: Any
) -> None:
    """Give dead jobs a new life, due now: FUNC NAME..., or many with --where."""
    if every_ms is not None and not (many["where"] or many["all_"]):
        raise click.UsageError("--every goes with --where or --all")
    change = Client.requeue_matching if every_ms is None else partial(_one_by_one, every_ms)
    at_once = limits.MATCHED_MAX if every_ms is None else 1
    if not change_many(target.ask, change, "requeued", func, id_, at_once=at_once, **many):
        for_each_name(target, Client.requeue, func, names, id_, many["as_json"])


async def _one_by_one(
    every_ms: int, client: Client, *, dry_run: bool = False, progress: Any = None, **query: Any
) -> int:
    """As ``requeue_matching``, but so long apart. What dies again meanwhile is left alone."""
    if dry_run:
        return await client.requeue_matching(dry_run=True, **query)
    begun_at_ms = (await client.hello())["now_at_ms"]
    which = {key: value for key, value in query.items() if key not in ("all", "state", "func")}
    count, next_s = 0, trio.current_time()
    async for job in client.list(query.get("func"), "dead", **which):
        if (job["ended_at_ms"] or 0) > begun_at_ms:
            continue
        await trio.sleep_until(next_s)
        if await client.requeue(job["func"], job["name"], id=job["id"]) == "requeued":
            count += 1
            progress(count)
            # After a wait for the daemon none is made up for: they would come at once.
            next_s = max(next_s + every_ms / 1000, trio.current_time())
    return count
