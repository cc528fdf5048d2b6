"""Commands of ``periodic`` about a whole function: function set and show, pause, resume, drop."""

from typing import Any

import click

from periodic_client.cli_many import as_json, change_many
from periodic_client.cli_options import RETRY, options_of, retry_of
from periodic_client.cli_output import show, show_json, show_map, visible
from periodic_client.cli_target import ABSENT, Target, one_named, show_before, stop
from periodic_client.cli_values import RateValue
from periodic_client.client import Client, FunctionMap
from periodic_client.outcomes import FunctionSettings, Rate, Retry
from periodic_client.streams import telling


@click.group()
def function() -> None:
    """What is set of a function: how many of its jobs run, how often, how many there are."""


@function.command("set")
@click.argument("func")
@click.option("--rate", type=RateValue(), metavar="N/DURATION", help="How often its runs begin, as in 10/1s.")
@options_of(FunctionSettings)
@options_of(Retry, prefix=RETRY)
@as_json
@click.pass_obj
def set_(target: Target, /, func: str, rate: Rate | None, as_json: bool, **options: Any) -> None:
    """Set all of it anew: what is not given is not set any more. Without options nothing is.

    What its jobs have by default counts for those that are submitted from now on. Prints what was set before.
    """
    retry = retry_of(options)
    settings = FunctionSettings(rate=rate, retry=retry, **options)

    async def set_and_tell(client: Client) -> dict[str, Any]:
        before = await _one(client, func)
        await client.set_function(func, settings)
        return {} if before is None else before["settings"]

    show_before(func, target.ask(set_and_tell), as_json)


@function.command("show")
@click.argument("func")
@as_json
@click.pass_obj
def show_(target: Target, func: str, as_json: bool) -> None:
    """Show a function: its jobs, its workers, what is set of it."""
    found = target.ask(lambda client: _one(client, func))
    if as_json:
        show_json(found)
    if found is None:
        stop(ABSENT, f"there is no function {func}: no job, no worker, and nothing set")
    if not as_json:
        show_map({key: value for key, value in found.items() if key != "settings"} | found["settings"])


async def _one(client: Client, func: str) -> FunctionMap | None:
    return await one_named(client, "status", "functions", "func", func)


@click.command()
@click.argument("func")
@as_json
@click.pass_obj
def pause(target: Target, func: str, as_json: bool) -> None:
    """Give out no jobs of a function, until it is resumed. What runs goes on; jobs can be submitted."""
    answer = target.ask(lambda client: client.request("pause", func))
    _tell(func, "is paused", answer, as_json)


@click.command()
@click.argument("func")
@as_json
@click.pass_obj
def resume(target: Target, func: str, as_json: bool) -> None:
    """Give out the jobs of a paused function again."""
    answer = target.ask(lambda client: client.request("resume", func))
    _tell(func, "is not paused", answer, as_json)


def _tell(func: str, what: str, answer: dict[str, Any], as_json: bool) -> None:
    with telling(visible(f"{func} {what}")):
        if as_json:
            show_json(answer)
        else:
            show(visible(f"{func} {what}"))


@click.command()
@click.argument("func")
@click.option("--dry-run", is_flag=True, help="Only print how many jobs that are.")
@click.option("--yes", is_flag=True, help="Do not ask whether so many are meant.")
@as_json
@click.pass_obj
def drop(target: Target, func: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove all jobs of a function, in any state, and say first how many that are.

    Runs in progress are not interrupted, but their reports are refused. What is set of the function stays.
    """
    change_many(
        target.ask, Client.remove_matching, "removed", None, None,
        where={"func": func}, all_=False, dry_run=dry_run, yes=yes, as_json=as_json,
    )  # fmt: skip
