"""Reads the configuration, prepares the folders, and serves the functions until a signal. Decides nothing else."""

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import click
import trio

from image_workers.config import Config, load
from image_workers.decoder import Decoder
from image_workers.deletion import Deletion
from image_workers.errors import ConfigError, Unavailable
from image_workers.functions import ImageFunctions
from image_workers.guetzli import Guetzli
from image_workers.stores import Store
from image_workers.stores.opened import open_store
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import DirectoryConfig, StoreConfig
from periodic_client import Client, Worker

_LONGEST_WAIT_S = 15
SAVE_BYTES_MAX = 16 * 2**20
"""Protocol.md, section 1, limits: of a workload."""

EXIT_CODES = """\b
Exit codes:
  0   stopped by SIGTERM or SIGINT
  1   a bug, or the daemon refused a function: there is a traceback
  2   the command line or the configuration is wrong, or what it
      asks for cannot be used; to start again does not help
  74  standard output cannot be written (--example, --help,
      --version)
  75  the bucket did not answer; to start again may help
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the functions work on."""

    root: Store
    bucket: Store | None
    guetzli: Guetzli | None


def _print_example(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo((resources.files("image_workers") / "example.yml").read_text(), file=sys.stdout, nl=False)
        context.exit()


@click.command(epilog=EXIT_CODES)
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print a configuration file in which every key is explained, and exit.",
)
@click.version_option(package_name="periodicd")
@click.argument("config", default="config.yml", type=click.Path(path_type=Path))
def command(config: Path) -> None:
    """Save, upload, resize and compress pictures, as the configuration file CONFIG says (default: config.yml)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    try:
        settings = load(config)
        prepared = prepare(settings)
        _warn(settings)
        trio.run(serve, settings, prepared)
    except ConfigError as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(2)
    except Unavailable as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(os.EX_TEMPFAIL)


def prepare(config: Config) -> Prepared:
    """Make the folders and the bucket, and find guetzli.

    Raises `ConfigError` if one cannot be had, `Unavailable` if the bucket does not answer for a while.
    """
    guetzli = None
    if config.guetzli == "here":
        program = shutil.which("guetzli")
        if program is None:
            raise ConfigError(
                "enable-guetzli: the program guetzli was not found; install it (Debian: apt install guetzli) "
                "or set enable-guetzli: false"
            )
        run = config.guetzli_run
        guetzli = Guetzli(program, run.quality, run.memlimit_mb, run.time_limit_s, run.verbose == 1)
    try:
        scratch = Scratch(config.scratch.folder, config.scratch.megabytes * 1_000_000)
        root = _store(config, config.root, "root", scratch)
        bucket = _store(config, config.bucket, "bucket", scratch) if config.upload == "here" else None
    except OSError as error:
        raise ConfigError(f"the folder {error.filename} cannot be used: {error.strerror}") from error
    return Prepared(root, bucket, guetzli)


def _store(config: Config, store: StoreConfig, key: str, scratch: Scratch) -> Store:
    """The store; one that does not answer is tried for a while, since a network may come up after us."""
    wait_s = 1
    until_s = time.monotonic() + (0 if isinstance(store, DirectoryConfig) else store.wait_s)
    while True:
        try:
            return open_store(store, key, config.thread, scratch, config.upload_limit_ms / 1000)
        except Unavailable as error:
            if time.monotonic() + wait_s > until_s:
                raise
            _log.warning("%s; trying again in %d s", error, wait_s)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


async def serve(config: Config, prepared: Prepared) -> None:
    """Perform jobs until SIGTERM or SIGINT; then finish the running ones in the time that the worker gives them."""
    try:
        worker = Worker(config.url, credit=config.thread)
        client = Client(config.url)
    except ValueError as error:  # a url in the file has been checked, so this one is the environment's
        raise ConfigError(f"PERIODIC_URL: {error}") from error
    decoder = Decoder(min(config.thread, len(os.sched_getaffinity(0))), config.decoding)
    functions = ImageFunctions(config, prepared.root, prepared.bucket, prepared.guetzli, client.get, decoder)
    deletion = Deletion(config, prepared.root, client.remove)
    for function in (*functions.served(), *deletion.served()):
        worker.function(function.func, limit=function.limit)(function.call)
    with decoder:
        async with client, trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                nursery.start_soon(_stop_on_signal, signals, worker)
                await worker.run()
                nursery.cancel_scope.cancel()


async def _stop_on_signal(signals: AsyncIterator[int], worker: Worker) -> None:
    async for number in signals:
        _log.info("stopping on %s", signal.Signals(number).name)
        worker.stop()


def _warn(config: Config) -> None:
    if config.save == "here" and config.max_bytes > SAVE_BYTES_MAX:
        _log.info(
            "max-megabytes %d is for files that are put into root by hand; save takes %d bytes, as any job does",
            config.max_bytes // 1_000_000,
            SAVE_BYTES_MAX,
        )
    run = config.guetzli_run
    if config.guetzli == "here" and run.lock_name:
        _log.info(
            "guetzli.lock-name %r: lock-count %d is the limit of this worker alone; others have their own",
            run.lock_name,
            run.lock_count,
        )
