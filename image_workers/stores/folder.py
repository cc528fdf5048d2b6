"""A store that is a folder: on a disk of this machine, or a share that several machines mount.

Nothing outside the folder is read, written or removed, whatever the name says and wherever symbolic links lead. A file
is written in the folder's scratch folder, synced and then renamed. What a killed process left in the scratch folder is
removed at a worker's later start. The scratch folder must be on the same file system as the rest.

The version is the SHA-256 of the content, which costs a look at all of it. What a file system tells instead differs
between those who look: inodes and the fractions of times change with the mount, the cache and the moment.
"""

import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from image_workers.errors import Refused
from image_workers.names import SCRATCH_FOLDER, check_name
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores import PART_BYTES, Entry, Stat, Store, check_size, unfinished_folder

_LEFTOVER_AGE_S = 24 * 3600
"""No write takes so long, so an older scratch file belongs to nobody, not even on another machine."""
_MOVE_ATTEMPTS = 100


class FolderStore(Store):
    """The folder; made, with its scratch folder, if it does not exist. Raises `OSError` if that cannot be done."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._scratch = self.folder / SCRATCH_FOLDER
        self._scratch.mkdir(exist_ok=True)

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

    def put(self, name: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
        """The content type is not kept: web servers tell it from the name."""
        version = _hash()
        with self.replacing(name, progress) as file:
            while part := content.read(PART_BYTES):
                file.write(part)
                version.update(part)
                progress.moved(len(part))
        return version.hexdigest()

    def stat(self, name: str) -> Stat | None:
        try:
            with self.open(name) as (file, version):
                return Stat(os.fstat(file.fileno()).st_size, version)
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        try:
            status = self.path(name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def open(
        self, name: str, progress: Progress = UNWATCHED, max_bytes: int | None = None
    ) -> Iterator[tuple[BinaryIO, str]]:
        """Raises `Refused` too if it is no file."""
        path = self.path(name)
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{name!r} is not a regular file")
            check_size(name, status.st_size, max_bytes)
            version = _version(file, progress)
            file.seek(0)
            yield file, version

    @contextmanager
    def replacing(self, name: str, progress: Progress = UNWATCHED) -> Iterator[BinaryIO]:
        """A file to write to, which takes the place of `name` at the end of a block that raised nothing.

        Nor does it if `progress` is stopped then, or if a write of the same name began meanwhile: a disk may have held
        up an old run until a newer one has written.
        """
        path = self.path(name)
        scratch = self._scratch / f"{self._take_away(name)}{secrets.token_hex(16)}"
        try:
            with scratch.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            progress.moved(0)
            self._move(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def remove(self, name: str, version: str | None = None) -> bool:
        """The folders that are empty then go too."""
        path = self.path(name)
        removed = False
        if version is None:
            self._take_away(name)
        with suppress(FileNotFoundError):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            aside = self._scratch / secrets.token_hex(16)
            path.rename(aside)
            try:
                removed = version is None or version == _version_of(aside)
            finally:
                if not removed:  # it was written anew since somebody looked: it goes back, unless there is a newer one
                    with suppress(FileExistsError):
                        os.link(aside, path)
                aside.unlink()
        # Also if there was no file: who removed it may have been killed before this.
        with suppress(FileNotFoundError):  # it was empty then, and another removal took it
            _sync_folder(self._remove_empty(path.parent))
        return removed

    def _take_away(self, name: str) -> str:
        """Remove what is to get this name; return how scratch files for it begin."""
        mark = f"{Path(unfinished_folder(name)).name}-"
        for earlier in self._scratch.glob(f"{mark}*"):
            earlier.unlink(missing_ok=True)
        return mark

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
                if not scratch.exists():
                    raise FileNotFoundError(
                        errno.ENOENT, "a later write or removal of the same name came first", path
                    ) from None
                if attempt == _MOVE_ATTEMPTS - 1:
                    raise
        for folder in unsynced:
            _sync_folder(folder)

    def listed(self, folder: str) -> Iterator[Entry]:
        for inner, _, names in os.walk(self.folder / folder):
            for name in names:
                path = Path(inner, name)
                with suppress(FileNotFoundError):  # removed meanwhile
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode):
                        yield Entry(str(path.relative_to(self.folder)), status.st_size, status.st_mtime)

    def discard(self, unfinished: Entry) -> None:
        (self._scratch / Path(unfinished.name).name).unlink(missing_ok=True)

    def _missing(self, folder: Path) -> Iterator[Path]:
        while folder != self.folder and not folder.is_dir():
            yield folder
            folder = folder.parent

    def remove_leftovers(self) -> None:
        """Remove what killed processes left in the scratch folder."""
        oldest = time.time() - _LEFTOVER_AGE_S
        for leftover in self._scratch.iterdir():
            with suppress(FileNotFoundError):  # removed by another worker, or finished
                if leftover.lstat().st_mtime < oldest:
                    leftover.unlink()


class _Hash(Protocol):
    def update(self, part: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _hash() -> _Hash:
    return hashlib.sha256()


def _opened(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a pipe that somebody put here must not wait for a writer.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _version(file: BinaryIO, progress: Progress = UNWATCHED) -> str:
    version = _hash()
    while part := file.read(PART_BYTES):
        version.update(part)
        progress.moved(len(part))
    return version.hexdigest()


def _version_of(path: Path) -> str:
    with _opened(path) as file:
        return _version(file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
