"""What the commands of `image-workers` begin with: stores, encoder and daemon as the configuration says, and what the
process ends with if one cannot be had. Errors become a message and an exit code here, and nowhere else.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from image_workers.config import Config
from image_workers.errors import ConfigError, Unavailable
from image_workers.guetzli import Guetzli
from image_workers.making.encoders import missing_for_jpegli
from image_workers.stores import Store
from image_workers.stores.folder import FolderStore
from image_workers.stores.opened import open_store
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import DirectoryConfig, StoreConfig
from periodic_client import CannotConnect, Client, ConnectionLost, Full, TimedOut

_LONGEST_WAIT_S = 15
LEFT, NO_DAEMON = 3, 5

_log = logging.getLogger(__name__)

config_argument = click.argument("config", default="config.yml", type=click.Path(path_type=Path))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the functions work on."""

    root: Store
    bucket: Store | None
    guetzli: Guetzli | None


@contextmanager
def errors_end_it() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(2)
    except (CannotConnect, ConnectionLost, TimedOut) as error:
        click.echo(f"image-workers: {error}", err=True)
        sys.exit(NO_DAEMON)
    except (Unavailable, Full) as error:
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


def stores(config: Config, scratch: Scratch | None = None) -> tuple[Store, Store | None]:
    """Root, and the bucket if uploads are made here. Raises as `prepare`."""
    try:
        scratch = scratch or scratch_of(config)
        root = _store(config, config.root, "root", scratch)
        return root, _store(config, config.bucket, "bucket", scratch) if config.upload == "here" else None
    except OSError as error:
        raise ConfigError(f"the folder {error.filename} cannot be used: {error.strerror}") from error


def scratch_of(config: Config) -> Scratch:
    try:
        return Scratch(config.scratch.folder, config.scratch.megabytes * 1_000_000)
    except OSError as error:
        raise ConfigError(f"the folder {error.filename} cannot be used: {error.strerror}") from error


def root_of(config: Config, scratch: Scratch) -> Store:
    """Root alone. Raises as `prepare`."""
    try:
        return _store(config, config.root, "root", scratch)
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


def client_of(config: Config) -> Client:
    try:
        return Client(config.url)
    except ValueError as error:  # a url in the file has been checked, so this one is the environment's
        raise ConfigError(f"PERIODIC_URL: {error}") from error
