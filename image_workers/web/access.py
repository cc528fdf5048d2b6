"""What must be right before the page opens: the token of uploads, and the place below root where they go."""

import os
import stat
from pathlib import Path

from image_workers.config import Config
from image_workers.errors import ConfigError, Refused
from image_workers.values import secret

TOKEN_VARIABLE = "IMAGE_WORKERS_TOKEN"  # noqa: S105 - its name
_TOKEN_BYTES_MAX = 1000
_EXAMPLE_ID = f"{'0' * 32}.jpeg"


def token_of(config: Config) -> str | None:
    """The token of uploads, from its file or the environment; None if none is needed. Raises `ConfigError`."""
    path = config.serve.token_file
    if path is None:
        given = os.environ.get(TOKEN_VARIABLE)
        return None if given is None else secret(given, TOKEN_VARIABLE)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"{path}: holds a token, and others than its owner may read or write it; chmod 600 {path}"
            )
        return secret(_first(path), f"{path}")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _first(path: Path) -> str:
    with path.open(encoding="ascii") as file:
        return file.read(_TOKEN_BYTES_MAX).strip()


def check_folder(config: Config) -> None:
    """Raise `ConfigError` if an upload could not have its place below root."""
    try:
        config.layout.check_original(f"{config.serve.folder}/{_EXAMPLE_ID}")
    except Refused as error:
        raise ConfigError(f"serve.folder: {error}") from error
