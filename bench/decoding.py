"""``python -m bench.decoding``: what it costs that pictures are decoded in a child, for each photograph of the demo.

Each picture is made into its four thumbnails in this process, in a thread as the workers did it, and in a warm child,
in turn, so that whatever else the machine does falls on both. The figures are the medians, and the ratio of these; the
bar is 5 % for the photographs. The last lines tell how much memory the child has after all of this, and what a new one
costs.
"""

import argparse
import io
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio
from PIL import Image

from image_workers import pictures
from image_workers.decoder import Decoder, Limits
from image_workers.making.forms import Form, Recipe
from rig import machine

PICTURES = Path(__file__).parent.parent / "demo" / "pictures"
MAX_PIXELS = 64_000_000
BAR = 1.05

Call = Callable[[], Awaitable[list[bytes]]]


def samples() -> dict[str, bytes]:
    """The photographs, and the first one in other formats."""
    found = {path.name: path.read_bytes() for path in sorted(PICTURES.glob("*.jpg"))}
    with Image.open(io.BytesIO(next(iter(found.values())))) as image:
        image.load()
        for kind in ("png", "webp", "avif"):
            output = io.BytesIO()
            image.save(output, kind)
            found[f"the first as {kind}"] = output.getvalue()
    return found


async def _took_ms(call: Call) -> float:
    begin = time.perf_counter()
    await call()
    return (time.perf_counter() - begin) * 1000


async def compare(decoder: Decoder, content: bytes, widths: list[int], rounds: int) -> tuple[float, float]:
    """Milliseconds here, and in a child."""
    recipe = Recipe(tuple(Form(width) for width in widths))
    here: Call = partial(trio.to_thread.run_sync, pictures.thumbnails, content, recipe, MAX_PIXELS)
    child: Call = partial(decoder.thumbnails, content, recipe, MAX_PIXELS)
    both: list[tuple[float, float]] = []
    for number in range(rounds + 2):
        if number % 2:
            both.append((await _took_ms(here), await _took_ms(child)))
        else:
            first = await _took_ms(child)
            both.append((await _took_ms(here), first))
    before, after = zip(*both[2:], strict=True)  # the first ones load what is loaded once
    return statistics.median(before), statistics.median(after)


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


async def bench(widths: list[int], rounds: int) -> None:
    with Decoder(1, Limits()) as decoder:
        print(f"{' + '.join(map(str, widths)) + ' wide':40} {'megapixels':>10} {'here':>9} {'child':>9} child/here")
        sums = [0.0, 0.0]
        for name, content in samples().items():
            with Image.open(io.BytesIO(content)) as image:
                megapixels = image.width * image.height / 1e6
            here_ms, child_ms = await compare(decoder, content, widths, rounds)
            print(f"{name:40} {megapixels:10.1f} {here_ms:6.1f} ms {child_ms:6.1f} ms {child_ms / here_ms:10.3f}")
            if name.endswith(".jpg"):
                sums = [sums[0] + here_ms, sums[1] + child_ms]
        ratio = sums[1] / sums[0]
        print(f"the photographs: {ratio:.3f}, {'within' if ratio <= BAR else 'BEYOND'} the bar of {BAR}")
        (child,) = decoder._pool._idle
        print(f"memory of its own that the child has then: {_resident_mb(child.process.pid):.0f} MB")
    output = io.BytesIO()
    Image.new("RGB", (1, 1)).save(output, "png")
    one = output.getvalue()
    starts = []
    for _ in range(5):
        with Decoder(1, Limits()) as decoder:
            starts.append(await _took_ms(partial(decoder.thumbnails, one, Recipe((Form(1),)), MAX_PIXELS)))
    print(f"one pixel in a new child: {statistics.median(starts):.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decoding", description="Decoding here and in a child.")
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 500, 192, 64], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args()
    print(machine.describe())
    trio.run(bench, options.widths, options.rounds)


if __name__ == "__main__":
    main()
