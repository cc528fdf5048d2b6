"""Runs guetzli, the JPEG optimiser, as a child process that can be stopped. Knows pictures only as bytes.

guetzli takes about 30 s and 260 MB a megapixel, can loop for ever on some input and does not always keep its own memory
limit. So each run has limits of ours that the kernel holds: address space, processor time, size of its output; and its
own process group, which is killed when the time is over or the worker stops.

Its files have no names (they are open files, handed down) and the kernel ends it with the worker, so a killed worker
leaves nothing behind.
"""

import logging
import math
import os
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import IO

import trio

from image_workers.children.process import Child, ending
from image_workers.errors import Refused
from image_workers.pictures import Compressible

MIN_QUALITY = 84
"""guetzli refuses less."""

_BASE_BYTES = 64 * 2**20
_BYTES_PER_PIXEL = 512
"""Of address space; twice what was measured with guetzli 1.0.1 (16 MB, and 260 bytes a pixel)."""
_OUTPUT_BYTES = 64 * 2**20
_MESSAGE_BYTES = 500
_VERBOSE_BYTES = 16_384

Check = Callable[[bytes, int, int], Awaitable[None]]
"""Raises `Refused` unless the content is a whole JPEG of this width and height."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Guetzli:
    """How to run guetzli: `program` is its path, `quality` 84 to 100, `memlimit_mb` megabytes for one run."""

    program: str
    quality: int = 95
    memlimit_mb: int = 6000
    time_limit_s: float = 600
    verbose: bool = False

    async def compress(self, picture: Compressible, check: Check) -> bytes:
        """The compressed picture: a JPEG that `check` has found whole.

        Raises `Refused` if guetzli cannot do it within its limits (it would end the same again), and `OSError` if the
        run was cut off from outside, as by the kernel when the whole machine is short of memory.
        """
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as log:
            source.write(picture.content)
            source.flush()
            returncode = await self._run(picture.width * picture.height, source, result, log)
            if self.verbose:
                _log.info("guetzli says: %s", _tail(log, _VERBOSE_BYTES))
            message = _tail(log, _MESSAGE_BYTES)
            if returncode == -signal.SIGKILL:
                raise OSError(f"guetzli was killed, perhaps because the machine is out of memory: {message}")
            if returncode != 0:
                raise Refused(f"guetzli failed, {ending(returncode)}: {message}")
            result.seek(0)
            content = result.read(_OUTPUT_BYTES)
        try:
            await check(content, picture.width, picture.height)
        except Refused as error:
            raise Refused(f"guetzli's result is not the picture: {error}") from error
        return content

    async def _run(self, pixels: int, source: IO[bytes], result: IO[bytes], log: IO[bytes]) -> int:
        files = [f"/dev/fd/{source.fileno()}", f"/dev/fd/{result.fileno()}"]
        command = [self.program, "--quality", str(self.quality), "--memlimit", str(self.memlimit_mb)]
        if self.verbose:
            command.append("--verbose")
        # The processor time ends it if this process is stopped for as long.
        limits = [self._memory_bytes(pixels), math.ceil(self.time_limit_s) + 1, _OUTPUT_BYTES]
        child = Child(
            "image_workers.children.confined",
            *map(str, limits),
            *command,
            *files,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(source.fileno(), result.fileno()),
        )
        try:
            with trio.fail_after(self.time_limit_s):
                return await child.wait()
        except trio.TooSlowError:
            raise Refused(f"guetzli did not end within {self.time_limit_s:g} s") from None
        finally:
            await child.kill()

    def _memory_bytes(self, pixels: int) -> int:
        return min(self.memlimit_mb * 1_000_000, _BASE_BYTES + _BYTES_PER_PIXEL * pixels)


def _tail(log: IO[bytes], limit: int) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - limit))
    return " ".join(log.read(limit).decode(errors="replace").split())
