"""A folder of pictures, submitted file by file, and a record of what was: so that it can be stopped at any time, and
given again after some files have changed.

The record grows by a line when the daemon has said that the jobs are stored. What is missing in it is submitted once
more, which does no harm. It knows nothing of jobs; that a picture was submitted is all that it tells.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TypedDict

import trio

from image_workers.config import Config
from image_workers.errors import Refused
from image_workers.intake import START_BYTES, Intake, picture_type

RECORD = ".image-workers-submitted"


class _Line(TypedDict):
    root: str
    name: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(slots=True)
class Tally:
    submitted: int = 0
    unchanged: int = 0
    left: int = 0


class Record:
    """What was submitted into the root of `config`, in the file `path`. `again`: as if there were nothing yet."""

    def __init__(self, path: Path, config: Config, again: bool) -> None:
        self.path = path
        self._root = "/".join(map(str, config.root.place))
        self._lines: dict[str, _Line] = {} if again else self._read()

    def __enter__(self) -> Self:
        self._file = self.path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def last(self, name: str) -> _Line | None:
        return self._lines.get(name)

    def add(self, name: str, status: os.stat_result, digest: str) -> None:
        line = _Line(root=self._root, name=name, size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)
        self._lines[name] = line
        # The line end before it too: a killed command may have left half a line.
        self._file.write(b"\n" + json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read(self) -> dict[str, _Line]:
        lines: dict[str, _Line] = {}
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            for text in file:
                with suppress(ValueError, KeyError, TypeError):
                    line: _Line = json.loads(text)
                    if line["root"] == self._root:
                        lines[line["name"]] = line
        return lines


def files_in(folder: Path, record: Path) -> list[Path]:
    """All files below the folder, sorted; without hidden ones, symbolic links and the record."""
    found = []
    for inner, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [Path(inner, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink() and path != record)


async def submitted(intake: Intake, config: Config, record: Record, path: Path, name: str, tally: Tally) -> str | None:
    """Submit the file unless it is unchanged. Returns why it was left, if it was.

    Raises OSError of root, and what `Intake.take` raises if the daemon is away.
    """
    last = record.last(name)
    try:
        status = await trio.to_thread.run_sync(path.stat)
        if last and (last["size"], last["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
            tally.unchanged += 1
            return None
        if status.st_size > config.max_bytes:
            raise Refused(f"it is larger than {config.max_megabytes} MB (max-megabytes)")
        file, digest = await trio.to_thread.run_sync(_opened, path)
    except (OSError, Refused) as error:
        tally.left += 1
        return str(error)
    with file:
        if last and last["sha256"] == digest:
            tally.unchanged += 1
        else:
            try:
                kind = picture_type(name, file.read(START_BYTES))
                file.seek(0)
                await intake.take(name, file, kind)
            except (Refused, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                tally.left += 1
                return str(error)
            tally.submitted += 1
    record.add(name, status, digest)
    return None


def _opened(path: Path) -> tuple[BinaryIO, str]:
    """The file, and the SHA-256 of what is in it."""
    file = path.open("rb")
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
    except OSError:
        file.close()
        raise
    return file, digest
