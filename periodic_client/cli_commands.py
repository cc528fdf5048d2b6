"""The command ``periodic work``: any program as a worker's function.

What is written on the command line becomes the rules of commands/, and how the worker ended an exit code.
"""

import logging
import shutil
import signal
from typing import Any, get_args

import click

from periodic_client.cli_target import REFUSED, Target, stop
from periodic_client.cli_values import Duration, LockValue, Size
from periodic_client.client import Client
from periodic_client.commands.rules import FramingName, Rules
from periodic_client.wire.limits import CONNECTION_JOBS_MAX

SIGNALS = {"term": signal.SIGTERM, "kill": signal.SIGKILL}

EXAMPLES = """\b
The name of the job is the last argument, its workload standard input:
  periodic work resize --limit 4 -- ./resize.sh
  periodic work shout --no-name -- tr a-z A-Z
  periodic work report --timeout 5m -- sh -c 'make "$1"' sh

\b
Exit code of the command:
  0      done; what it printed is the result
  75     again, after --later
  other  failed; the reason is the exit code and the end of what
         it wrote to standard error

\b
`periodic work` ends with 0 after SIGTERM or Ctrl-C: it takes no more
jobs, and waits for those that run; a second signal ends those. With 1
if the daemon refused the function, or what starts the commands was
killed; with 2 if there is no such command.
"""


@click.command(epilog=EXAMPLES)
@click.argument("func")
@click.argument("command", nargs=-1, required=True, metavar="-- CMD [ARGS]...")
@click.option(
    "--limit", type=click.IntRange(1, CONNECTION_JOBS_MAX), default=1, show_default=True, help="How many run at once."
)
@click.option("--no-name", is_flag=True, help="The job's name is no argument; with --pipe, a line has the workload.")
@click.option("--timeout", "timeout_ms", type=Duration(), help="How long a run may take.  [default: no limit]")
@click.option(
    "--later", "later_ms", type=Duration(), default="5s", show_default=True, help="When a job comes again after 75."
)
@click.option(
    "--retry-limit",
    type=click.IntRange(0, 1000),
    help="How many times a job that failed is tried again, at the most.  [default: as the job says]",
)
@click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="Address space of each process of it, as in 512M.  [default: no limit]",
)
@click.option(
    "--lock",
    "locks",
    type=LockValue(),
    multiple=True,
    metavar="NAME[=WEIGHT]",
    help="What a job holds while it runs here: one that does not is put in line for it. May be given several times.",
)
@click.option(
    "--on-cancel",
    type=click.Choice(list(SIGNALS)),
    default="term",
    show_default=True,
    help="How a run ends that is cancelled or no longer counts.",
)
@click.option("--grace", "grace_ms", type=Duration(), default="5s", show_default=True, help="From SIGTERM to SIGKILL.")
@click.option("--stream", "streams", is_flag=True, help="Lines of standard error go to who watches the job.")
@click.option("--pipe", is_flag=True, help="The command lives on, and is given a line for each job.")
@click.option(
    "--framing", type=click.Choice(get_args(FramingName)), help="With --pipe: what the lines are.  [default: lines]"
)
@click.option(
    "--ready-timeout",
    "ready_ms",
    type=Duration(),
    help="With --pipe: how long the command may take to print its first line.  [default: 10s]",
)
@click.option("--drain", "drain_ms", type=Duration(), help="How long a stop waits for what runs.  [default: no limit]")
@click.pass_obj
def work(target: Target, /, func: str, command: tuple[str, ...], **options: Any) -> None:
    """Run a command for each job of a function.

    The command is told PERIODIC_FUNC, PERIODIC_NAME, PERIODIC_RUN, PERIODIC_ATTEMPT, PERIODIC_FAILURES,
    PERIODIC_DUE_AT_MS, PERIODIC_HANDLE, PERIODIC_HEADERS (in JSON) and PERIODIC_URL in its environment. All that it has
    started is ended with it, and with this worker, however that ends. It connects again for ever.
    """
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"{command[0]}: there is no such command, or it may not be run")
    rules = _rules(options)
    # Other commands, of which a script may give hundreds, are not to be slower for it.
    from periodic_client.commands.serving import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    why = serve(Client(target.url, timeout_s=target.timeout_ms / 1000), func, command, rules)
    if why is not None:
        stop(REFUSED, why)


def _rules(options: dict[str, Any]) -> Rules:
    """Of the options; what was not given is left to the defaults."""
    given = {key: value for key, value in options.items() if value is not None}
    if not given["pipe"] and ("framing" in given or "ready_ms" in given):
        raise click.UsageError("--framing and --ready-timeout are for commands that live on; give --pipe too")
    for key in ("timeout", "grace", "ready", "drain"):
        if f"{key}_ms" in given:
            given[f"{key}_s"] = given.pop(f"{key}_ms") / 1000
    given["gives_name"] = not given.pop("no_name")
    given["on_cancel"] = SIGNALS[given["on_cancel"]]
    return Rules(**given | {"locks": dict(given["locks"])})
