"""Commands of ``periodic`` about locks: lock set and show, locks."""

from typing import Any

import click

from periodic_client.cli_many import as_json
from periodic_client.cli_output import HOLDER_COLUMNS, LOCK_COLUMNS, show, show_json, show_map, show_table
from periodic_client.cli_target import ABSENT, Target, one_named, show_before, stop
from periodic_client.cli_values import RateValue
from periodic_client.client import Client, LockMap
from periodic_client.outcomes import Rate

SETTINGS = ("capacity", "rate")


@click.group()
def lock() -> None:
    """What is set of a lock: how much of it can be held at once, and how often it is taken."""


@lock.command("set")
@click.argument("name")
@click.option("--capacity", type=int, help="How much of it can be held at once, by all runs.  [default: 1]")
@click.option("--rate", type=RateValue(), metavar="N/DURATION", help="How often it is taken, as in 10/1s.")
@as_json
@click.pass_obj
def set_(target: Target, /, name: str, capacity: int | None, rate: Rate | None, as_json: bool) -> None:
    """Set all of it anew: what is not given is not set any more. Without options nothing is.

    What is held goes on being held, also if it is more than the capacity now. Prints what was set before.
    """

    async def set_and_tell(client: Client) -> dict[str, Any]:
        found = await _one(client, name)
        await client.set_lock(name, capacity=capacity, rate=rate)
        # One of which nothing is set is as if it were set like this.
        return {key: found[key] for key in SETTINGS} if found else {"capacity": 1, "rate": None}

    show_before(name, target.ask(set_and_tell), as_json)


@lock.command("show")
@click.argument("name")
@as_json
@click.pass_obj
def show_(target: Target, name: str, as_json: bool) -> None:
    """Show a lock: what is set of it, how many stand in line, and who holds it (the first 10)."""
    found = target.ask(lambda client: _one(client, name))
    if as_json:
        show_json(found)
    if found is None:
        stop(ABSENT, f"there is no lock {name}: nobody holds it or waits for it, and nothing is set")
    if as_json:
        return
    show_map({key: value for key, value in found.items() if key != "holders"})
    if found["holders"]:
        show("")
        show_table(HOLDER_COLUMNS, found["holders"])


@click.command()
@click.option("--prefix", help="Locks only whose name begins so.")
@as_json
@click.pass_obj
def locks(target: Target, prefix: str | None, as_json: bool) -> None:
    """Show the locks that somebody holds or waits for, or of which something is set."""

    async def all_of_them(client: Client) -> list[LockMap]:
        return [lock async for lock in client.locks(prefix)]

    found = target.ask(all_of_them)
    if as_json:
        show_json(found)
    else:
        show_table(LOCK_COLUMNS, found)


async def _one(client: Client, name: str) -> LockMap | None:
    return await one_named(client, "locks", "locks", "lock", name)
