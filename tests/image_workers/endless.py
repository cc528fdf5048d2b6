"""A worker that is about to be killed: `python -m tests.image_workers.endless decoder PICTURE`, or `guetzli PROGRAM`.

It says a line once its children, two or one, are at work, which they are for longer than any test takes.
"""

import sys
from functools import partial
from pathlib import Path

import trio
import trio.testing

from image_workers.decoder import Decoder, Limits
from image_workers.guetzli import Guetzli
from image_workers.pictures import Compressible


async def main(what: str, path: str, content: bytes) -> None:
    with Decoder(2, Limits()) as decoder:
        async with trio.open_nursery() as nursery:
            if what == "guetzli":
                nursery.start_soon(Guetzli(path).compress, Compressible(b"", 1, 1), decoder.check_jpeg)
            else:
                decode = partial(decoder.thumbnail, content)
                for width in (64, 48):
                    nursery.start_soon(partial(decode, width=width, quality=80, max_pixels=64_000_000))
            await trio.testing.wait_all_tasks_blocked()
            print("at work", flush=True)  # noqa: T201


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[2]).read_bytes())
