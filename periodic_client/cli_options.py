"""Options of a command made from the fields of a record, so that a new field needs no line of the command's."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from periodic_client.cli_values import Duration

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"_ms": (Duration(), None), "_percent": (int, "PERCENT")}
"""How a field's name ends, and what is written for its value: type and placeholder. Flags have no unit."""


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
    unit = next((unit for unit in UNITS if name.endswith(unit)), "")
    words = get_args(kind) if get_origin(kind) is Literal else ()
    written, metavar = UNITS.get(unit, (click.Choice(words) if words else int, None))
    flag = "--" + name.removesuffix(unit).replace("_", "-")
    return click.option(flag, name, type=written, metavar=metavar, help=help_)
