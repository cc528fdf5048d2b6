"""Commands of `image-workers` that bring pictures in: from strangers over HTTP, and from a folder."""

import logging
import sys
from pathlib import Path

import click
import trio

from image_workers.config import Config, load
from image_workers.errors import ConfigError
from image_workers.folders import RECORD, Record, Tally, files_in, submitted
from image_workers.intake import Intake
from image_workers.starting import LEFT, client_of, config_argument, errors_end_it, root_of, scratch_of
from image_workers.stores import Store
from image_workers.web.access import check_folder
from periodic_client.cli_output import counting, visible

_INTERRUPTED = 130


@click.command(short_help="A page to drop pictures on.")
@config_argument
def serve(config: Path) -> None:
    """Serve a page to drop pictures on, as CONFIG (default: config.yml) says under serve, until SIGTERM or SIGINT.

    It takes pictures in, and shows how far each is; the workers that do the rest run beside it (image-workers run).
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with errors_end_it():
        try:
            from image_workers.web import server
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in ("starlette", "hypercorn", "python_multipart"):
                raise
            raise ConfigError(f"serve needs {missing}, which cannot be found; pip install 'periodicd[serve]'") from None
        settings = load(config)
        check_folder(settings)
        scratch = scratch_of(settings)
        root = root_of(settings, scratch)

        def told(url: str) -> None:
            logging.getLogger(__name__).info("the page is at %s", url)

        trio.run(server.serve, settings, root, scratch, client_of(settings), told)


@click.command("submit-dir", short_help="Submit the pictures of a folder.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@config_argument
@click.option("--record", type=click.Path(dir_okay=False, path_type=Path), help=f"Default: {RECORD} in DIR.")
@click.option("--again", is_flag=True, help="Submit also what is unchanged.")
def submit_dir(folder: Path, config: Path, record: Path | None, again: bool) -> None:
    """Submit the pictures in DIR and its folders, each under its path below DIR, as CONFIG (default: config.yml) says.

    They are written to root and their first steps submitted, so they may be as large as max-megabytes. What was
    submitted is kept in a record: given again, the command goes on where it stopped, and skips what is unchanged.
    Ends with 3 if there are files that it had to leave.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_end_it():
        settings = load(config)
        root = root_of(settings, scratch_of(settings))
        try:
            with Record(record or folder / RECORD, settings, again) as known:
                tally = trio.run(
                    _submit, settings, root, folder, known, restrict_keyboard_interrupt_to_checkpoints=True
                )
        except KeyboardInterrupt:
            click.echo("image-workers: interrupted; give the command again to go on", err=True)
            sys.exit(_INTERRUPTED)
    click.echo(f"{tally.submitted} submitted, {tally.unchanged} unchanged, {tally.left} left")
    sys.exit(LEFT if tally.left else 0)


async def _submit(config: Config, root: Store, folder: Path, record: Record) -> Tally:
    paths = await trio.to_thread.run_sync(files_in, folder, record.path)
    async with client_of(config) as client:
        await client.ping()
        intake = Intake(config, root, client)
        tally = Tally()
        with counting(len(paths)) as count:
            for done, path in enumerate(paths, 1):
                name = path.relative_to(folder).as_posix()
                reason = await submitted(intake, config, record, path, name, tally)
                if reason is not None:
                    click.echo(f"image-workers: left {visible(name)}: {visible(reason)}", err=True)
                count(done)
    return tally
