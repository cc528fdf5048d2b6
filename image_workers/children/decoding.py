"""Decodes strangers' pictures for a worker, in a process that may die of it.

    python -m image_workers.children.decoding WORKER

It reads one request after the other, answers each, and ends with its worker. Each request names a call, with its limits
of memory and processor time, which the kernel holds.

An error is told as it is meant: what will never do is "refused", also if the picture needs more memory than its
declared size accounts for; but if the machine has not as much to give, nothing is known about the picture ("short of
memory"), and the job is tried again. Decoders tell the two in the same words, or call both damage. So what counts is
whether the memory can be had without our own limit, before and after.
"""

import ctypes
import logging
import math
import mmap
import os
import resource
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from image_workers import metadata, pictures
from image_workers.children import channel, confined
from image_workers.errors import Refused
from image_workers.making.forms import Recipe
from image_workers.pictures import Compressible, LeftAsIs


def _thumbnails(recipe: dict[str, Any], **arguments: Any) -> list[bytes]:
    return pictures.thumbnails(recipe=Recipe.of_plain(recipe), **arguments)


def _thumbnail_pixels(recipe: dict[str, Any], **arguments: Any) -> Compressible:
    return pictures.thumbnail_pixels(recipe=Recipe.of_plain(recipe), **arguments)


Result = bytes | list[bytes] | Compressible | None

CALLS: dict[str, Callable[..., Result]] = {
    "thumbnails": _thumbnails,
    "thumbnail_pixels": _thumbnail_pixels,
    "compressible": pictures.compressible,
    "compressible_original": metadata.compressible,
    "repacked": metadata.repacked,
    "check_jpeg": pictures.check_jpeg,
}

_OUT_OF_MEMORY = "memory"
"""A word of the decoder of AVIF."""
_MAY_BE_DAMAGE = "could not create decoder object"
"""Words of the decoder of WebP, for no memory and for data that it does not understand."""

_THREADS = 4
"""Of the decoder of AVIF, which else takes as many as there are processors, each with a stack of 8 MB."""
_KEPT_BYTES = 128 * 2**20
"""Of freed memory, which makes the next picture faster."""
_KEPT_S = 1.0

_log = logging.getLogger(__name__)


def main() -> None:
    confined.end_with_parent(int(sys.argv[1]))
    confined.be_the_first_to_go()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library may print must not come between the frames
    AvifImagePlugin.DEFAULT_MAX_THREADS = min(_THREADS, len(os.sched_getaffinity(0)))
    Image.init()
    at_start_bytes = _memory()[1]
    while (request := _next()) is not None:
        channel.write(answers, _answer(request))
        if _memory()[1] > at_start_bytes + _KEPT_BYTES:
            _give_back()


def _next() -> Any:
    """The next request, or `None`. What earlier ones took is kept for it, but not if it lets one wait."""
    if not select.select([0], [], [], _KEPT_S)[0]:
        _give_back()
    return channel.read(0)


def _give_back() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        result = _within_limits(request["memory_bytes"], request["cpu_s"], request["call"], request["arguments"])
    except Refused as error:
        return {"refused": str(error)}
    except LeftAsIs as error:
        return {"left as it is": str(error)}
    except MemoryError as error:
        return {"short of memory": str(error)}
    except Exception as error:
        _log.exception("%s failed", request["call"])
        return {"failed": f"{type(error).__name__}: {error}"}
    if isinstance(result, Compressible):
        return {"result": [result.content, result.width, result.height]}
    return {"result": result}


def _within_limits(memory_bytes: int, cpu_s: int, call: str, arguments: dict[str, Any]) -> Result:
    _check_there_is(memory_bytes)
    confined.limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_s)
    confined.limit(resource.RLIMIT_AS, _memory()[0] + memory_bytes)
    try:
        return CALLS[call](**arguments)
    except (Refused, MemoryError) as error:
        confined.lift(resource.RLIMIT_AS)
        _check_there_is(memory_bytes)
        too_much = f"decoding it took more than {memory_bytes // 10**6} MB of memory"
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
            raise Refused(too_much) from None
        if _MAY_BE_DAMAGE in str(error):
            raise Refused(f"the picture is damaged, or {too_much}") from None
        raise
    finally:
        confined.lift(resource.RLIMIT_AS)
        confined.lift(resource.RLIMIT_CPU)


def _check_there_is(memory_bytes: int) -> None:
    """Raise `MemoryError` unless the machine, or whoever limits this process, has so much to give."""
    try:
        mmap.mmap(-1, memory_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(f"decoding it may take {memory_bytes // 10**6} MB of memory: {error.strerror}") from None


def _memory() -> tuple[int, int]:
    """Bytes of address space, and of it in memory."""
    address_space, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(address_space) * mmap.PAGESIZE, int(resident) * mmap.PAGESIZE


if __name__ == "__main__":
    main()
