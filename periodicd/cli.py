"""The command line of the daemon: options, start, exit codes. Everything is put together here, by hand.

What the options are is the business of config.py; this module makes them into click's and says what is wrong.
"""

import json
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click
import trio
from click.core import ParameterSource

from periodic_client.wire import Limits
from periodicd import BUILD, __version__, logs, notify
from periodicd.cli_store import EXIT_STORE, EXIT_USAGE, backup, check, fail, restore
from periodicd.clock import system_now
from periodicd.config import (
    FIELDS,
    FILE_VARIABLE,
    IN_MEMORY,
    Config,
    ConfigError,
    Field,
    load,
    to_json,
    to_toml,
    unknown_variables,
)
from periodicd.engine import Engine, start
from periodicd.interpreter import tune
from periodicd.net.addresses import Address, ListenError, open_listening, parse_address
from periodicd.net.server import Server
from periodicd.store import Store, StoreError, StoreFailed
from periodicd.store.memory import MemoryStore
from periodicd.store.sqlite import SqliteStore

log = logging.getLogger("periodicd")

EXIT_LISTEN = 4
EXIT_STORE_FAILED = 5

METRICS_NEED = ("h11", "prometheus_client")
FILES_BESIDE_CONNECTIONS = 100
"""The store's, the listeners' and the interpreter's open files, generously."""

_EPILOG = f"""Each option but --config is also a variable of the environment (PERIODICD_DRAIN_S) and a key of the TOML
file (drain_s), which --config or {FILE_VARIABLE} names. A flag wins over a variable, that over the file.

\b
Exit codes: 0 stopped by SIGTERM, SIGINT or shutdown; 2 wrong usage or configuration; 3 the store cannot be opened;
4 an address cannot be listened on; 5 the store failed while the daemon ran: nothing was acknowledged after that, start
it again once the disk is well; 8 standard output cannot be written (config show,
--systemd-unit, --help, --version)."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field. All are texts here, since the same text can stand in a variable: config.py reads it."""
    for each in reversed(FIELDS.values()):
        command = _option(each)(command)
    return command


def _option(each: Field) -> Callable[[Callable[..., None]], Callable[..., None]]:
    shown = f"{each.meaning}  [default: {each.default_text}]"
    if isinstance(each.default, bool):
        return click.option(f"{each.flag}/--no-{each.flag[2:]}", each.name, default=None, help=shown)
    several = isinstance(each.default, tuple)
    return click.option(*each.flags, each.name, multiple=several, metavar=each.metavar, help=shown)


