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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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


ENCODERS = ("pillow", "jpegli")
PYVIPS = "pyvips, plain chain"
MAKERS = {"image_workers, pillow": pillow, "image_workers, jpegli": jpegli, PYVIPS: pyvips}


@cache
def _large() -> list[bytes]:
    return photos.large()


def _count(name: str, begin_s: float, seconds: float) -> tuple[float, float]:
    """How many a second this process makes from `begin_s` (by the clock) on, and the CPU milliseconds for one."""
    make = MAKERS[name]
    contents = _large()
    make(contents[0])
    time.sleep(max(0.0, begin_s - time.time()))
    begun, cpu_s, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < begun + seconds:
        make(contents[count % len(contents)])
        count += 1
    return count / (time.perf_counter() - begun), 1000 * (time.process_time() - cpu_s) / count


@dataclass(frozen=True, slots=True)
class Round:
    """Photographs a second, and CPU milliseconds for one, of each maker and of the chain with each encoder."""

    rates: dict[str, float]
    cpu_ms: dict[str, float]
    chains: dict[str, float]


def measure(processes: int, pool: ProcessPoolExecutor, seconds: float, count: int) -> Round:
    """All of it one after the other, so that what else the machine does falls on all; the bare functions twice, the
    second time in the opposite order.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in MAKERS}

    def bare(names: Iterable[str]) -> None:
        for name in names:
            begin_s = time.time() + 0.5
            each = list(pool.map(_count, *zip(*[(name, begin_s, seconds)] * processes, strict=True)))
            found[name].append((sum(rate for rate, _ in each), statistics.mean(cpu_ms for _, cpu_ms in each)))

    bare(MAKERS)
    chains = {encoder: chain(processes, encoder, count) for encoder in ENCODERS}
    bare(reversed(MAKERS))
    rates = {name: statistics.mean(rate for rate, _ in made) for name, made in found.items()}
    return Round(rates, {name: min(cpu_ms for _, cpu_ms in made) for name, made in found.items()}, chains)


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
    """Print the table; return the bars: medians of the ratios within each round, and whether they are met."""
    print(
        f"\nPhotographs of 12 megapixels to {', '.join(map(str, WIDTHS))} pixels, a second (medians of {rounds} rounds)"
    )
    bars: list[tuple[str, bool, str]] = []

    def bar(what: str, least: float, shares: Iterable[float]) -> None:
        share = statistics.median(shares)
        bars.append((what, share >= least, f"{share:.2f}"))

    for processes in (1, 2):
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(
                pool.map(_count, [PYVIPS] * processes, [time.time()] * processes, [0.1] * processes)
            )  # makes the photographs
            found = [measure(processes, pool, seconds, count) for _ in range(rounds)]
        for name in MAKERS:
            rate, cpu_ms = (
                statistics.median(getattr(each, what)[name] for each in found) for what in ("rates", "cpu_ms")
            )
            print(
                f"  {name + ', bare function':40} x {processes} {rate:8.2f}   {cpu_ms:6.0f} ms of CPU each", flush=True
            )
        for encoder in ENCODERS:
            rate = statistics.median(each.chains[encoder] for each in found)
            print(f"  {'the whole chain, ' + encoder:40} x {processes} {rate:8.2f}", flush=True)
        print(f"  (load of the machine, one minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)")
        ours = f"image_workers, {ENCODERS[0]}"
        bar(
            f"full recipe / pyvips's plain chain, x {processes}",
            FULL_BAR,
            (each.rates[ours] / each.rates[PYVIPS] for each in found),
        )
        bar(
            f"the same by CPU time, x {processes}",
            FULL_BAR,
            (each.cpu_ms[PYVIPS] / each.cpu_ms[ours] for each in found),
        )
        for encoder in ENCODERS:
            bar(
                f"whole chain / bare function, {encoder}, x {processes}",
                CHAIN_BAR,
                (each.chains[encoder] / each.rates[f"image_workers, {encoder}"] for each in found),
            )
    return bars
