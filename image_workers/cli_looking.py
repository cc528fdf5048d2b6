"""Commands of `image-workers` that look: at the configuration and what it names, and at what a crash left."""

import logging
import sys
import time
from pathlib import Path

import click
import trio

from image_workers.config import Config, load
from image_workers.errors import Unavailable
from image_workers.functions import reader
from image_workers.starting import LEFT, client_of, config_argument, errors_end_it, prepare, stores
from image_workers.stores import Store
from image_workers.sweep import orphans
from image_workers.web.access import check_folder, token_of
from periodic_client import CannotConnect
from periodic_client.cli_output import visible


@click.command(short_help="Say whether CONFIG can be used.")
@config_argument
def check(config: Path) -> None:
    """Say whether `run` could begin with CONFIG (default: config.yml): its keys, encoder, stores and daemon.

    Folders that are missing are made, as `run` would make them. Ends with what `run` would end with, or with 5 if the
    daemon does not answer.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_end_it():
        settings = load(config)
        check_folder(settings)
        token_of(settings)
        click.echo(f"{config}: understood")
        prepare(settings)
        click.echo(f"root and bucket answer, encoder {settings.encoder} is there")
        trio.run(_ping, settings)
        click.echo("the daemon answers")


async def _ping(config: Config) -> None:
    async with client_of(config) as client:
        await client.ping()


@click.command(short_help="List what a crash orphaned.")
@config_argument
@click.option("--remove", is_flag=True, help="Remove what is listed.")
def sweep(config: Path, remove: bool) -> None:
    """List what a crash orphaned in root and in the bucket of CONFIG (default: config.yml).

    That is content that never got its name, and files below root that no job reads and none removes, if they are older
    than a day. Ends with 3 if there was any and it was left.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with errors_end_it():
        settings = load(config)
        root, bucket = stores(settings)
        try:
            left = trio.run(_sweep, settings, root, bucket, remove)
        except CannotConnect:
            raise
        except OSError as error:
            raise Unavailable(f"what was not listed yet is not known: {error}") from error
    sys.exit(LEFT if left else 0)


async def _sweep(config: Config, root: Store, bucket: Store | None, remove: bool) -> int:
    """List the orphans, and remove them if that is wanted. Returns how many are left."""
    found = left = size = 0
    now_s = time.time()
    async with client_of(config) as client:

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
