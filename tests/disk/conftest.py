"""A daemon that may end in any way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    daemon.start()
    yield daemon
    daemon.kill()
