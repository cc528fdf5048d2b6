"""Commands of ``periodic`` about schedules: schedule add, list, show, remove, pause, resume, run, next.

When a schedule fires is for the daemon to say, by the clocks of the schedule's zone; what is shown is local time.
"""

from typing import Any

import click

from periodic_client.cli_many import as_json
from periodic_client.cli_options import scheduled_job, scheduled_job_options
from periodic_client.cli_output import SCHEDULE_COLUMNS, local_time, show, show_json, show_map, show_table, visible
from periodic_client.cli_target import ABSENT, Target, one_named, stop, stop_if_failed
from periodic_client.cli_values import Duration, Time
from periodic_client.client import Client
from periodic_client.scheduling import ScheduleMap
from periodic_client.streams import telling
from periodic_client.texts import duration_text

TIMING = ("every_ms", "cron", "zone", "jitter_ms", "missed", "overlap", "from_at_ms", "until_at_ms")


@click.group()
def schedule() -> None:
    """Jobs that are submitted again and again: every so long, or when cron says."""


@schedule.command()
@click.argument("name")
@click.argument("func")
@click.option("--every", "every_ms", type=Duration(), help="It fires every so long, from now or --from on.")
@click.option("--cron", metavar="CRON", help="It fires when this says, as '30 2 * * *'.")
@click.option("--zone", metavar="ZONE", help="By whose clocks --cron goes, as Europe/Berlin.  [default: UTC]")
@click.option("--jitter", "jitter_ms", type=Duration(), help="Each job is due up to so much later.  [default: 0s]")
@click.option(
    "--missed",
    type=click.Choice(["skip", "once"]),
    help="Of instants to which the daemon comes more than 60 s late none fires, or the last.  [default: skip]",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue"]),
    help="While its last job waits or runs none is submitted, or one all the same.  [default: skip]",
)
@click.option(
    "--from",
    "from_at_ms",
    type=Time(),
    metavar="ISO8601",
    help="It fires at this time or later, as 2030-01-31T18:00; without a zone it is local time.",
)
@click.option("--until", "until_at_ms", type=Time(), metavar="ISO8601", help="It fires before this time only.")
@scheduled_job_options
@as_json
@click.pass_obj
def add(target: Target, /, name: str, func: str, as_json: bool, **options: Any) -> None:
    """Submit a job of FUNC again and again, under the NAME of this schedule with the instant.

    All of a schedule is set anew. One that is the same already goes on as it did. Prints what became of it (created,
    replaced or kept), and when it fires next, in local time.
    """
    timing = {key: options.pop(key) for key in TIMING}
    if (timing["every_ms"] is None) == (timing["cron"] is None):
        raise click.UsageError("say when it fires, in one way: --every 5m, or --cron '30 2 * * *'")
    if timing["zone"] is not None and timing["cron"] is None:
        raise click.UsageError("--zone is for --cron; --every goes by no clocks")
    job = scheduled_job(func, options)
    scheduled = target.ask(lambda client: client.set_schedule(name, job, **timing))
    with telling(visible(f"{name}: {scheduled.result}")):
        if as_json:
            show_json(scheduled._asdict())
        else:
            show_map(scheduled._asdict())


@schedule.command("list")
@click.option("--prefix", help="Schedules only whose name begins so.")
@as_json
@click.pass_obj
def list_(target: Target, prefix: str | None, as_json: bool) -> None:
    """Show all schedules: when each fires, when next in local time, the id of its last job."""

    async def all_of_them(client: Client) -> list[ScheduleMap]:
        return [schedule async for schedule in client.schedules(prefix)]

    found = target.ask(all_of_them)
    if as_json:
        show_json(found)
    else:
        show_table(SCHEDULE_COLUMNS, [each | {"func": each["job"]["func"], "when": _when(each)} for each in found])


def _when(row: ScheduleMap) -> str:
    return f"every {duration_text(row['every_ms'])}" if row["cron"] is None else f"{row['cron']} {row['zone']}"


@schedule.command("show")
@click.argument("name")
@as_json
@click.pass_obj
def show_(target: Target, name: str, as_json: bool) -> None:
    """Show one schedule: all that is set, up to when it is dealt with (fired), when it fires next."""
    found = target.ask(lambda client: one_named(client, "list_schedules", "schedules", "schedule", name))
    if as_json:
        show_json(found)
    if found is None:
        stop(ABSENT, f"schedule {name} does not exist")
    if not as_json:
        # 0 is what the daemon has where nothing was said.
        show_map(found | {"from_at_ms": found["from_at_ms"] or None})


@schedule.command("remove")
@click.argument("name")
@as_json
@click.pass_obj
def remove(target: Target, name: str, as_json: bool) -> None:
    """End a schedule. The jobs that it has submitted stay."""
    _change(target, "remove_schedule", name, as_json)


@schedule.command("pause")
@click.argument("name")
@as_json
@click.pass_obj
def pause(target: Target, name: str, as_json: bool) -> None:
    """Let a schedule not fire, until it is resumed."""
    _change(target, "pause_schedule", name, as_json)


@schedule.command("resume")
@click.argument("name")
@as_json
@click.pass_obj
def resume(target: Target, name: str, as_json: bool) -> None:
    """Let a paused schedule fire again, at its next instant. What passed meanwhile is not made up for."""
    _change(target, "resume_schedule", name, as_json)


@schedule.command("run")
@click.argument("name")
@as_json
@click.pass_obj
def run(target: Target, name: str, as_json: bool) -> None:
    """Let a schedule fire now, beside its instants, also if it is paused."""
    _change(target, "run_schedule", name, as_json)


def _change(target: Target, method: str, name: str, as_json: bool) -> None:
    answer = target.ask(lambda client: client.request(method, name))
    with telling(visible(f"{name}: {answer['result']}")):
        if as_json:
            show_json(answer)
        else:
            show(visible(answer["result"]))
    stop_if_failed("schedule", name, answer["result"])


@schedule.command("next")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many instants.")
@as_json
@click.pass_obj
def next_(target: Target, name: str, count: int, as_json: bool) -> None:
    """Print when a schedule fires next, in local time, an instant on each line."""
    answer = target.ask(lambda client: client.request("next_times", name, {"count": count}))
    if as_json:
        show_json(answer)
    elif answer["times"]:
        show("\n".join(map(local_time, answer["times"])))
    stop_if_failed("schedule", name, answer["result"])
    if not answer["times"]:
        click.echo(visible(f"periodic: schedule {name} is paused, or will not fire again"), err=True)
