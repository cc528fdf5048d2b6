"""Files below one folder, named by checked names: read with a limit, written whole or not at all.

Nothing outside the folder is read, written or removed, whatever the name says and wherever symbolic links lead. A file
is written in the folder's scratch folder, synced and then renamed, so that a reader sees the old content or the new one
and never a half. What a killed process left in the scratch folder is removed at a later start.

Meant for a folder that several workers share; the scratch folder must be on the same file system as the rest.
"""

import errno
import io
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
from image_workers.progress import UNWATCHED, Moved

_LEFTOVER_AGE_S = 24 * 3600
"""No write takes so long, so an older scratch file belongs to nobody, not even on another machine."""
_MOVE_ATTEMPTS = 100
PART_BYTES = 262_144
"""Files are read and written in such parts, so that it can be seen whether they move."""


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

    def read(self, name: str, max_bytes: int, moved: Moved = UNWATCHED.moved) -> tuple[bytes, str]:
        """The content and the version of the file `name`. Raises `Refused` if it has more than `max_bytes`."""
        content = io.BytesIO()
        with self.open(name) as (file, version):
            while part := file.read(PART_BYTES):
                moved(len(part))
                content.write(part)
                if content.tell() > max_bytes:
                    raise Refused(f"{name!r} is larger than {max_bytes} bytes")
        return content.getvalue(), version

    @contextmanager
    def replacing(self, name: str, moved: Moved = UNWATCHED.moved) -> Iterator[BinaryIO]:
        """A file to write to, which takes the place of `name` at the end of a block that raised nothing.

        Nor does it if `moved` raises then: a disk may have held up an old run until a newer one has written.
        """
        path = self.path(name)
        scratch = self._scratch / secrets.token_hex(16)
        try:
            with scratch.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            moved(0)
            self._move(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def write(self, name: str, content: bytes, moved: Moved = UNWATCHED.moved) -> str:
        """Write the file `name` and return its version. On disk when this returns."""
        with self.replacing(name, moved) as file:
            copy(io.BytesIO(content), file, moved)
            file.flush()
            os.fsync(file.fileno())  # a network file system sets the final time only now
            return _version(os.fstat(file.fileno()))

    def version(self, name: str) -> str | None:
        """A text that is another one after each write of `name`; `None` if there is no such file."""
        try:
            return _version(self.path(name).lstat())
        except FileNotFoundError:
            return None

    def remove(self, name: str, version: str | None = None) -> bool:
        """Remove the file `name`, and the folders that are empty then; tell whether there was one.

        Given a version, only if it still has that one.
        """
        path = self.path(name)
        removed = False
        with suppress(FileNotFoundError):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            aside = self._scratch / secrets.token_hex(16)
            path.rename(aside)
            removed = version in (None, _version(aside.lstat()))
            if not removed:  # it was written anew since somebody looked: it goes back, unless there is a newer one yet
                with suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
        # Also if there was no file: who removed it may have been killed before this.
        with suppress(FileNotFoundError):  # it was empty then, and another removal took it
            _sync_folder(self._remove_empty(path.parent))
        return removed

    def _remove_empty(self, folder: Path) -> Path:
        """The first folder from here upwards that is not removed since it is not empty."""
        while folder != self.folder:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # not empty, most of the time; whatever else it is, an empty folder does no harm
                return folder
            folder = folder.parent
        return folder

    def _move(self, scratch: Path, path: Path) -> None:
        """Give the scratch file its place, and make the folders that it needs. On disk when this returns."""
        unsynced = {path.parent}
        for attempt in range(_MOVE_ATTEMPTS):
            unsynced.update(folder.parent for folder in self._missing(path.parent))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch.replace(path)
                break
            except FileNotFoundError:  # a removal took away the folder, which was empty
                if attempt == _MOVE_ATTEMPTS - 1:
                    raise
        for folder in unsynced:
            _sync_folder(folder)

    def _missing(self, folder: Path) -> Iterator[Path]:
        while folder != self.folder and not folder.is_dir():
            yield folder
            folder = folder.parent

    def _remove_leftovers(self) -> None:
        oldest = time.time() - _LEFTOVER_AGE_S
        for leftover in self._scratch.iterdir():
            with suppress(FileNotFoundError):  # removed by another worker, or finished
                if leftover.lstat().st_mtime < oldest:
                    leftover.unlink()


def copy(source: BinaryIO, target: BinaryIO, moved: Moved) -> None:
    while part := source.read(PART_BYTES):
        target.write(part)
        moved(len(part))


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
