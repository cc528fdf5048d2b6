"""The ``periodic`` command: what a client can do, from a shell.

Commands ask the daemon through Client and show the answer; they know no rule of their own. Standard output carries data
only, messages go to standard error, and the exit code tells a script what happened (EXIT_CODES).
"""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click
import trio

from periodic_client.cli_many import as_json, change_many, one_or_many, only_id, where
from periodic_client.cli_options import options_of
from periodic_client.cli_output import (
    FUNCTION_COLUMNS,
    JOB_COLUMNS,
    job_as_json,
    show,
    show_json,
    show_map,
    show_table,
    visible,
)
from periodic_client.cli_values import Duration, Header, Time, Workload
from periodic_client.client import Client, JobMaps
from periodic_client.outcomes import NewJob, Retry
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.streams import telling
from periodic_client.url import DEFAULT_URL, URL_VARIABLE, parse_url
from periodic_client.wire import PeriodicError, limits

REFUSED, ABSENT, UNREACHABLE, TIMED_OUT, LOST, INTERRUPTED = 1, 3, 5, 6, 7, 130

FAILURES = {
    "refused": (REFUSED, "exists already; nothing was changed"),
    "absent": (ABSENT, "does not exist"),
    "changed": (REFUSED, "has another id by now; nothing was changed"),
    "not_dead": (REFUSED, "is not dead"),
}
"""Results that are not what was asked for. One that is not known here is shown, and no failure."""

EXIT_CODES = """\b
Exit codes:
  0    it was done
  1    refused: by the daemon, or because the job exists already
       (submit --existing refuse), is not dead (requeue), has
       another id by now (--id), or you said no
  2    the command is not used as it should be
  3    there is no such job
  5    there is no daemon, or no way to it: nothing happened
  6    the daemon did not answer in time
  7    the connection was lost before the answer came
  74   the answer could not be written to standard output; what
       was done is done, and said on standard error
  130  interrupted
After 6, 7 and 130 it may or may not have happened; submitting the same name again is safe.
With several names the first that failed decides. At one that is refused or not answered the command ends,
and standard error names it.

\b
Durations are written 500ms, 5m, 1h30m, 2d.
"""

_RETRY = "retry_"
"""How the options of submit begin that are a key of the job's retry rule; all others are a key of the job."""

Answer = TypeVar("Answer")


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


def stop(exit_code: int, message: str) -> NoReturn:
    click.echo(f"periodic: {visible(message)}", err=True)
    raise click.exceptions.Exit(exit_code)


@dataclass(frozen=True, slots=True)
class Target:
    """The daemon that is to be asked, and for how long."""

    url: str
    timeout_ms: int

    def ask(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        async def main() -> Answer:
            async with Client(self.url, timeout_s=self.timeout_ms / 1000) as client:
                return await question(client)

        try:
            # At checkpoints only: in the midst of the client's own tasks it would come out in an exception group.
            return trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)
        except PeriodicError as error:
            stop(REFUSED, error.to_wire())
        except CannotConnect as error:
            stop(UNREACHABLE, f"{error}; nothing happened")
        except ConnectionLost as error:
            stop(LOST, str(error))
        except TimedOut as error:
            stop(TIMED_OUT, str(error))
        except KeyboardInterrupt:
            stop(INTERRUPTED, "interrupted")


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
@click.argument("func")
@click.argument("name")
@click.option(
    "-w",
    "--workload",
    type=Workload(),
    default="",
    metavar="TEXT|@FILE|-",
    help="What the worker is given: a text, what is in FILE, or standard input.",
)
@click.option(
    "--header",
    "headers",
    type=Header(),
    multiple=True,
    metavar="NAME=VALUE",
    help="A text that goes with the workload; may be given several times, and of one name the last counts.",
)
@click.option("--in", "delay_ms", type=Duration(), help="When it is due, from now.")
@click.option(
    "--at",
    "due_at_ms",
    type=Time(),
    metavar="ISO8601",
    help="When it is due, as in 2030-01-31T18:00; without a zone it is local time.",
)
@options_of(NewJob)
@options_of(Retry, prefix=_RETRY)
@as_json
@click.pass_obj
def submit(
    target: Target,
    /,
    func: str,
    name: str,
    as_json: bool,
    headers: tuple[tuple[str, str], ...],
    **options: Any,
) -> None:
    """Put a job. Prints what became of it: created, replaced, queued_behind, kept or refused."""
    if options["delay_ms"] is not None and options["due_at_ms"] is not None:
        raise click.UsageError("--in and --at both say when the job is due; give one of them")
    given = {key: value for key, value in options.items() if value is not None}
    rule = {key.removeprefix(_RETRY): given.pop(key) for key in list(given) if key.startswith(_RETRY)}
    job = NewJob(func, name, headers=dict(headers), retry=Retry(**rule) if rule else None, **given)
    submitted = target.ask(lambda client: client.submit(job))
    with telling(visible(f"{func} {name}: {submitted.result}")):
        if as_json:
            show_json({"func": func, "name": name, **submitted._asdict()})
        else:
            show(visible(submitted.result))
    _stop_if_failed(func, name, submitted.result)