def _print_unit(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo((resources.files("periodicd") / "periodicd.service").read_text(), file=sys.stdout, nl=False)
        context.exit()


@click.group(
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
    context_settings={"max_content_width": 120},
    epilog=_EPILOG,
)
@click.option("--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="The TOML file to read.")
@_options
@click.option(
    "--systemd-unit",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_unit,
    help="Print a unit for systemd and exit.",
)
@click.version_option(f"{__version__}, {BUILD}")
@click.pass_context
def periodicd(context: click.Context, /, file: Path | None, **flags: Any) -> None:
    """The timed-job server. What it acknowledged it never loses."""
    given = {name: flags[name] for name in flags if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    context.obj = lambda: _load(given, file)
    if context.invoked_subcommand is None:
        values, _ = context.obj()
        _start(values)


for _command in (backup, restore, check):
    periodicd.add_command(_command)


@periodicd.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of TOML.")
@click.pass_context
def show(context: click.Context, origin: bool, as_json: bool) -> None:
    """Check the configuration and print the values in force.

    Put it behind the options that the daemon is started with. What it prints is a configuration file.
    """
    values, origins = context.obj()
    for sentence in unknown_variables(os.environ):
        click.echo(f"periodicd: {sentence}", err=True)
    if not as_json:
        click.echo(to_toml(values, origins if origin else None), file=sys.stdout)
        return
    shown = to_json(values)
    if origin:
        shown = {name: {"value": value, "origin": origins[name]} for name, value in shown.items()}
    click.echo(json.dumps(shown, indent=2), file=sys.stdout)


def _load(flags: Mapping[str, Any], file: Path | None) -> tuple[Config, dict[str, str]]:
    """The values in force and where each came from; exits if the daemon would not start with them."""
    try:
        values, origins = load(flags, os.environ, file)
    except ConfigError as error:
        fail(EXIT_USAGE, str(error))
    addresses = [*_addresses("listen", values.listen, origins), *_addresses("metrics", values.metrics, origins)]
    if values.metrics and any(find_spec(name) is None for name in METRICS_NEED):
        fail(EXIT_USAGE, "metrics need more than the daemon does: pip install 'periodicd[metrics]'")
    for address in addresses:
        if not address.is_local and not values.insecure_bind:
            fail(
                EXIT_USAGE,
                f"{address} can be reached from other machines, and there is no authentication yet; listen on loopback"
                " or a unix socket, or say --insecure-bind",
            )
    return values, origins


def _addresses(key: str, urls: tuple[str, ...], origins: dict[str, str]) -> list[Address]:
    try:
        return [parse_address(url) for url in urls]
    except ListenError as error:
        fail(EXIT_USAGE, f"{key} ({origins[key]}): {error}")


def _start(values: Config) -> None:
    handler = logs.set_up(values.log_level, values.log_format)
    for sentence in unknown_variables(os.environ):
        log.warning("%s", sentence)
    tune()
    connections = _connections_allowed(values.connections)
    try:
        trio.run(_serve, values, connections, handler)
    except* StoreError as errors:
        _end(EXIT_STORE, str(errors.exceptions[0]))
    except* ListenError as errors:
        _end(EXIT_LISTEN, str(errors.exceptions[0]))
    except* StoreFailed as errors:
        _end(EXIT_STORE_FAILED, f"{errors.exceptions[0]}; nothing was acknowledged after that")


async def _serve(values: Config, connections: int, handler: logs.LogHandler) -> None:
    def ready() -> None:
        for each in listening:
            log.info("listening on %s", _name(each))
        for each in watching:
            log.info("metrics and health on http://%s", _name(each).removeprefix("tcp://"))
        log.info("store %s, boot %d, durability %s", place, engine.scheduler.boot, values.settings.durability)
        notify.ready()

    def each_second() -> None:
        notify.alive()
        handler.tell(time.time())

    store = _open_store(values)
    place = values.store if values.store == IN_MEMORY else values.store.absolute()
    engine = start(store, system_now(), os.urandom, replace(values.settings, connections=connections))
    listening = await open_listening([parse_address(url) for url in values.listen])
    watching = await open_listening([parse_address(url) for url in values.metrics])
    limits = Limits(message_bytes=values.message_bytes)
    server = Server(engine, store, limits, values.drain_s, connections, each_second)
    try:
        await server.run(listening, ready, _health(engine, server, watching) if watching else None)
    finally:
        server.remove_sockets()
    log.info("stopped")


def _health(engine: Engine, server: Server, watching: list[socket.socket]) -> Callable[[], Awaitable[None]]:
    # What it needs is installed for it alone.
    from periodicd.net.health import Health

    return partial(Health(engine, server.connect_inside).run, watching)


def _open_store(values: Config) -> Store:
    """Raises StoreError."""
    if values.store != IN_MEMORY:
        return SqliteStore(values.store, values.durability)
    log.warning("the store is in memory: nothing of it survives the end of this process")
    return MemoryStore()


def _name(listening: socket.socket) -> str:
    name = listening.getsockname()
    return str(Address(name[0], name[1], None)) if isinstance(name, tuple) else f"unix://{name}"


def _connections_allowed(wanted: int) -> int:
    """As many as there can be files for. Those beyond are refused, which is better than to have no file for a step."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY or hard >= wanted + FILES_BESIDE_CONNECTIONS:
        return wanted
    allowed = max(1, hard - FILES_BESIDE_CONNECTIONS)
    log.warning("%d connections need more open files than the %d allowed here (ulimit -Hn): %d may be open", wanted,
                hard, allowed)  # fmt: skip
    return allowed


def _end(code: int, message: str) -> NoReturn:
    log.critical("%s", message)
    sys.exit(code)
