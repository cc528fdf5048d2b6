"""Runs the programs, kills and starts them again, and compares what is left with what must be."""

import io
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio
import yaml
from PIL import Image, ImageStat

from demo.chain import Chain
from periodic_client import Client, NewJob, Retry
from tests.image_workers.processes import all_end, children
from tests.stores.servers import Server
from tests.storm.pictures import Picture, picture

CONFIG = """
thread: 4
root: run/images
enable-save: true
enable-remove: true
enable-guetzli: true
cache: 2s
quality: 95
guetzli: {lock-count: 2, time-limit: 2m}
resizes:
  - {func: resize-48, width: 48, output: thumbs, suffix: _48.jpg}
  - {func: resize-32, width: 32, output: thumbs, suffix: _32.jpg}
bucket: {directory: bucket}
"""
WIDTHS = (48, 32)
WORKERS = ("worker-1", "worker-2")
TIMEOUT_S = 3600.0
BATCH = 50
_RETRY = Retry(limit=16, backoff="quadratic")


def through(server: Server) -> str:
    """The same folders, reached by their urls."""
    document = yaml.safe_load(CONFIG)
    for key, folder in (("root", "run/images"), ("bucket", "bucket")):
        document[key] = {"url": server.config().url.replace("/photos", f"/{folder}"), "key-file": str(server.key_file)}
    return str(yaml.safe_dump(document))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask the daemon again and again: it tells nobody that it has become idle."""
    while not await condition():  # noqa: ASYNC110
        await trio.sleep(0.5)


class Storm:
    """One run in `folder`; afterwards `summary` tells its figures.

    `server` is a WebDAV server of that folder, through which the workers then reach root and bucket.
    """

    def __init__(
        self, folder: Path, pictures: int, seed: int, kill_every_s: float, server: Server | None = None
    ) -> None:
        (folder / "config.yml").write_text(through(server) if server else CONFIG)
        self._chain = Chain(folder)
        self._folder = folder
        self._rng = Random(seed)
        self._count = pictures
        self._kill_every_s = kill_every_s
        self._wanted: dict[str, Picture] = {}
        self._memory: list[tuple[float, dict[str, int]]] = []
        self._kills = 0
        self._children = 0
        self._orphans: list[str] = []
        self._seconds = 0.0

    def run(self) -> list[str]:
        """The faults."""
        began_s = time.monotonic()
        self._chain.start_daemon()
        for worker in WORKERS:
            self._start(worker)
        try:
            trio.run(self._storm)
            unwell = self._chain.stop()
        finally:
            self._chain.stop()
        self._seconds = time.monotonic() - began_s
        return unwell + self._orphans + list(self._faults())

    def summary(self) -> str:
        third = len(self._memory) // 3
        peaks = [
            f"{name} {self._peak(name, self._memory[:third])}, {self._peak(name, self._memory[-third:])} MB"
            for name in ("periodicd", *WORKERS)
        ]
        return (
            f"{self._count} pictures in {self._seconds:.0f} s, {self._kills} kills, "
            f"of workers that had {self._children} children; "
            f"largest memory in the first and the last third: {'; '.join(peaks)}"
        )

    @staticmethod
    def _peak(name: str, samples: list[tuple[float, dict[str, int]]]) -> int:
        return max((memory.get(name, 0) for _, memory in samples), default=0)

    def _start(self, worker: str) -> None:
        self._chain._start(worker, "image_workers", "config.yml")

    async def _storm(self) -> None:
        async with Client(self._chain.url) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_memory)
            nursery.start_soon(self._kill)
            with trio.fail_after(TIMEOUT_S):
                await self._submit(client)
                await until(partial(self._is_idle, client))
            nursery.cancel_scope.cancel()
        # A worker that has just been started again does not know yet what to do about SIGTERM.
        async with Client(self._chain.url) as client:
            with trio.fail_after(TIMEOUT_S):
                await until(partial(self._all_work, client))

    async def _submit(self, client: Client) -> None:
        numbers = list(range(self._count))
        numbers += self._rng.sample(numbers, self._count // 10)  # saved anew, with another colour
        for start in range(0, len(numbers), BATCH):
            jobs = []
            for number in numbers[start : start + BATCH]:
                wanted = picture(number, self._rng)
                self._wanted[wanted.name] = wanted
                jobs.append(NewJob("save", wanted.name, wanted.content, retry=_RETRY))
            await client.submit_batch(jobs)
            await until(partial(self._has_room, client))

    async def _has_room(self, client: Client) -> bool:
        return await self._waiting(client) <= 20 * BATCH

    async def _is_idle(self, client: Client) -> bool:
        return not await self._waiting(client) and await self._removed(client)

    async def _all_work(self, client: Client) -> bool:
        status = await client.status("save")
        return any(each["workers"] == len(WORKERS) for each in status["functions"])

    @staticmethod
    async def _waiting(client: Client) -> int:
        """All that is to be done yet but removals."""
        status = await client.status()
        functions = [each for each in status["functions"] if each["func"] != "remove"]
        return sum(each["waiting"] + each["running"] + each["behind"] for each in functions)

    @staticmethod
    async def _removed(client: Client) -> bool:
        """Whether every removal that is left waits for a job that is dead."""
        jobs = [job async for job in client.list("remove")]
        return all(job["headers"].get("waits-for", "").endswith("which is dead") for job in jobs)

    async def _kill(self) -> None:
        while True:
            await trio.sleep(self._rng.expovariate(1 / self._kill_every_s))
            worker = self._rng.choice(WORKERS)
            left = children(self._chain._processes[worker].pid)
            self._chain.kill(worker)
            self._kills += 1
            self._children += len(left)
            try:
                await trio.to_thread.run_sync(all_end, left)
            except AssertionError as error:
                self._orphans.append(f"{worker} was killed, and its child lives: {error}")
            self._start(worker)

    async def _watch_memory(self) -> None:
        while True:
            sample = {name: _memory_mb(process.pid) for name, process in self._chain._processes.items()}
            self._memory.append((time.monotonic(), sample))
            if len(self._memory) % 60 == 0:
                logging.info("%s", {**sample, "objects": sum(1 for _ in (self._folder / "bucket").rglob("*"))})
            await trio.sleep(0.5)

    # -- what came of it -----------------------------------------------------------------------------------------------

    def _faults(self) -> Iterator[str]:
        bucket = _tree(self._folder / "bucket")
        expected = set()
        for wanted in self._wanted.values():
            if wanted.published:
                expected.add(wanted.name)
                if bucket.get(wanted.name) != wanted.content:
                    yield f"{wanted.name} is not what was saved last"
            if wanted.has_thumbnails:
                for width in WIDTHS:
                    name = thumbnail_name(wanted.name, width)
                    expected.add(name)
                    yield from wrong_thumbnail(name, bucket.get(name), wanted, width)
        yield from (f"{name} should not be in the bucket" for name in bucket.keys() - expected)
        needed = {wanted.name for wanted in self._wanted.values() if wanted.published and not wanted.has_thumbnails}
        left = _tree(self._chain.run / "images").keys()
        yield from (f"{name} was removed, and its dead job needs it" for name in needed - left)
        yield from (f"{name} was never removed from root" for name in left - needed)


def thumbnail_name(name: str, width: int) -> str:
    base, _, ending = name.rpartition(".")
    return f"{base}_{width}.{ending}" if ending.lower() in ("jpg", "jpeg") else f"{name}~_{width}.jpg"


def wrong_thumbnail(name: str, content: bytes | None, wanted: Picture, width: int) -> Iterator[str]:
    if content is None:
        yield f"{name} is missing"
        return
    with Image.open(io.BytesIO(content)) as image:
        size = (width, round(wanted.size[1] * width / wanted.size[0]))
        if image.format != "JPEG" or image.size != size:
            yield f"{name} is a {image.format} of {image.size}, not a JPEG of {size}"
        # The middle, which is of one colour; guetzli and GIF's palette may shift it a little.
        middle = image.convert("RGB").crop((size[0] // 3, size[1] // 3, 2 * size[0] // 3, 2 * size[1] // 3))
        median = ImageStat.Stat(middle).median
        if max(abs(a - b) for a, b in zip(median, wanted.colour, strict=True)) > 12:
            yield f"{name} has the colour {median}, not {wanted.colour}"


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".incoming" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _memory_mb(pid: int) -> int:
    try:
        status: dict[str, Any] = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
    except FileNotFoundError:
        return 0
    return int(status.get("VmRSS", "0 kB").split()[0]) // 1024
