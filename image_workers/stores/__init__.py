"""Where files are kept, whole and under names: the one seam behind `root` and behind the bucket.

The workers know only `Store`. What a store is (a folder, a bucket of Aliyun OSS, whatever OpenDAL speaks) is told by
the configuration. A store decides nothing: which file goes under which name, and when, is the functions' business.

Two promises hold for all of them, however slow the line is and whoever was killed:

* A reader of a name sees the old content or the new one, never a part. So what is written has no name at first, and
  gets it in one step when it is whole.
* Of two writes of one name the one that began later wins, if both end. A write therefore takes away what earlier ones
  have not given the name yet: their last step then finds nothing, also when a server has held it for minutes.

A version is the store's own word for what a name holds (an ETag), or a hash of the content. Nothing of the machine is
in it, so workers on several machines mean the same by it.
"""

import hashlib
import io
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from image_workers.errors import Refused
from image_workers.names import SCRATCH_FOLDER
from image_workers.progress import UNWATCHED, Progress

PART_BYTES = 262_144
"""Content is read and written in such parts, so that it can be seen whether it moves."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of a file without reading it. `version` is another one after each write of other content."""

    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a listing shows it. `modified_s` is in seconds since 1970, by the store's clock."""

    name: str
    size: int
    modified_s: float


class Store(ABC):
    """Files under checked names; used from several threads at once.

    Every method raises `OSError` if it failed and may do another time (`FileNotFoundError` too: a shared file system
    may show a new file late), `Refused` if the name will never do, and whatever `progress` raises.
    """

    @abstractmethod
    def put(self, name: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
        """Store the rest of `content` under `name`, in place of what was there; return its version.

        When this returns it is stored for good.
        """

    @abstractmethod
    def stat(self, name: str) -> Stat | None:
        """What the name holds, None if there is nothing."""

    @abstractmethod
    def open(
        self, name: str, progress: Progress = UNWATCHED, max_bytes: int | None = None
    ) -> AbstractContextManager[tuple[BinaryIO, str]]:
        """The content for reading, from its beginning, and its version. Writes meanwhile do not change it.

        Raises `Refused` if it has more than `max_bytes`.
        """

    @abstractmethod
    def remove(self, name: str, version: str | None = None) -> bool:
        """Remove the file; tell whether there was one. Given a version, only if it still has that one.

        Without a version, a write that has begun and has not ended will fail, as if this were a later write.
        """

    @abstractmethod
    def listed(self, folder: str) -> Iterator[Entry]:
        """All that is below the folder, which ends with /, or is empty for everything; in any order."""

    @abstractmethod
    def discard(self, unfinished: Entry) -> None:
        """Remove what `unfinished` showed."""

    def entries(self) -> Iterator[Entry]:
        """All files, without the unfinished ones."""
        return (each for each in self.listed("") if not each.name.startswith(f"{SCRATCH_FOLDER}/"))

    def unfinished(self) -> Iterator[Entry]:
        """What was written and has no name yet, or never gets one since who wrote it was killed."""
        return self.listed(f"{SCRATCH_FOLDER}/")

    def read(self, name: str, max_bytes: int, progress: Progress = UNWATCHED) -> tuple[bytes, str]:
        """The content and the version of the file. Raises `Refused` if it has more than `max_bytes`."""
        content = io.BytesIO()
        with self.open(name, progress, max_bytes) as (file, version):
            copy(file, content, progress)
        return content.getvalue(), version

    def write(self, name: str, content: bytes, progress: Progress = UNWATCHED) -> str:
        """Store the content under `name`, and return its version. What a reader is told it is does not matter."""
        return self.put(name, io.BytesIO(content), "application/octet-stream", progress)

    def size(self, name: str) -> int | None:
        """How many bytes the name holds, None if there is nothing. Cheap also where `stat` must read them all."""
        found = self.stat(name)
        return found.size if found else None

    def version(self, name: str) -> str | None:
        """The version of what the name holds, None if there is nothing."""
        found = self.stat(name)
        return found.version if found else None


def unfinished_folder(name: str) -> str:
    """Where a store that knows no folders writes `name` before it gets it: a folder of this name alone."""
    return f"{SCRATCH_FOLDER}/{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}/"


def unfinished_name(name: str) -> str:
    """A new one in that folder, for one write, that nobody can guess."""
    return unfinished_folder(name) + secrets.token_hex(16)


def check_size(name: str, size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise Refused(f"{name!r} is larger than {max_bytes} bytes")


def copy(source: BinaryIO, target: BinaryIO, progress: Progress) -> None:
    while part := source.read(PART_BYTES):
        target.write(part)
        progress.moved(len(part))
