"""Commands of ``periodic`` that steer jobs: cancel, move, end-run; and explain, which says what holds one back."""

from functools import partial
from typing import Any

import click

from periodic_client.cli_many import as_json, change_many, one_or_many, only_id
from periodic_client.cli_output import show, show_json, visible
from periodic_client.cli_target import ABSENT, Target, for_each_name
from periodic_client.cli_values import Duration, Time
from periodic_client.client import Client

reason = click.option("--reason", metavar="TEXT", help="Why, for the worker and for who looks.")


@click.command()
@one_or_many
@reason
@click.pass_obj
def cancel(
    target: Target, /, func: str | None, names: tuple[str, ...], id_: int | None, reason: str | None, **many: Any
) -> None:
    """Nobody needs these jobs any more: FUNC NAME..., or many with --where.

    One that waits is gone; one that runs is asked to end, and not run again; one that is dead is left alone.
    """
    if not change_many(
        target.ask, partial(Client.cancel_matching, cancel_reason=reason), "cancelled", func, id_, **many
    ):
        for_each_name(target, partial(Client.cancel, reason=reason), func, names, id_, many["as_json"])


@click.command()
@one_or_many
@click.option("--in", "delay_ms", type=Duration(), help="When they are due, from now.")
@click.option(
    "--at",
    "due_at_ms",
    type=Time(),
    metavar="ISO8601",
    help="When they are due, as in 2030-01-31T18:00; without a zone it is local time.",
)
@click.option("--priority", type=int, help="Of the due jobs the smallest runs first, -100 to 100.")
@click.pass_obj
def move(
    target: Target,
    /,
    func: str | None,
    names: tuple[str, ...],
    id_: int | None,
    delay_ms: int | None,
    due_at_ms: int | None,
    priority: int | None,
    **many: Any,
) -> None:
    """Give waiting jobs another due time or priority: FUNC NAME..., or many with --where."""
    if delay_ms is not None and due_at_ms is not None:
        raise click.UsageError("--in and --at both say when the job is due; give one of them")
    to: dict[str, Any] = {"delay_ms": delay_ms, "due_at_ms": due_at_ms, "priority": priority}
    if all(value is None for value in to.values()):
        raise click.UsageError("say where to: --in, --at or --priority")
    if not change_many(target.ask, partial(Client.move_matching, **to), "moved", func, id_, **many):
        for_each_name(target, partial(Client.move, **to), func, names, id_, many["as_json"])


@click.command("end-run")
@click.argument("func")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
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


@click.command()
@click.argument("func")
@click.argument("name")
@only_id
@as_json
@click.pass_obj
def explain(target: Target, func: str, name: str, id_: int | None, as_json: bool) -> None:
    """Say why a job does not run: a sentence for each thing that holds it back."""
    gates = target.ask(lambda client: client.explain(func, name, id=id_))
    if as_json:
        show_json(gates)
    else:
        sentences = [gate["text"] for gate in gates] or ["nothing holds it back: it is about to run"]
        show("\n".join(map(visible, sentences)))
    if any(gate["code"] == "absent" for gate in gates):
        raise click.exceptions.Exit(ABSENT)
