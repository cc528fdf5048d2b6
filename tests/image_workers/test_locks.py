"""Locks of the daemon's around guetzli: a real daemon, two real workers as if on two machines, real pictures; only how
long guetzli takes is the test's.
"""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from PIL import Image

from image_workers.config import Config, parse
from image_workers.decoder import Decoder
from image_workers.errors import ConfigError
from image_workers.functions import ImageFunctions
from image_workers.guetzli import Guetzli
from image_workers.locks import set_locks
from image_workers.pictures import Compressible
from image_workers.stores.folder import FolderStore
from periodic_client import Client, NewJob, Worker
from rig.daemon import Daemon

TIMEOUT_S = 60.0
NAMES = ("x.png", "y.png")

CONFIG = """
enable-save: true
enable-guetzli: true
quality: 98
guetzli: {{{guetzli}}}
resizes: [{{width: {width}, suffix: _t.jpg}}]
"""
BIG, SMALL = 1200, 64
"""Widths, of 1.2 and less than 0.01 megapixels."""


class Gate:
    """What begins waits here until it may end."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self.may_end = trio.Event()

    async def wait(self, pixels: int) -> None:
        self.sizes.append(pixels)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_end.wait()
        self.at_once -= 1


@dataclass(frozen=True, slots=True)
class Gated(Guetzli):
    """In place of guetzli: takes as long as the gate says, and gives a small picture."""

    program: str = "guetzli"
    gate: Gate = field(default_factory=Gate)

    async def compress(self, picture: Compressible, check: object) -> bytes:
        await self.gate.wait(picture.width * picture.height)
        return b"\xff\xd8\xff\xe0small"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


def config_of(width: int, guetzli: str) -> Config:
    return parse(CONFIG.format(width=width, guetzli=guetzli))


@asynccontextmanager
async def workers(
    daemon: Daemon, config: Config, folder: Path, guetzli: Guetzli, decoder: Decoder
) -> AsyncIterator[Client]:
    """Two of them, and a client; the locks are set as at the start of `image-workers run`."""
    async with Client(daemon.url) as client, trio.open_nursery() as nursery:
        await set_locks(client, config)
        root, bucket = FolderStore(folder / "root"), FolderStore(folder / "bucket")
        for _ in range(2):
            worker = Worker(daemon.url)
            for each in ImageFunctions(config, root, bucket, guetzli, client.get, decoder).served():
                worker.function(each.func, limit=each.limit)(each.call)
            nursery.start_soon(worker.run)
        with trio.fail_after(TIMEOUT_S):
            yield client
        nursery.cancel_scope.cancel()


async def save(client: Client, width: int) -> None:
    file = io.BytesIO()
    Image.effect_noise((width, 1000), 50).convert("RGB").save(file, "PNG", compress_level=1)
    for name in NAMES:
        await client.submit(NewJob("save", name, file.getvalue()))


async def compressing(client: Client) -> list[tuple[str, dict[str, int]]]:
    """The states of the jobs, and their locks."""
    return sorted([(job["state"], job["locks"]) async for job in client.list("compress")], key=str)


async def until(client: Client, expected: list[tuple[str, dict[str, int]]]) -> None:
    while await compressing(client) != expected:  # noqa: ASYNC110 - the daemon has no event for it
        await trio.sleep(0.02)


async def test_two_big_pictures_are_compressed_one_after_the_other(
    daemon: Daemon, tmp_path: Path, decoder: Decoder
) -> None:
    guetzli = Gated()
    config = config_of(BIG, "lock-count: 2, megapixels-at-once: 3")
    async with workers(daemon, config, tmp_path, guetzli, decoder) as client:
        await save(client, BIG)
        locks = {"guetzli-megapixels": 2}
        await until(client, [("parked", locks), ("running", locks)])
        guetzli.gate.may_end.set()
        await until(client, [])
    assert guetzli.gate.sizes == [1_200_000] * 2
    assert guetzli.gate.most_at_once == 1


async def test_small_ones_are_compressed_at_once(daemon: Daemon, tmp_path: Path, decoder: Decoder) -> None:
    guetzli = Gated()
    config = config_of(SMALL, "lock-count: 2, megapixels-at-once: 3")
    async with workers(daemon, config, tmp_path, guetzli, decoder) as client:
        await save(client, BIG)
        await until(client, [("running", {"guetzli-megapixels": 1})] * 2)
        while guetzli.gate.at_once < 2:  # noqa: ASYNC110
            await trio.sleep(0.02)
        guetzli.gate.may_end.set()
        await until(client, [])


async def test_one_that_is_larger_than_all_there_is_takes_all_and_runs(
    daemon: Daemon, tmp_path: Path, decoder: Decoder
) -> None:
    guetzli = Gated()
    guetzli.gate.may_end.set()
    config = config_of(BIG, "lock-count: 2, megapixels-at-once: 1")
    async with workers(daemon, config, tmp_path, guetzli, decoder) as client:
        await save(client, BIG)
        while len(guetzli.gate.sizes) < len(NAMES):  # noqa: ASYNC110
            await trio.sleep(0.02)
        await until(client, [])
    assert guetzli.gate.most_at_once == 1


async def test_the_lock_of_the_original_s_keys_counts_over_all_workers(
    daemon: Daemon, tmp_path: Path, decoder: Decoder
) -> None:
    guetzli = Gated()
    config = config_of(SMALL, "lock-name: g, lock-count: 1")
    async with workers(daemon, config, tmp_path, guetzli, decoder) as client:
        await save(client, BIG)
        locks = {"g": 1, "guetzli-megapixels": 1}
        await until(client, [("parked", locks), ("running", locks)])
        guetzli.gate.may_end.set()
        await until(client, [])
    assert guetzli.gate.most_at_once == 1


async def test_who_says_nothing_of_locks_learns_by_its_run_what_it_needs(
    daemon: Daemon, tmp_path: Path, decoder: Decoder
) -> None:
    """As a stranger's upload worker, an older one's job, or `periodic submit compress`."""
    guetzli = Gated()
    config = config_of(BIG, "lock-count: 2, megapixels-at-once: 3")
    async with workers(daemon, config, tmp_path, guetzli, decoder) as client:
        await save(client, BIG)
        locks = {"guetzli-megapixels": 2}
        await until(client, [("parked", locks), ("running", locks)])
        (waiting,) = [job["name"] async for job in client.list("compress", state="parked")]
        await client.submit(NewJob("compress", waiting, locks={"mine": 1}))
        await until(client, [("parked", locks | {"mine": 1}), ("running", locks)])
        guetzli.gate.may_end.set()
        await until(client, [])
    assert guetzli.gate.most_at_once == 1


async def test_when_there_is_less_at_once_what_waits_for_more_takes_all(
    daemon: Daemon, tmp_path: Path, decoder: Decoder
) -> None:
    async with Client(daemon.url) as client:
        await set_locks(client, config_of(BIG, "megapixels-at-once: 3"))
        await client.submit(NewJob("compress", "a", headers={"h": "1"}, locks={"guetzli-megapixels": 3}))
        await client.submit(NewJob("compress", "b", locks={"guetzli-megapixels": 1, "mine": 5}))
        await set_locks(client, config_of(BIG, "megapixels-at-once: 2"))
        jobs = {job["name"]: job async for job in client.list("compress")}
        assert jobs["a"]["locks"] == {"guetzli-megapixels": 2}
        assert jobs["a"]["headers"] == {"h": "1"}
        assert jobs["b"]["locks"] == {"guetzli-megapixels": 1, "mine": 5}
        assert jobs["b"]["id"] < jobs["a"]["id"], "it was left alone"


def test_the_lock_of_the_megapixels_is_not_one_of_pictures_too() -> None:
    with pytest.raises(
        ConfigError, match=r"^guetzli.lock-name: guetzli-megapixels is the lock that megapixels-at-once"
    ):
        parse("guetzli: {lock-name: guetzli-megapixels}")


def test_without_guetzli_nothing_is_locked() -> None:
    assert parse("guetzli: {lock-name: g}\nencoder: jpegli\nenable-compress: true").locks == {}
    assert parse("guetzli: {lock-name: g}").locks == {}, "nobody compresses"
    assert parse("guetzli: {lock-name: g}\nenable-guetzli: elsewhere").locks == {"g": 1, "guetzli-megapixels": 4}
