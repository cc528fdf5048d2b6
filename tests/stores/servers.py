"""Stores over real sockets: what a test is told of a server, and how one is started."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from image_workers.stores.remote import RemoteStore
from image_workers.stores.scratch import Scratch
from image_workers.stores.settings import UrlConfig

FOLDER = Path(__file__).parent
SCRATCH = Scratch(None, 100_000_000)


@dataclass
class Server:
    """Where a store is, and the key to it. `url` has `{}` where the server's address goes."""

    service: str
    url: str
    address: str
    key_file: Path

    def config(self, through: str | None = None) -> UrlConfig:
        return UrlConfig(self.url.format(through or self.address), self.key_file, "max-age=60", wait_s=1)

    def store(self, through: str | None = None, timeout_s: float = 20) -> RemoteStore:
        """`through` is the address of something between."""
        return RemoteStore(self.config(through), "bucket", SCRATCH, timeout_s, timeout_s)


def write_key(path: Path, **keys: str) -> Path:
    newer = path.with_suffix(".new")
    newer.write_text(json.dumps(keys))
    newer.chmod(0o600)
    return newer.replace(path)


def webdav_server(folder: Path, key_file: Path) -> Iterator[Server]:
    """One of `folder`, which asks for the user and the password that are written to `key_file`."""
    for said in started(FOLDER / "dav_server.py", folder, "worker", "a-password"):
        write_key(key_file, username="worker", password="a-password")  # noqa: S106
        yield Server("webdav", "webdav:///photos?endpoint={}", said.strip(), key_file)


def started(*command: str | Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline()
    process.communicate()