@cli.command()
@click.argument("func")
@click.argument("name")
@click.option("-w", "--workload", is_flag=True, help="Print the workload's bytes as they are, and nothing else.")
@only_id
@as_json
@click.pass_obj
def get(target: Target, func: str, name: str, workload: bool, id_: int | None, as_json: bool) -> None:
    """Show one job, without its workload.

    With --json --workload the workload is in the JSON: under "workload", or, if it is not UTF-8, under
    "workload_base64". Prints null if there is no such job.
    """
    job = target.ask(lambda client: client.get(func, name, id=id_, workload=workload))
    if as_json:
        show_json(job and job_as_json(job))
    if job is None:
        stop(ABSENT, f"{func} {name} does not exist" + (f" with id {id_}" if id_ is not None else ""))
    if as_json:
        return
    if workload:
        show(job["workload"], nl=False)
    else:
        show_map({key: value for key, value in job.items() if key != "workload"})


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

    async def all_pages(client: Client) -> dict[str, Any]:
        whole = await client.status(prefix, None, limits.LISTING_MAX)
        while (after := whole.get("next")) is not None:
            page = await client.status(prefix, after, limits.LISTING_MAX)
            whole["functions"] += page["functions"]
            whole["next"] = page.get("next")
        return whole

    answer = target.ask(all_pages)
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
        _for_each_name(target, Client.remove, func, names, id_, many["as_json"])


@cli.command()
@one_or_many
@click.pass_obj
def requeue(target: Target, /, func: str | None, names: tuple[str, ...], id_: int | None, **many: Any) -> None:
    """Give dead jobs a new life, due now: FUNC NAME..., or many with --where."""
    if not change_many(target.ask, Client.requeue_matching, "requeued", func, id_, **many):
        _for_each_name(target, Client.requeue, func, names, id_, many["as_json"])


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


def _for_each_name(
    target: Target,
    request: Callable[..., Awaitable[str]],
    func: str | None,
    names: tuple[str, ...],
    id_: int | None,
    as_json: bool,
) -> None:
    if func is None or not names:
        raise click.UsageError("say which jobs: FUNC NAME..., or --where for many")
    if id_ is not None and len(names) > 1:
        raise click.UsageError("an id is that of one job; give one name with --id")
    results: list[dict[str, str]] = []

    async def ask_all(client: Client) -> None:
        for name in names:
            result = await request(client, func, name, id=id_)
            results.append({"func": func, "name": name, "result": result})

    try:
        target.ask(ask_all)
    except click.exceptions.Exit:
        if len(results) < len(names) > 1:
            unknown = visible(f"{func} {names[len(results)]}")
            click.echo(f"periodic: that was {unknown}; what comes after it was not asked for", err=True)
        raise
    finally:
        # What was done before an error is done, and is told.
        lines = [visible(f"{each['name']}: {each['result']}") for each in results]
        with telling(", ".join(lines) or "none"):
            if as_json:
                show_json(results)
            elif lines:
                show("\n".join(lines))
    for each in results:
        _stop_if_failed(func, each["name"], each["result"])


def _stop_if_failed(func: str, name: str, result: str) -> None:
    if result in FAILURES:
        exit_code, why = FAILURES[result]
        stop(exit_code, f"{func} {name} {why}")
