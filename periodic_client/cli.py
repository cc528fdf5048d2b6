"""The ``periodic`` command: what a client can do, from a shell.

Commands ask the daemon through Client and show the answer; they know no rule of their own. Standard output carries data
only, messages go to standard error, and the exit code tells a script what happened (EXIT_CODES in cli_target.py).
"""

import sys
from typing import Any

import click

from periodic_client.cli_commands import work
from periodic_client.cli_completion import completion
from periodic_client.cli_dead import dead, requeue
from periodic_client.cli_doctor import doctor
from periodic_client.cli_functions import drop, function, pause, resume
from periodic_client.cli_groups import submit_group
from periodic_client.cli_locks import lock, locks
from periodic_client.cli_many import as_json, change_many, one_or_many, only_id, where
from periodic_client.cli_options import job_options, new_job
from periodic_client.cli_output import (
    FUNCTION_COLUMNS,
    JOB_COLUMNS,
    bytes_as_json,
    job_as_json,
    show,
    show_error,
    show_json,
    show_map,
    show_table,
    visible,
)
from periodic_client.cli_schedules import schedule
from periodic_client.cli_steering import cancel, end_run, explain, move
from periodic_client.cli_target import ABSENT, EXIT_CODES, INTERRUPTED, Target, for_each_name, stop, stop_if_failed
from periodic_client.cli_top import top
from periodic_client.cli_values import Duration
from periodic_client.cli_waiting import call, events, watch, workers
from periodic_client.cli_work import extend, finish, take
from periodic_client.client import Client, JobMaps
from periodic_client.streams import telling
from periodic_client.survey import whole_status
from periodic_client.url import DEFAULT_URL, URL_VARIABLE, parse_url
from periodic_client.wire import limits


