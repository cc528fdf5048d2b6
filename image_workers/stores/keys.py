"""A file that holds the key of a store, for its owner's eyes only. It is read anew when it has changed.

So a key that is lent for an hour (STS) can be exchanged by whoever lends it, while the workers run.
"""

import os
import stat
from pathlib import Path

from image_workers.errors import ConfigError
from image_workers.values import read_document, secret

_MAX_BYTES = 65_536
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFile:
    """A YAML mapping of names to texts. Raises `ConfigError`, which names the file but nothing that is in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._values: dict[str, str] = {}

    def read(self) -> tuple[dict[str, str], bool]:
        """What the file holds now, and whether that was read anew."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                now = (status.st_mtime_ns, status.st_ino, status.st_size)
                if now == self._seen:
                    return self._values, False
                self._check(status)
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from error
        self._values = self._parsed(content)
        self._seen = now
        return self._values, True

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{self._path}: is not a file")
        if status.st_mode & _OTHERS:
            raise ConfigError(
                f"{self._path}: holds a key, and others than its owner may read or write it; chmod 600 {self._path}"
            )

    def _parsed(self, content: bytes) -> dict[str, str]:
        try:
            found = read_document(content[:_MAX_BYTES].decode())
            if len(content) > _MAX_BYTES or not isinstance(found, dict):
                raise ConfigError("must be a mapping of names and texts")
            return {str(name): secret(value, str(name)) for name, value in found.items()}
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path}: is not a text in UTF-8") from None
        except ConfigError as error:
            raise ConfigError(f"{self._path}: {error}") from None
