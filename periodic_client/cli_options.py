"""Options of a command made from the fields of a record, so that a new field needs no line of the command's."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from periodic_client.cli_values import Duration, Header, LockValue, Time, Workload
from periodic_client.outcomes import NewJob, Retry, ScheduledJob

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"_at_ms": (Time(), "ISO8601"), "_ms": (Duration(), None), "_percent": (int, "PERCENT")}
"""How a field's name ends, and what is written for its value: type and placeholder. Flags have no unit."""
RETRY = "retry_"
"""How the options of a job begin that are a key of its retry rule; all others are a key of the job."""
NAMED = ("headers", "locks")
"""Options that may be given several times, each with a name; of one name the last counts."""


def options_of(record: type, prefix: str = "") -> Callable[[F], F]:
    """An option for each field whose type is ``Annotated[..., help]``, ``--lease`` for ``lease_ms``.

    The command is given None for what was left out, under the field's name with ``prefix`` before it.
    """

    def add(command: F) -> F:
        for name, hint in reversed(get_type_hints(record, include_extras=True).items()):
            if get_origin(hint) is Annotated:
                kind, help_ = get_args(hint)
                command = _option(prefix + name, kind, help_)(command)
        return command

    return add


def _option(name: str, kind: Any, help_: str) -> Callable[[F], F]:
    """What is true or false is a flag without a value."""
    if kind is bool:
        return click.option("--" + name.replace("_", "-"), name, is_flag=True, default=None, help=help_)
    unit = next((unit for unit in UNITS if name.endswith(unit)), "")
    words = get_args(kind) if get_origin(kind) is Literal else ()
    plain = str if str in (kind, *get_args(kind)) else int
    written, metavar = UNITS.get(unit, (click.Choice(words) if words else plain, None))
    flag = "--" + name.removesuffix(unit).replace("_", "-")
    return click.option(flag, name, type=written, metavar=metavar, help=help_)


GIVEN = (
    click.option(
        "-w",
        "--workload",
        type=Workload(),
        default="",
        metavar="TEXT|@FILE|-",
        help="What the worker is given: a text, what is in FILE, or standard input.",
    ),
    click.option(
        "--header",
        "headers",
        type=Header(),
        multiple=True,
        metavar="NAME=VALUE",
        help="A text that goes with the workload; may be given several times, and of one name the last counts.",
    ),
    click.option(
        "--lock",
        "locks",
        type=LockValue(),
        multiple=True,
        metavar="NAME[=WEIGHT]",
        help="What it holds while it runs, and stands in line for: so much of this lock, 1 if no weight is given;"
        " may be given several times.",
    ),
)
"""What is written in ways of its own."""

JOB_OPTIONS = (
    click.argument("func"),
    click.argument("name"),
    *GIVEN,
    click.option("--in", "delay_ms", type=Duration(), help="When it is due, from now."),
    click.option(
        "--at",
        "due_at_ms",
        type=Time(),
        metavar="ISO8601",
        help="When it is due, as in 2030-01-31T18:00; without a zone it is local time.",
    ),
    options_of(NewJob),
    options_of(Retry, prefix=RETRY),
)
SCHEDULED_JOB_OPTIONS = (*GIVEN, options_of(ScheduledJob), options_of(Retry, prefix=RETRY))


def job_options(command: F) -> F:
    """The parameters that make a job; ``new_job`` makes it of what they were given."""
    return _with(JOB_OPTIONS, command)


def scheduled_job_options(command: F) -> F:
    """The options that make the job of a schedule; ``scheduled_job`` makes it of what they were given."""
    return _with(SCHEDULED_JOB_OPTIONS, command)


def _with(parameters: Sequence[Callable[[F], F]], command: F) -> F:
    for parameter in reversed(parameters):
        command = parameter(command)
    return command


def new_job(func: str, name: str, options: dict[str, Any]) -> NewJob:
    if options["delay_ms"] is not None and options["due_at_ms"] is not None:
        raise click.UsageError("--in and --at both say when the job is due; give one of them")
    return NewJob(func, name, **_given(options))


def scheduled_job(func: str, options: dict[str, Any]) -> ScheduledJob:
    return ScheduledJob(func, **_given(options))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    retry = retry_of(options)
    given = {key: value for key, value in options.items() if value is not None}
    return given | {key: dict(given[key]) for key in NAMED} | {"retry": retry}


def retry_of(options: dict[str, Any]) -> Retry | None:
    """Takes the options of a retry rule out, and makes it, if any was given."""
    said = {key.removeprefix(RETRY): options.pop(key) for key in list(options) if key.startswith(RETRY)}
    rule = {key: value for key, value in said.items() if value is not None}
    return Retry(**rule) if rule else None
