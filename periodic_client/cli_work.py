"""Commands of ``periodic`` that make a worker of a shell loop: take, finish, extend.

Nothing that was taken is dropped: what cannot be given to the script goes back to the daemon.
"""

import json
import shlex
from dataclasses import asdict
from typing import Any, BinaryIO

import click
import trio

from periodic_client.cli_many import as_json
from periodic_client.cli_output import job_as_json, show, show_json, visible
from periodic_client.cli_target import ABSENT, AGAIN_S, REFUSED, Target, stop
from periodic_client.cli_values import Duration, Workload
from periodic_client.client import Client
from periodic_client.outcomes import Done, Failed, Later, Outcome
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.streams import CannotWrite, telling
from periodic_client.waiting import TakenJob
from periodic_client.wire import Busy, Draining, LeaseLost

ASSIGNED = ("handle", "func", "name", "run", "attempt", "failures", "crashes", "due_at_ms", "priority", "lease_ms")

LOOP = """\b
A worker:
  while job=$(periodic take shout --lease 1m -w in) && eval "$job"
  do tr a-z A-Z <in >out
     periodic finish "$job_handle" --data @out
  done
"""


@click.command(epilog=LOOP)
@click.argument("funcs", nargs=-1, required=True, metavar="FUNC...")
@click.option(
    "--max", "most", type=click.IntRange(1, 1000), default=1, show_default=True, help="The most jobs to take."
)
@click.option("--wait", "wait_ms", type=Duration(), help="How long to wait for one.  [default: for ever]")
@click.option("--lease", "lease_ms", type=Duration(), help="How long each run may take.  [default: the job's lease]")
@click.option(
    "-w",
    "--workload",
    type=click.File("wb", lazy=False),
    metavar="FILE",
    help="Write the workload's bytes to this file.",
)
@as_json
@click.pass_obj
def take(
    target: Target,
    funcs: tuple[str, ...],
    most: int,
    wait_ms: int | None,
    lease_ms: int | None,
    workload: BinaryIO | None,
    as_json: bool,
) -> None:
    """Take a job, for a worker that is a shell loop.

    It prints assignments for a shell: job_handle, job_func, job_name, job_run, job_attempt and so on, each value
    quoted, so that any text is safe in eval; job_headers is JSON. With --json it prints an array of jobs, with
    "workload" or "workload_base64". Without --wait it waits for ever, also for a daemon that is not there; with it,
    exit code 3 says that there was none.

    Finish each job with its handle. Only its lease brings one back that is not finished: choose a short one, and extend
    it.
    """
    if not as_json and most > 1:
        raise click.UsageError("more than one job at a time is for --json")
    if as_json and workload is not None:
        raise click.UsageError("--json has the workload in it; give one of --json and --workload")

    async def first(client: Client) -> list[TakenJob]:
        if wait_ms is not None:
            return await client.take(*funcs, max=most, wait_s=wait_ms / 1000, lease_ms=lease_ms)
        return await _take_in_the_end(client, funcs, most, lease_ms)

    jobs = target.ask(first)
    try:
        if workload is not None and jobs:
            _write(workload, jobs[0].workload)
        if as_json or jobs:
            with telling("the jobs went back to the daemon"):
                _show_taken(jobs, as_json)
    except CannotWrite:
        target.ask(lambda client: _hand_back(client, jobs))
        raise
    if not jobs:
        stop(ABSENT, "there was no job to take")


async def _take_in_the_end(client: Client, funcs: tuple[str, ...], most: int, lease_ms: int | None) -> list[TakenJob]:
    was_told = False
    while True:
        try:
            jobs = await client.take(*funcs, max=most, lease_ms=lease_ms)
        except (CannotConnect, ConnectionLost, TimedOut, Busy, Draining) as error:
            if not was_told:
                click.echo(f"periodic: {visible(str(error))}; trying again", err=True)
            was_told = True
            await trio.sleep(AGAIN_S)
        else:
            if jobs:
                return jobs


def _write(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise CannotWrite(f"the workload's file: {error.strerror}") from None


def _show_taken(jobs: list[TakenJob], as_json: bool) -> None:
    if as_json:
        show_json([job_as_json(asdict(job)) for job in jobs])
        return
    (job,) = jobs
    values = {key: str(getattr(job, key)) for key in ASSIGNED} | {"headers": json.dumps(job.headers)}
    # No shell has a NUL in a variable; some would cut the text there.
    texts = {key: value.replace("\0", "\\x00") for key, value in values.items()}
    show("\n".join(f"job_{key}={shlex.quote(text)}" for key, text in texts.items()))


async def _hand_back(client: Client, jobs: list[TakenJob]) -> None:
    for job in jobs:
        await client.finish(job.handle, Later(0))


@click.command()
@click.argument("handle")
@click.option("--data", type=Workload(), metavar="TEXT|@FILE|-", help="The result: a text, a file, or standard input.")
@click.option("--failed", "reason", metavar="REASON", help="It failed, and is tried again by the job's retry rule.")
@click.option("--final", is_flag=True, help="With --failed: do not try again, the job is dead.")
@click.option("--later", "delay_ms", type=Duration(), help="Run it again, so long from now; that is no failure.")
@as_json
@click.pass_obj
def finish(
    target: Target,
    handle: str,
    data: bytes | None,
    reason: str | None,
    final: bool,
    delay_ms: int | None,
    as_json: bool,
) -> None:
    """Report how the run ended that take gave: done, unless --failed or --later says otherwise.

    While the daemon is away this tries again, as long as an answer may take (--timeout before the command).
    """
    if sum(given is not None for given in (data, reason, delay_ms)) > 1:
        raise click.UsageError("--data, --failed and --later each say how it ended; give one of them")
    if final and reason is None:
        raise click.UsageError("--final goes with --failed")
    outcome: Outcome = Done(data or b"")
    if reason is not None:
        outcome = Failed(reason, final)
    elif delay_ms is not None:
        outcome = Later(delay_ms)
    was_sent = False

    async def report(client: Client) -> None:
        nonlocal was_sent
        try:
            await client.finish(handle, outcome)
        except ConnectionLost:
            was_sent = True
            raise
        except LeaseLost as error:
            if not was_sent:
                raise
            stop(REFUSED, f"this report, which was sent twice, had arrived before, or came too late ({error})")

    target.ask_again(report)
    if as_json:
        with telling("the run is reported"):
            show_json({})


@click.command()
@click.argument("handle")
@click.option("--lease", "lease_ms", type=Duration(), help="It ends so long from now.  [default: the job's lease]")
@as_json
@click.pass_obj
def extend(target: Target, handle: str, lease_ms: int | None, as_json: bool) -> None:
    """The lease of a run that take gave starts anew. Prints extended, or cancelled: then the job need not go on."""
    extended = target.ask_again(lambda client: client.extend(handle, lease_ms))
    answer: dict[str, Any] = extended._asdict()
    with telling("extended"):
        if as_json:
            show_json(answer)
        else:
            show("cancelled" if extended.cancelled else "extended")
