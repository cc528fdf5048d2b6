"""Files below one folder, named by checked names: read with a limit, written whole or not at all.

Nothing outside the folder is read, written or removed, whatever the name says and wherever symbolic links lead. A file
is written in the folder's scratch folder, synced and then renamed, so that a reader sees the old content or the new one
and never a half. What a killed process left in the scratch folder is removed at a later start.

Meant for a folder that several workers share; the scratch folder must be on the same file system as the rest.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from image_workers.errors import Refused
from image_workers.names import SCRATCH_FOLDER, check_name

_LEFTOVER_AGE_S = 24 * 3600
"""No write takes so long, so an older scratch file belongs to nobody, not even on another machine."""


class Root:
    """The folder; made, with its scratch folder, if it does not exist. Raises `OSError` if that cannot be done."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._scratch = self.folder / SCRATCH_FOLDER
        self._scratch.mkdir(exist_ok=True)
        self._remove_leftovers()

    def path(self, name: str) -> Path:
        """Where the file `name` is or would be. Raises `Refused` if a symbolic link is there or leads outside."""
        check_name(name)
        path = self.folder / name
        folder = Path(os.path.realpath(path.parent))
        if not folder.is_relative_to(self.folder):
            raise Refused(f"the name {name!r} leads outside of {self.folder} through a symbolic link")
        if path.is_symlink():
            raise Refused(f"{name!r} is a symbolic link, not a file")
        return folder / path.name

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, str]]:
        """The file `name` for reading, and the version of what will be read. Raises `Refused` if it is no file."""
        path = self.path(name)
        # O_NONBLOCK: opening a pipe that somebody put here must not wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{name!r} is not a regular file")
            yield file, _version(status)

    def read(self, name: str, max_bytes: int) -> tuple[bytes, str]:
        """The content and the version of the file `name`. Raises `Refused` if it has more than `max_bytes`."""
        with self.open(name) as (file, version):
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise Refused(f"{name!r} is larger than {max_bytes} bytes")
        return content, version

    @contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, which takes the place of `name` at the end of a block that raised nothing."""
        path = self.path(name)
        scratch = self._scratch / secrets.token_hex(16)
        try:
            with scratch.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self._make_folder(path.parent)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def write(self, name: str, content: bytes) -> str:
        """Write the file `name` and return its version. On disk when this returns."""
        with self.replacing(name) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a network file system sets the final time only now
            return _version(os.fstat(file.fileno()))

    def version(self, name: str) -> str | None:
        """A text that is another one after each write of `name`; `None` if there is no such file."""
        try:
            return _version(self.path(name).lstat())
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> bool:
        """Remove the file `name`, and tell whether there was one."""
        path = self.path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        _sync_folder(path.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        # Ends at the root folder at the latest: a scratch file has just been written below it.
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _remove_leftovers(self) -> None:
        oldest = time.time() - _LEFTOVER_AGE_S
        for leftover in self._scratch.iterdir():
            with suppress(FileNotFoundError):  # removed by another worker, or finished
                if leftover.lstat().st_mtime < oldest:
                    leftover.unlink()


def _version(status: os.stat_result) -> str:
    # The time alone is not enough: its steps are some milliseconds. The old file and the new one exist side by side for
    # a moment, so they have different inodes.
    return f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
