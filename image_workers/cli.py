"""Reads the configuration, prepares the folders, and serves the functions until a signal. Decides nothing else."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import click
import trio

from image_workers.cli_looking import check, sweep
from image_workers.cli_taking import serve, submit_dir
from image_workers.config import Config, load
from image_workers.decoder import Decoder
from image_workers.deletion import Deletion
from image_workers.finished import Finish
from image_workers.functions import ImageFunctions
from image_workers.locks import set_locks
from image_workers.starting import Prepared, client_of, config_argument, errors_end_it, prepare
from periodic_client import Worker

SAVE_BYTES_MAX = 16 * 2**20
"""Protocol.md, section 1, limits: of a workload."""

EXIT_CODES = """\b
Exit codes:
  0    stopped by SIGTERM or SIGINT; or all was done, and nothing left
  1    a bug, or the daemon refused a function: there is a traceback
  2    the command line or the configuration is wrong, or what it
       asks for cannot be used; to start again does not help
  3    sweep has found something and left it; submit-dir has left
       files that it cannot submit
  5    the daemon was not reached (check, sweep, submit-dir)
  8    standard output cannot be written
  75   a store did not answer, or the daemon takes no more jobs of a
       function (queue_max); to start again may help
  130  interrupted (submit-dir): what was submitted is not again
"""

_log = logging.getLogger(__name__)


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
@config_argument
def run(config: Path) -> None:
    """Perform the jobs, as CONFIG says (default: config.yml), until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    with errors_end_it():
        settings = load(config)
        prepared = prepare(settings)
        _warn(settings)
        trio.run(perform, settings, prepared)


async def perform(config: Config, prepared: Prepared) -> None:
    """Perform jobs until SIGTERM or SIGINT; then finish the running ones in the time that the worker gives them."""
    client = client_of(config)
    worker = Worker(config.url, credit=config.thread)
    decoder = Decoder(min(config.thread, len(os.sched_getaffinity(0))), config.decoding)
    functions = ImageFunctions(config, prepared.root, prepared.bucket, prepared.guetzli, client.get, decoder)
    deletion = Deletion(config, prepared.root, client.remove)
    finish = Finish(config, prepared.root, prepared.bucket)
    for function in (*functions.served(), *deletion.served(), *finish.served()):
        worker.function(function.func, limit=function.limit)(function.call)
    with decoder:
        async with client, trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                nursery.start_soon(_stop_on_signal, signals, worker)
                nursery.start_soon(set_locks, client, config)
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
    at_once = f"{run.megapixels_at_once} megapixels" + (f", and {run.lock_count} pictures" if run.lock_name else "")
    _log.info("guetzli: all workers of the daemon together compress %s at once", at_once)


for each in (serve, check, sweep, submit_dir):
    command.add_command(each)
