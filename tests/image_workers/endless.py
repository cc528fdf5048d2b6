"""A worker that is about to be killed: `python -m tests.image_workers.endless decoder PICTURE`, or `guetzli PROGRAM`.

It says a line once its children, two or one, are at work, which they never end by themselves.
"""

import sys
from functools import partial
from pathlib import Path

import trio
import trio.testing

from image_workers.decoder import Decoder, Limits
from image_workers.guetzli import Guetzli
from image_workers.pictures import Compressible
from tests.image_workers.made import recipe
from tests.image_workers.processes import hang


async def decode(decoder: Decoder, content: bytes) -> None:
    thumbnail = partial(decoder.thumbnails, content, recipe(64), 64_000_000)
    async with trio.open_nursery() as nursery:  # so that both are there, and know whose they are
        for _ in range(2):
            nursery.start_soon(thumbnail)
    hang(child.process.pid for child in decoder._pool._idle)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(thumbnail)
        await trio.testing.wait_all_tasks_blocked()
        print("at work", flush=True)  # noqa: T201


async def compress(decoder: Decoder, program: str) -> None:
    """The program says the line."""
    await Guetzli(program).compress(Compressible(b"", 1, 1), decoder.check_jpeg)


async def main(what: str, path: str, content: bytes) -> None:
    with Decoder(2, Limits()) as decoder:
        await (compress(decoder, path) if what == "guetzli" else decode(decoder, content))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[2]).read_bytes())
