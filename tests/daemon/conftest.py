"""The real daemon, in a process of its own, on a real file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from periodic_client import Client
from rig.daemon import Daemon
from tests.daemon.programs import Told


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.url) as client:
        yield client


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """What the commands of a worker say to the test."""
    told = Told(tmp_path / "told")
    yield told
    told.close()
