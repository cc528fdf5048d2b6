"""Runs guetzli, the JPEG optimiser, as a child process that can be stopped. Knows pictures only as bytes.

guetzli takes about 30 s and 260 MB a megapixel, can loop for ever on some input and does not always keep its own memory
limit. So each run has limits of ours that the kernel holds: address space, processor time, size of its output; and its
own process group, which is killed when the time is over or the worker stops.

Its files have no names (they are open files, handed down), so a killed worker leaves nothing behind.
"""

import logging
import math
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO

import trio

from image_workers.errors import Refused
from image_workers.pictures import Compressible, check_jpeg

MIN_QUALITY = 84
"""guetzli refuses less."""

_BASE_BYTES = 64 * 2**20
_BYTES_PER_PIXEL = 512
"""Of address space; twice what was measured with guetzli 1.0.1 (16 MB, and 260 bytes a pixel)."""
_OUTPUT_BYTES = 64 * 2**20
_MESSAGE_BYTES = 500
_VERBOSE_BYTES = 16_384

_WITH_LIMITS = [
    "/bin/sh",
    "-c",
    'ulimit -v "$1" && ulimit -t "$2" && ulimit -f "$3" && ulimit -c 0 && shift 3 && exec nice "$@"',
    "sh",
]
"""Kilobytes of address space, seconds, blocks of 512 bytes, command. The shell becomes the command, which so has its
limits from the start; Python could only set them after it, or by running code between fork and exec."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Guetzli:
    """How to run guetzli: `program` is its path, `quality` 84 to 100, `memlimit_mb` megabytes for one run."""

    program: str
    quality: int = 95
    memlimit_mb: int = 6000
    time_limit_s: float = 600
    verbose: bool = False

    async def compress(self, picture: Compressible) -> bytes:
        """The compressed picture: a JPEG that was decoded once to see that it is whole.

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
                raise Refused(f"guetzli failed, {_ending(returncode)}: {message}")
            result.seek(0)
            content = result.read(_OUTPUT_BYTES)
        try:
            await trio.to_thread.run_sync(check_jpeg, content, picture.width, picture.height)
        except Refused as error:
            raise Refused(f"guetzli's result is not the picture: {error}") from error
        return content

    async def _run(self, pixels: int, source: IO[bytes], result: IO[bytes], log: IO[bytes]) -> int:
        files = [f"/dev/fd/{source.fileno()}", f"/dev/fd/{result.fileno()}"]
        command = [self.program, "--quality", str(self.quality), "--memlimit", str(self.memlimit_mb)]
        if self.verbose:
            command.append("--verbose")
        process = await trio.lowlevel.open_process(
            [*_WITH_LIMITS, *self._limits(pixels), *command, *files],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(source.fileno(), result.fileno()),
            start_new_session=True,
        )
        try:
            with trio.fail_after(self.time_limit_s):
                return await process.wait()
        except trio.TooSlowError:
            raise Refused(f"guetzli did not end within {self.time_limit_s:g} s") from None
        finally:
            # The group is there as long as the process was not waited for, so this cannot hit a stranger.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                with trio.CancelScope(shield=True):
                    await process.wait()

    def _limits(self, pixels: int) -> list[str]:
        memory = min(self.memlimit_mb * 1_000_000, _BASE_BYTES + _BYTES_PER_PIXEL * pixels)
        # The processor time ends the process if this one is killed and cannot.
        seconds = math.ceil(self.time_limit_s) + 1
        return [str(memory // 1024), str(seconds), str(_OUTPUT_BYTES // 512)]


def _ending(returncode: int) -> str:
    return f"exit status {returncode}" if returncode > 0 else f"killed by {signal.Signals(-returncode).name}"


def _tail(log: IO[bytes], limit: int) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - limit))
    return " ".join(log.read(limit).decode(errors="replace").split())
