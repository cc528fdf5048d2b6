"""The command line of the daemon: options, start, exit codes. Everything is put together here, by hand."""

import logging
import resource
import sqlite3
import sys
from pathlib import Path
from typing import Literal, NoReturn

import click
import trio

from periodic_client.wire import Limits
from periodicd import __version__
from periodicd.clock import system_now
from periodicd.engine import Engine
from periodicd.scheduler import Settings
from periodicd.server import Address, ListenError, Server, open_listeners, parse_address, tune_interpreter
from periodicd.store import StoreError
from periodicd.store.sqlite import SqliteStore

log = logging.getLogger("periodicd")

EXIT_USAGE = 2
EXIT_STORE = 3
EXIT_LISTEN = 4
EXIT_STORE_FAILED = 5

_EPILOG = """\b
Exit codes: 0 stopped by SIGTERM, SIGINT or shutdown; 2 wrong usage; 3 the store cannot be opened; 4 an address
cannot be listened on; 5 the store failed while the daemon ran: nothing was acknowledged after that, start it again
once the disk is well."""


@click.command(context_settings={"max_content_width": 120}, epilog=_EPILOG)
@click.option(
    "--listen", "urls", multiple=True, metavar="URL", default=("tcp://127.0.0.1:5000",), show_default=True,
    help="tcp://HOST:PORT or unix:///PATH; may be given more than once.",
)  # fmt: skip
@click.option(
    "--store", type=click.Path(path_type=Path), default=Path("periodic.db"), show_default=True,
    help="The SQLite file with the jobs; made if missing.",
)  # fmt: skip
@click.option(
    "--durability", type=click.Choice(["full", "relaxed"]), default="full", show_default=True,
    help="full: acknowledged means synced to disk. relaxed: a power cut may lose the last moments.",
)  # fmt: skip
@click.option(
    "--drain", default=10.0, show_default=True, metavar="SECONDS", help="How long a stop waits for running jobs."
)
@click.option(
    "--insecure-bind", is_flag=True, help="Listen beyond this machine, though anyone who connects may do anything."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.version_option(__version__)
def periodicd(
    urls: tuple[str, ...],
    store: Path,
    durability: Literal["full", "relaxed"],
    drain: float,
    insecure_bind: bool,
    log_level: str,
) -> None:
    """The timed-job server. What it acknowledged it never loses."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        addresses = [parse_address(url) for url in urls]
    except ListenError as error:
        _fail(EXIT_USAGE, str(error))
    for address in addresses:
        if not address.is_local and not insecure_bind:
            _fail(
                EXIT_USAGE,
                f"{address} can be reached from other machines, and there is no authentication yet; listen on loopback"
                " or a unix socket, or say --insecure-bind",
            )
    tune_interpreter()
    _raise_file_limit()
    try:
        trio.run(_serve, addresses, store, durability, drain)
    except* StoreError as errors:
        _fail(EXIT_STORE, str(errors.exceptions[0]))
    except* ListenError as errors:
        _fail(EXIT_LISTEN, str(errors.exceptions[0]))
    except* sqlite3.Error as errors:
        _fail(EXIT_STORE_FAILED, f"{store} failed: {errors.exceptions[0]}; nothing was acknowledged after that")


async def _serve(addresses: list[Address], path: Path, durability: Literal["full", "relaxed"], drain_s: float) -> None:
    store = SqliteStore(path, durability)
    settings = Settings(server=f"periodicd {__version__}", durability=durability)
    engine = Engine(store, system_now(), settings)
    listeners = await open_listeners(addresses)
    for listener in listeners:
        log.info("listening on %s", _name(listener))
    log.info("store %s, boot %d, durability %s", path, engine.scheduler.boot, durability)
    server = Server(engine, store, Limits(message_bytes=settings.message_bytes), drain_s)
    try:
        await server.run(listeners)
    finally:
        for address in addresses:
            if address.path is not None:
                address.path.unlink(missing_ok=True)
    log.info("stopped")


def _name(listener: trio.SocketListener) -> str:
    name = listener.socket.getsockname()
    return str(Address(name[0], name[1], None)) if isinstance(name, tuple) else f"unix://{name}"


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(code: int, message: str) -> NoReturn:
    click.echo(f"periodicd: {message}", err=True)
    sys.exit(code)
