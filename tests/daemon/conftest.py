"""The real daemon, in a process of its own, on a real file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon
