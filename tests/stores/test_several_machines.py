"""The chain across three workers that share no folder, only a store; each is killed while it writes there."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from PIL import Image

from demo.chain import Chain, idle
from image_workers.stores import Store
from image_workers.stores.remote import RemoteStore
from image_workers.stores.settings import UrlConfig
from tests.stores.gate import Gate
from tests.stores.servers import SCRATCH, Server

ROOT = Path(__file__).parent.parent.parent
WORKERS = ("one", "two", "three")
PICTURES = ("a.jpg", "b.png", "c.webp")
"""One for each worker, which is killed while it writes it."""
SUFFIXES = ("_fw192.jpg", "_fw64.jpg")
TIMEOUT_S = 100.0


def pictures(folder: Path) -> list[Path]:
    """Small, so that guetzli is quick."""
    made = []
    with Image.open(ROOT / "tests" / "pictures" / "extreme-desert-hike.jpg") as image:
        image.thumbnail((120, 120))
        for name in PICTURES:
            image.save(folder / name, quality=98)
            made.append(folder / name)
    return made


def url(server: Server, folder: str, through: str | None = None) -> str:
    return server.config(through).url.replace("/photos", f"/{folder}")


def configuration(server: Server, worker: str, gate: Gate) -> str:
    document = yaml.safe_load((ROOT / "demo" / "config.yml").read_text())
    document |= {
        "thread": 1,
        "enable-delete": True,
        "root": {"url": url(server, "work", gate.url), "key-file": str(server.key_file)},
        "bucket": {"url": url(server, "published"), "key-file": str(server.key_file)},
        "scratch": {"folder": f"{worker}/scratch", "megabytes": 16},
    }
    document["guetzli"] |= {"lock-count": 1}
    document["resizes"] = [resize for resize in document["resizes"] if resize["suffix"] in SUFFIXES]
    return str(yaml.safe_dump(document))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path)
    yield chain
    chain.stop()


def store(server: Server, folder: str) -> Store:
    return RemoteStore(UrlConfig(url(server, folder), server.key_file, None, 1), folder, SCRATCH, 20)


def test_three_workers_with_one_store_make_the_whole_chain_though_each_is_killed(
    s3: Server, chain: Chain, tmp_path: Path
) -> None:
    originals = pictures(tmp_path)
    root, bucket = store(s3, "work"), store(s3, "published")
    with ExitStack() as gates:
        killed_at = {worker: gates.enter_context(Gate(s3.address)) for worker in WORKERS}
        chain.start_daemon()
        for worker, gate in killed_at.items():
            (tmp_path / worker).mkdir()
            (tmp_path / worker / "config.yml").write_text(configuration(s3, worker, gate))
            gate.hold("PUT")
            chain.start_worker(worker, f"{worker}/config.yml")
        for original in originals:
            chain.submit(original)
        for worker, gate in killed_at.items():
            assert gate.is_held.wait(TIMEOUT_S), f"{worker} wrote nothing"
            chain.kill(worker)
            gate.release()
            chain.start_worker(worker, f"{worker}/config.yml")
        chain.wait(idle, TIMEOUT_S)
        keys = [key for name in PICTURES for key in objects(name)]
        assert sorted(each.name for each in bucket.entries()) == sorted(keys)
        smaller = 0
        for key in keys:
            published, _ = bucket.read(key, 10**6)
            Image.open(io.BytesIO(published)).load()
            first = root.stat(key if key in PICTURES else f"resize-image/{key}")
            assert first is not None
            assert len(published) <= first.size
            smaller += len(published) < first.size
        assert smaller >= len(PICTURES), "the compressed ones have the last word"
        assert [*root.unfinished(), *bucket.unfinished()] == []
        assert chain.periodic("submit", "delete", "b.png").returncode == 0
        chain.wait(idle, TIMEOUT_S)
        left = sorted(objects("a.jpg") + objects("c.webp"))
        assert sorted(each.name for each in bucket.entries()) == left
        assert not [each.name for each in root.entries() if "b.png" in each.name]
        assert chain.stop() == []
    for worker in WORKERS:
        assert {path.name for path in (tmp_path / worker).rglob("*")} == {"config.yml", "scratch"}


def objects(name: str) -> list[str]:
    base = name.removesuffix(".jpg") if name.endswith(".jpg") else f"{name}~"
    return [name, *(base + suffix for suffix in SUFFIXES)]