def run() -> None:
    """The command of a process. As click would do it, but that its exit code for an interrupt means something else."""
    try:
        sys.exit(cli.main(prog_name="periodic", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("periodic: interrupted", err=True)
        sys.exit(INTERRUPTED)


def check_url(_: click.Context, __: click.Parameter, url: str) -> str:
    try:
        parse_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return url


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar=URL_VARIABLE,
    show_envvar=True,
    default=DEFAULT_URL,
    show_default=True,
    callback=check_url,
    help="The daemon: tcp://host:port or unix:///path.",
)
@click.option("--timeout", type=Duration(), default="30s", show_default=True, help="How long an answer may take.")
@click.version_option(package_name="periodicd")
@click.pass_context
def cli(context: click.Context, url: str, timeout: int) -> None:
    """Submit timed jobs to periodicd and look after them."""
    context.obj = Target(url, timeout)


@cli.command()
@job_options
@as_json
@click.pass_obj
def submit(
    target: Target,
    /,
    func: str,
    name: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Put a job. Prints what became of it: created, replaced, queued_behind, kept or refused."""
    job = new_job(func, name, options)
    submitted = target.ask(lambda client: client.submit(job))
    with telling(visible(f"{func} {name}: {submitted.result}")):
        if as_json:
            show_json({"func": func, "name": name, **submitted._asdict()})
        else:
            show(visible(submitted.result))
    stop_if_failed(func, name, submitted.result)


@cli.command()
@click.argument("func")
@click.argument("name")
@click.option("-w", "--workload", is_flag=True, help="Print the workload's bytes as they are, and nothing else.")
@click.option("-d", "--data", is_flag=True, help="Print the result's bytes as they are, if it is kept.")
@only_id
@as_json
@click.pass_obj
def get(target: Target, func: str, name: str, workload: bool, data: bool, id_: int | None, as_json: bool) -> None:
    """Show one job, who runs it, how far its group is if it is the job of one, and how it or the last one of its name
    ended, if that is kept (--result).

    With --json --workload the workload is in the JSON: under "workload", or, if it is not UTF-8, under
    "workload_base64"; and the result with --data likewise. Prints null if there is no such job and no such end.
    """
    if workload and data and not as_json:
        raise click.UsageError("--workload and --data each print bytes and nothing else; give one of them, or --json")
    seen = target.ask(lambda client: client.look(func, name, id=id_, workload=workload, data=data))
    last = seen.last and bytes_as_json(seen.last, "data")
    found = seen.job is not None or last is not None
    if as_json:
        beside = {"worker": seen.worker, "last": last, "group": seen.group}
        show_json({**job_as_json(seen.job or {}), **beside} if found else None)
    wanted = seen.last and seen.last["data"] if data else seen.job
    if not found or (wanted is None and (workload or data) and not as_json):
        what = "no result is kept of it" if data else "does not exist" + (f" with id {id_}" if id_ is not None else "")
        stop(ABSENT, f"{func} {name}{':' * data} {what}")
    if as_json:
        return
    if workload or data:
        show((seen.last or {})["data"] if data else (seen.job or {})["workload"], nl=False)
        return
    shown = {key: value for key, value in (seen.job or {}).items() if key not in ("workload", "errors")}
    if seen.worker is not None:
        shown["worker"] = seen.worker
    shown |= {f"group_{key}": value for key, value in (seen.group or {}).items()}
    show_map(shown | {f"last_{key}": value for key, value in (last or {}).items() if key != "data"})
    for error in (seen.job or {}).get("errors", ()):
        show_error(error)


@cli.command("list")
@where
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most jobs to show.")
@as_json
@click.pass_obj
def list_(target: Target, where: dict[str, Any], limit: int, as_json: bool) -> None:
    """Show jobs, oldest first; those of one function and prefix by name."""

    async def first_jobs(client: Client) -> tuple[JobMaps, bool]:
        jobs: JobMaps = []
        after: str | None = None
        while len(jobs) < limit:
            page, after = await client.list_page(after=after, limit=min(limits.LISTING_MAX, limit - len(jobs)), **where)
            jobs += page
            if after is None:
                break
        return jobs, after is not None

    jobs, may_be_more = target.ask(first_jobs)
    if as_json:
        show_json(jobs)
    else:
        show_table(JOB_COLUMNS, jobs)
    if may_be_more:
        click.echo(f"the first {len(jobs)} jobs; see --limit for more", err=True)


@cli.command()
@click.option("--prefix", help="Functions only whose name begins so.")
@as_json
@click.pass_obj
def status(target: Target, prefix: str | None, as_json: bool) -> None:
    """Show what the daemon is doing, function by function."""
    answer = target.ask(lambda client: whole_status(client, prefix))
    if as_json:
        show_json(answer)
        return
    functions = answer.pop("functions")
    answer.pop("next", None)
    show_map(answer)
    show("")
    show_table(FUNCTION_COLUMNS, functions)


@cli.command()
@one_or_many
@click.pass_obj
def remove(target: Target, /, func: str | None, names: tuple[str, ...], id_: int | None, **many: Any) -> None:
    """Take jobs away, in any state: FUNC NAME..., or many with --where.

    A run in progress is not interrupted, but its report is refused.
    """
    if not change_many(target.ask, Client.remove_matching, "removed", func, id_, **many):
        for_each_name(target, Client.remove, func, names, id_, many["as_json"])


@cli.command()
@as_json
@click.pass_obj
def ping(target: Target, as_json: bool) -> None:
    """See whether the daemon answers."""
    answer = target.ask(lambda client: client.request("ping"))
    if as_json:
        show_json(answer)
    else:
        show("pong")


@cli.command()
@as_json
@click.pass_obj
def shutdown(target: Target, as_json: bool) -> None:
    """Stop the daemon. It waits a while for the jobs that are running."""
    answer = target.ask(lambda client: client.request("shutdown"))
    if as_json:
        with telling("the daemon is stopping"):
            show_json(answer)
    else:
        click.echo("the daemon is stopping", err=True)


for command in (
    explain, call, watch, events, workers, take, finish, extend, cancel, move, end_run, function, pause, resume, drop,
    lock, locks, submit_group, schedule, completion, work, doctor, top, dead, requeue,
):  # fmt: skip
    cli.add_command(command)
