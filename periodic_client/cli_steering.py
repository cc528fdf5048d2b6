"""Commands of ``periodic`` that steer jobs: cancel, move, end-run."""

from functools import partial
from typing import Any

import click

from periodic_client.cli_many import as_json, only_id
from periodic_client.cli_target import Target, for_each_name
from periodic_client.cli_values import Duration, Time
from periodic_client.client import Client

func = click.argument("func")
names = click.argument("names", nargs=-1, required=True, metavar="NAME...")
reason = click.option("--reason", metavar="TEXT", help="Why, for the worker and for who looks.")


@click.command()
@func
@names
@only_id
@reason
@as_json
@click.pass_obj
def cancel(
    target: Target, func: str, names: tuple[str, ...], id_: int | None, reason: str | None, as_json: bool
) -> None:
    """Nobody needs these jobs any more. One that waits is gone; one that runs is asked to end, and not run again."""
    for_each_name(target, partial(Client.cancel, reason=reason), func, names, id_, as_json)


@click.command()
@func
@names
@only_id
@click.option("--in", "delay_ms", type=Duration(), help="When they are due, from now.")
@click.option(
    "--at",
    "due_at_ms",
    type=Time(),
    metavar="ISO8601",
    help="When they are due, as in 2030-01-31T18:00; without a zone it is local time.",
)
@click.option("--priority", type=int, help="Of the due jobs the smallest runs first, -100 to 100.")
@as_json
@click.pass_obj
def move(target: Target, /, func: str, names: tuple[str, ...], id_: int | None, as_json: bool, **where: Any) -> None:
    """Give waiting jobs another due time or priority."""
    if where["delay_ms"] is not None and where["due_at_ms"] is not None:
        raise click.UsageError("--in and --at both say when the job is due; give one of them")
    if all(value is None for value in where.values()):
        raise click.UsageError("say where to: --in, --at or --priority")
    for_each_name(target, partial(Client.move, **where), func, names, id_, as_json)


@click.command("end-run")
@func
@names
@only_id
@click.option(
    "--as", "count_as", type=click.Choice(["failed", "later"]), help="What the runs count as.  [default: failed]"
)
@reason
@as_json
@click.pass_obj
def end_run(
    target: Target, /, func: str, names: tuple[str, ...], id_: int | None, as_json: bool, **options: Any
) -> None:
    """End runs that hang, as if their workers had reported so. The workers are told; whether they stop is theirs."""
    for_each_name(target, partial(Client.end_run, **options), func, names, id_, as_json)
