"""The page as it runs: the real daemon, real workers and the real server, each a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.served import Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Daemon and page, for one test; one that wants workers starts them."""
    with Served(tmp_path) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same without workers, for all tests of a file, with room for all of them."""
    with Served(tmp_path_factory.mktemp("served"), "per-address: {uploads-a-minute: 1000}") as served:
        yield served


PICTURES = Path(__file__).parent.parent.parent / "demo" / "pictures"


@pytest.fixture(scope="session")
def photograph() -> Path:
    return PICTURES / "canyon-wren.jpg"
