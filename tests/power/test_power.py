"""The daemon on a disk that forgets what was not synced; the long loop is ``make power``."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.daemon import Daemon
from tests.disk.submits import WELL, Submits, check_end

pytest.importorskip("pyfuse3", reason="apt-get install libfuse3-dev fuse3 pkg-config gcc; pip install pyfuse3")

from tests.power.mount import PowerDisk


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_cut(tmp_path: Path, durability: str) -> None:
    """What was acknowledged survives it; with relaxed durability it does not, so a loss would show."""
    with PowerDisk(tmp_path / "disk") as disk, ExitStack() as stack:
        daemon = Daemon(disk.folder, "--durability", durability)
        daemon.start()
        stack.callback(daemon.kill)
        submits = Submits(daemon.url)
        submits.some(500)
        daemon.kill()
        disk.cut("3")
        daemon.start()
        assert (submits.answered <= submits.listed()) == (durability == "full")


def test_a_cut_after_an_orderly_stop(tmp_path: Path) -> None:
    """A stop deletes the WAL, and a cut may bring it back."""
    with PowerDisk(tmp_path / "disk") as disk, ExitStack() as stack:
        daemon = Daemon(disk.folder)
        daemon.start()
        stack.callback(daemon.kill)
        submits = Submits(daemon.url)
        for seed in range(6):
            submits.some(WELL)
            assert daemon.stop() == 0
            disk.cut(str(seed))
            daemon.start()
            assert submits.answered <= submits.listed()


def test_what_a_failed_sync_left_is_not_built_upon(tmp_path: Path) -> None:
    """The daemon starts again without the machine having done so: the WAL then shows frames that are not on disk."""
    with PowerDisk(tmp_path / "disk") as disk, ExitStack() as stack:
        daemon = Daemon(disk.folder)
        daemon.start()
        stack.callback(daemon.kill)
        submits = Submits(daemon.url)
        submits.some(WELL)
        disk.fail_syncs(3)
        submits.until_lost()
        check_end(daemon, "disk I/O error")
        disk.fail_syncs(0)
        daemon.start()
        submits.some(WELL)
        daemon.kill()
        disk.cut("1")
        daemon.start()
        assert submits.answered <= submits.listed()
        assert daemon.stop() == 0
