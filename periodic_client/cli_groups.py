"""The command ``periodic submit-group``: jobs from lines of JSON, and the one that is due when all of them have ended.

Whether a job can be is for the daemon to say; here its words are only given the line that they are about.
"""

import re
from typing import Any

import click

from periodic_client.cli_many import as_json
from periodic_client.cli_options import job_options, new_job
from periodic_client.cli_output import show, show_json, visible
from periodic_client.cli_target import REFUSED, Target, stop, stop_if_failed
from periodic_client.cli_values import JobLine, JobLines
from periodic_client.client import Client
from periodic_client.streams import telling
from periodic_client.wire import Invalid, limits

_PLACE = re.compile(r"group\.jobs\[(\d+)\]")
_NO_MEMBERS = ("kept", "refused")

LINES = """\b
Members, a job on each line, with the keys of submit in protocol.md:
  {"func": "resize", "name": "a.jpg", "workload": "small"}
  {"func": "resize", "name": "b.jpg", "retry": {"limit": 3}}
"""


@click.command("submit-group", epilog=LINES)
@job_options
@click.option(
    "--jobs",
    type=JobLines(),
    default=(),
    metavar="FILE|-",
    help="Its members: a file, or standard input, with a job in JSON on each line.",
)
@click.option("--no-seal", is_flag=True, help="More are to be added, by this command, until one comes without this.")
@as_json
@click.pass_obj
def submit_group(
    target: Target,
    /,
    func: str,
    name: str,
    jobs: list[JobLine],
    no_seal: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Put jobs, and FUNC NAME, which is due when all of them have ended, however they did.

    Prints what became of FUNC NAME: as submit does, or added, if its group was open for more; kept, if that is sealed:
    then nothing was put. Its run finds in its headers how they ended: group-members, group-done, group-dead,
    group-removed, group-cancelled, group-expired. periodic get FUNC NAME shows how far they are.

    Up to 1,000 jobs are put in one commit, all or none; of more, 1,000 at a time.
    """
    then = new_job(func, name, options).to_wire()
    put: dict[str, Any] = {"results": [], "ids": []}

    async def put_all(client: Client) -> None:
        for begin in range(0, len(jobs) or 1, limits.BATCH_JOBS_MAX):
            some = jobs[begin : begin + limits.BATCH_JOBS_MAX]
            is_last = begin + len(some) == len(jobs)
            group = {"then": then, "jobs": [each.job for each in some], "sealed": is_last and not no_seal}
            try:
                answer = await client.request("submit_group", group)
            except Invalid as error:
                stop(REFUSED, error.to_wire() + _line_of(error, some))
            put["result"], put["id"] = put.get("result", answer["result"]), answer["id"]
            put["results"] += answer["results"]
            put["ids"] += answer["ids"]
            if len(answer["results"]) < len(some):
                return

    try:
        target.ask(put_all)
    except click.exceptions.Exit:
        if put["results"]:
            click.echo(f"periodic: {len(put['results'])} jobs were put before; the group waits for more", err=True)
        raise
    with telling(visible(f"{func} {name}: {put['result']}")):
        if as_json:
            show_json({"func": func, "name": name, **put})
        else:
            show(visible(put["result"]))
    stop_if_failed(func, name, put["result"])
    if len(put["results"]) < len(jobs):
        click.echo(f"periodic: {len(jobs) - len(put['results'])} jobs were not put: the group is sealed", err=True)
    if left := sum(each in _NO_MEMBERS for each in put["results"]):
        click.echo(f"periodic: {left} jobs were there already, and are no members", err=True)


def _line_of(error: Invalid, jobs: list[JobLine]) -> str:
    found = _PLACE.match(error.details.get("path", ""))
    return f" (line {jobs[int(found[1])].number})" if found else ""
