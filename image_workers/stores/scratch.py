"""Files of this machine for what comes from a store that is no folder; all together no larger than was agreed.

They have no names, so a killed worker leaves nothing behind.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from image_workers.errors import Refused
from image_workers.progress import Progress

_LOOK_S = 1.0
"""How often one who waits looks whether anybody still waits for it."""


class Scratch:
    """Files in `folder` (the system's own if None), for `total_bytes` at once."""

    def __init__(self, folder: Path | None, total_bytes: int) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._freed = threading.Condition()

    @contextmanager
    def file(self, size: int, progress: Progress) -> Iterator[BinaryIO]:
        """An empty file with room for `size` bytes. Waits until others have given back as much.

        Raises `Refused` if there never will be so much.
        """
        if size > self._total_bytes:
            raise Refused(
                f"its {size} bytes are more than the {self._total_bytes} of the scratch folder (scratch.megabytes)"
            )
        with self._freed:
            while size > self._free_bytes:
                self._freed.wait(_LOOK_S)
                progress.moved(0)  # raises if nobody waits for it any more
            self._free_bytes -= size
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                yield cast(BinaryIO, file)
        finally:
            with self._freed:
                self._free_bytes += size
                self._freed.notify_all()
