"""Reads the configuration, prepares the folders, and serves the functions until a signal. Decides nothing else.

Exit codes: 0 after SIGTERM or SIGINT, 2 if the configuration, or something it asks for, cannot be used.
"""

import logging
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from image_workers.config import Config, load
from image_workers.errors import ConfigError
from image_workers.files import Root
from image_workers.functions import ImageFunctions
from image_workers.guetzli import Guetzli
from image_workers.storage import Bucket, open_bucket
from periodic_client import Client, Worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the functions work on."""

    root: Root
    bucket: Bucket
    guetzli: Guetzli | None


@click.command()
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


def prepare(config: Config) -> Prepared:
    """Make the folders and the bucket, and find guetzli. Raises `ConfigError` if one cannot be had."""
    guetzli = None
    if config.guetzli == "here":
        program = shutil.which("guetzli")
        if program is None:
            raise ConfigError(
                "enable-guetzli: the program guetzli was not found; install it (Debian: apt install guetzli) "
                "or set enable-guetzli: false"
            )
        run = config.guetzli_run
        guetzli = Guetzli(program, run.quality, run.memlimit_mb, run.time_limit_s, run.verbose)
    try:
        root = Root(config.root)
        bucket = open_bucket(config)
    except OSError as error:
        raise ConfigError(f"the folder {error.filename} cannot be used: {error.strerror}") from error
    return Prepared(root, bucket, guetzli)


async def serve(config: Config, prepared: Prepared) -> None:
    """Perform jobs until SIGTERM or SIGINT; then finish the running ones in the time that the worker gives them."""
    try:
        worker = Worker(config.url, credit=config.thread)
        client = Client(config.url)
    except ValueError as error:  # a url in the file has been checked, so this one is the environment's
        raise ConfigError(f"PERIODIC_URL: {error}") from error
    functions = ImageFunctions(config, prepared.root, prepared.bucket, prepared.guetzli, client.get)
    for function in functions.served():
        worker.function(function.func, limit=function.limit)(function.call)
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
    run = config.guetzli_run
    if config.guetzli == "here" and run.lock_name:
        _log.info(
            "guetzli.lock-name %r: lock-count %d is the limit of this worker alone; others have their own",
            run.lock_name,
            run.lock_count,
        )
