"""Reads the configuration, prepares the folders, and serves the functions until a signal. Decides nothing else."""

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import click
import trio

from image_workers.config import Config, load
from image_workers.decoder import Decoder
from image_workers.deletion import Deletion
from image_workers.errors import ConfigError, Unavailable
from image_workers.functions import ImageFunctions, reader
from image_workers.guetzli import Guetzli
from image_workers.making.encoders import missing_for_jpegli
from image_workers.stores import Store
from image_workers.stores.folder import FolderStore
from image_workers.stores.opened import open_store
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import DirectoryConfig, StoreConfig
from image_workers.sweep import orphans
from periodic_client import CannotConnect, Client, Worker
from periodic_client.cli_output import visible

_LONGEST_WAIT_S = 15
_LEFT = 3
_NO_DAEMON = 5
SAVE_BYTES_MAX = 16 * 2**20
"""Protocol.md, section 1, limits: of a workload."""

EXIT_CODES = """\b
Exit codes:
  0   stopped by SIGTERM or SIGINT; sweep has left nothing
  1   a bug, or the daemon refused a function: there is a traceback
  2   the command line or the configuration is wrong, or what it
      asks for cannot be used; to start again does not help
  3   sweep has found something and left it
  5   sweep did not reach the daemon
  74  standard output cannot be written (--example, --help,
      --version)
  75  a store did not answer; to start again may help
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


class _RunByDefault(click.Group):
    """`image-workers CONFIG` is `image-workers run CONFIG`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and not args[0].startswith("-")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


_config = click.argument("config", default="config.yml", type=click.Path(path_type=Path))


@click.group(cls=_RunByDefault, epilog=EXIT_CODES)
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print a configuration file in which every key is explained, and exit.",
)
@click.version_option(package_name="periodicd")
def command() -> None:
    """Save, upload, resize and compress pictures, as a configuration file says.

    `image-workers CONFIG` is `image-workers run CONFIG`.
    """


@command.command(short_help="Perform the jobs, until a signal.")
@_config
def run(config: Path) -> None:
    """Perform the jobs, as CONFIG says (default: config.yml), until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    with _errors_end_it():
        settings = load(config)
        prepared = prepare(settings)
        _warn(settings)
        trio.run(serve, settings, prepared)


@command.command(short_help="List what a crash orphaned.")
@_config
@click.option("--remove", is_flag=True, help="Remove what is listed.")
def sweep(config: Path, remove: bool) -> None:
    """List what a crash orphaned in root and in the bucket of CONFIG (default: config.yml).

    That is content that never got its name, and files below root that no job reads and none removes, if they are older
    than a day. Ends with 3 if there was any and it was left.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _errors_end_it():
        settings = load(config)
        root, bucket = stores(settings)
        try:
            left = trio.run(_sweep, settings, root, bucket, remove)
        except CannotConnect:
            raise
        except OSError as error:
            raise Unavailable(f"what was not listed yet is not known: {error}") from error
    sys.exit(_LEFT if left else 0)


@contextmanager
def _errors_end_it() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(2)
    except CannotConnect as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(_NO_DAEMON)
    except Unavailable as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(os.EX_TEMPFAIL)


def prepare(config: Config) -> Prepared:
    """Make the folders and the bucket, and find the encoder.

    Raises `ConfigError` if one cannot be had, `Unavailable` if the bucket does not answer for a while.
    """
    guetzli = _guetzli(config) if config.encoder == "guetzli" and config.compress == "here" else None
    if config.encoder == "jpegli" and (missing := missing_for_jpegli()):
        raise ConfigError(
            f"encoder: jpegli needs {' and '.join(missing)}, which cannot be found; pip install 'periodicd[images]', "
            "or set encoder: pillow"
        )
    root, bucket = stores(config)
    for store in (root, bucket):
        if isinstance(store, FolderStore):
            store.remove_leftovers()
    return Prepared(root, bucket, guetzli)


def stores(config: Config) -> tuple[Store, Store | None]:
    """Root, and the bucket if uploads are made here. Raises as `prepare`."""
    try:
        scratch = Scratch(config.scratch.folder, config.scratch.megabytes * 1_000_000)
        root = _store(config, config.root, "root", scratch)
        return root, _store(config, config.bucket, "bucket", scratch) if config.upload == "here" else None
    except OSError as error:
        raise ConfigError(f"the folder {error.filename} cannot be used: {error.strerror}") from error


def _guetzli(config: Config) -> Guetzli:
    program = shutil.which("guetzli")
    if program is None:
        raise ConfigError(
            "encoder: the program guetzli was not found; install it (Debian: apt install guetzli), "
            "or set encoder: jpegli"
        )
    run = config.guetzli_run
    return Guetzli(program, run.quality, run.memlimit_mb, run.time_limit_s, run.verbose == 1)


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


async def _sweep(config: Config, root: Store, bucket: Store | None, remove: bool) -> int:
    """List the orphans, and remove them if that is wanted. Returns how many are left."""
    found = left = size = 0
    now_s = time.time()
    async with _client(config) as client:

        async def used(name: str) -> str | None:
            if of := await reader(config, client.get, name):
                return of
            removal = await client.get("remove", name)
            return f"remove {name}, which is {removal['state']}" if removal else None

        async for orphan in orphans(root, bucket, None if config.remove == "off" else used, now_s):
            gone = remove and await orphan.remove()
            found, left, size = found + 1, left + (not gone), size + orphan.entry.size
            days = (now_s - orphan.entry.modified_s) / (24 * 3600)
            click.echo(
                f"{'removed' if gone else 'found'} in {orphan.place}: {visible(orphan.entry.name)}, "
                f"{orphan.entry.size:,} bytes, {days:.0f} days old: {orphan.why}"
            )
    hint = "; image-workers sweep --remove removes them" if left and not remove else ""
    click.echo(f"{found} orphans, {size:,} bytes{hint}")
    return left


def _client(config: Config) -> Client:
    try:
        return Client(config.url)
    except ValueError as error:  # a url in the file has been checked, so this one is the environment's
        raise ConfigError(f"PERIODIC_URL: {error}") from error


async def serve(config: Config, prepared: Prepared) -> None:
    """Perform jobs until SIGTERM or SIGINT; then finish the running ones in the time that the worker gives them."""
    client = _client(config)
    worker = Worker(config.url, credit=config.thread)
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
    if config.upload == "elsewhere" and config.bucket != Config().bucket:
        _log.info("bucket is not used: uploads are left to another worker (enable-upload: elsewhere)")
    if config.save == "here" and config.max_bytes > SAVE_BYTES_MAX:
        _log.info(
            "max-megabytes %d is for files that are put into root by hand; save takes %d bytes, as any job does",
            config.max_bytes // 1_000_000,
            SAVE_BYTES_MAX,
        )
    run = config.guetzli_run
    if config.encoder != "guetzli" or config.compress != "here":
        return
    if left := [resize.suffix for resize in config.resizes if not config.can_gain_by_guetzli(resize)]:
        _log.warning(
            "guetzli at quality %d needs more bytes than thumbnails of the quality that the configuration gives to %s, "
            "so these stay as they are; set quality: 98 for guetzli to save something, or encoder: jpegli",
            run.quality,
            ", ".join(left),
        )
    if run.lock_name:
        _log.info(
            "guetzli.lock-name %r: lock-count %d is the limit of this worker alone; others have their own",
            run.lock_name,
            run.lock_count,
        )
