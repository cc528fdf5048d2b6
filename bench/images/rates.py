"""Four thumbnails of each photograph: how many photographs a second, with one and with two processes.

The bare function is what a decoding child calls; the chain is the daemon with workers, one to a processor, from the
submit of `save` until every object is in the bucket. pyvips makes the same four JPEGs as plainly as it can: one decode,
each from the one before, no metadata looked at.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import trio

from bench.images import photos
from image_workers import pictures
from image_workers.making.forms import Form, Recipe
from periodic_client import Client, NewJob
from rig.daemon import Daemon

WIDTHS = (1024, 500, 192, 64)
MAX_PIXELS = 64_000_000
FULL_BAR, CHAIN_BAR = 0.6, 0.8

Make = Callable[[bytes], object]


def pillow(content: bytes) -> object:
    return pictures.thumbnails(content, Recipe(tuple(Form(width) for width in WIDTHS)), MAX_PIXELS)


def jpegli(content: bytes) -> object:
    forms = tuple(Form(width, quality=84) for width in WIDTHS)
    return pictures.thumbnails(content, Recipe(forms, "jpegli"), MAX_PIXELS)


def pyvips(content: bytes) -> object:
    os.environ["VIPS_CONCURRENCY"] = "1"  # as many processors as the others have
    import pyvips

    largest, *others = WIDTHS
    image = pyvips.Image.thumbnail_buffer(content, largest, height=10**6).copy_memory()
    scaled = [image, *(image.thumbnail_image(width, height=10**6) for width in others)]
    return [each.jpegsave_buffer(Q=80, keep="none") for each in scaled]


MAKERS = {"image_workers, pillow": pillow, "image_workers, jpegli": jpegli, "pyvips, plain chain": pyvips}


@cache
def _large() -> list[bytes]:
    return photos.large()


def _count(name: str, begin_s: float, seconds: float) -> float:
    """How many a second this process makes from `begin_s` (by the clock) on."""
    make = MAKERS[name]
    contents = _large()
    make(contents[0])
    time.sleep(max(0.0, begin_s - time.time()))
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        make(contents[count % len(contents)])
        count += 1
    return count / (time.perf_counter() - begun)


def bare(processes: int, rounds: int, seconds: float) -> dict[str, float]:
    """Photographs a second of each maker; they take turns, so that what else the machine does falls on all."""
    found: dict[str, list[float]] = {name: [] for name in MAKERS}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_count, ["pyvips, plain chain"] * processes, [time.time()] * processes, [0.1] * processes):
            pass  # the photographs are made now
        for _ in range(rounds):
            for name, rates in found.items():
                begin_s = time.time() + 1
                rates.append(sum(pool.map(_count, *zip(*[(name, begin_s, seconds)] * processes, strict=True))))
    return {name: statistics.median(rates) for name, rates in found.items()}


CONFIG = """
thread: 4
root: images
enable-save: true
encoder: {encoder}
quality: {quality}
resizes: [{{width: 1024}}, {{width: 500}}, {{width: 192}}, {{width: 64}}]
bucket: {{directory: bucket}}
"""


@contextmanager
def _workers(folder: Path, url: str, count: int) -> Iterator[None]:
    processors = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for number in range(count):
            log = stack.enter_context((folder / f"worker-{number}.log").open("wb"))
            worker = subprocess.Popen(
                [sys.executable, "-m", "image_workers", "config.yml"],
                cwd=folder,
                env={**os.environ, "PERIODIC_URL": url},
                stderr=log,
                preexec_fn=partial(os.sched_setaffinity, 0, {processors[number % len(processors)]}),
            )
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        yield


def chain(workers: int, encoder: str, count: int) -> float:
    """Photographs a second through the chain, which decodes in one child for each worker."""
    quality = 84 if encoder == "jpegli" else 80
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path()) as name:
        folder = Path(name).resolve()
        (folder / "config.yml").write_text(CONFIG.format(encoder=encoder, quality=quality))
        with Daemon(folder) as daemon, _workers(folder, daemon.url, workers):
            rate = trio.run(_through, daemon.url, count, 4 * workers)
        made = len(list((folder / "bucket").rglob("*.jpg")))
        assert made == (count + 4 * workers) * (1 + len(WIDTHS)), f"{made} objects; see the logs in {folder}"
    return rate


async def _through(url: str, count: int, first: int) -> float:
    contents = _large()
    async with Client(url) as client:
        for number in range(first):  # until every worker has a warm child
            await client.submit(NewJob("save", f"first-{number}.jpg", contents[number % len(contents)]))
        await _idle(client)
        begin = time.perf_counter()
        for number in range(count):
            await client.submit(NewJob("save", f"{number}.jpg", contents[number % len(contents)]))
        await _idle(client)
        return count / (time.perf_counter() - begin)


async def _idle(client: Client) -> None:
    while True:
        status = await client.status()
        functions = [each for each in status["functions"] if each["func"] != "remove"]
        assert not any(each["dead"] for each in functions), "jobs were given up"
        if functions and not any(each["waiting"] or each["running"] for each in functions):
            return
        await trio.sleep(0.02)


def show(rounds: int, seconds: float, count: int) -> list[tuple[str, bool, str]]:
    """Print the table; return the bars, each with whether it was met."""
    print(f"\nPhotographs of 12 megapixels to {', '.join(map(str, WIDTHS))} pixels, a second (medians of {rounds})")
    bars: list[tuple[str, bool, str]] = []
    for processes in (1, 2):
        rates = bare(processes, rounds, seconds)
        for name, rate in rates.items():
            print(f"  {name + ', bare function':40} {processes} process{'es' if processes > 1 else '  '} {rate:8.2f}")
        share = rates["image_workers, pillow"] / rates["pyvips, plain chain"]
        bars.append((f"full recipe / pyvips's plain chain, {processes} process(es)", share >= FULL_BAR, f"{share:.2f}"))
        for encoder in ("pillow", "jpegli"):
            rate = statistics.median(chain(processes, encoder, count) for _ in range(rounds))
            print(
                f"  {'the whole chain, ' + encoder:40} {processes} worker{'s' if processes > 1 else ' '}   {rate:8.2f}"
            )
            share = rate / rates[f"image_workers, {encoder}"]
            bars.append(
                (f"chain / bare function, {encoder}, {processes} worker(s)", share >= CHAIN_BAR, f"{share:.2f}")
            )
    return bars
