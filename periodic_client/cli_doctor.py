"""The command ``periodic doctor``: how the daemon is, a line for each check, and what to do about what is not well.

What is asked is survey.py's, what is wrong health.py's; here it is shown, and told to scripts as an exit code.
"""

from importlib.metadata import version

import click

from periodic_client.cli_many import as_json
from periodic_client.cli_output import show, show_json, visible
from periodic_client.cli_target import Target
from periodic_client.client import Client
from periodic_client.health import VERDICTS, Finding, examine, unreachable, worst
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.survey import facts

EXIT_CODES = """\b
Exit codes, here:
  0    all is well
  1    there is something to watch
  2    something is bad; also that there is no way to the daemon
"""


@click.command(epilog=EXIT_CODES)
@as_json
@click.pass_obj
def doctor(target: Target, as_json: bool) -> None:
    """Say how the daemon is: a line for each check, ok, watch or bad, and what to do about it."""

    async def look(client: Client) -> list[Finding]:
        try:
            return examine(await facts(client, version("periodicd")))
        except (CannotConnect, ConnectionLost, TimedOut) as error:
            return [unreachable(str(error))]

    findings = target.ask(look)
    verdict = worst(findings)
    if as_json:
        show_json({"verdict": verdict, "findings": [_as_map(each) for each in findings]})
    else:
        show("\n".join(map(_line, findings)))
    if verdict != "ok":
        raise click.exceptions.Exit(VERDICTS.index(verdict))


def _as_map(finding: Finding) -> dict[str, str | None]:
    """As JSON has it: nothing is to be done about what is ok."""
    return finding._asdict() | {"todo": None if finding.verdict == "ok" else finding.todo}


def _line(finding: Finding) -> str:
    todo = "" if finding.verdict == "ok" else f" -> {finding.todo}"
    return visible(f"{finding.verdict:5}  {finding.check:14}  {finding.found}{todo}")
