"""A disk that fails under the running daemon: nobody is answered after it, and nothing acknowledged is lost.

strace puts the faults into the system calls of the real process. A disk that is really full is in test_files.py.
"""

from pathlib import Path

import pytest

from rig.daemon import Daemon
from tests.disk.strace import Strace, calls
from tests.disk.submits import WELL, Submits, check_end, check_recovery


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fsync,fdatasync:error=EIO:when=1", "disk I/O error"),
        ("fsync,fdatasync:error=EIO:when=7+", "disk I/O error"),
        ("pwrite64:error=EIO:when=5", "disk I/O error"),
        ("pwrite64:error=ENOSPC:when=1+", "database or disk is full"),
    ],
)
def test_nobody_is_answered_after_a_failed_write(daemon: Daemon, tmp_path: Path, fault: str, reason: str) -> None:
    submits = Submits(daemon.url)
    submits.some(WELL)
    with Strace(
        daemon.pid, tmp_path / "strace", "--trace=fsync,fdatasync,pwrite64,sendto,sendmsg", f"--inject={fault}"
    ):
        submits.until_lost()
        check_end(daemon, reason)
    seen = list(calls(tmp_path / "strace"))
    failed = next(call for call in seen if call.result < 0 and call.name in fault)
    assert not [call for call in seen if call.file.startswith("TCP:") and call.begun > failed.ended]
    check_recovery(daemon, submits)


@pytest.mark.parametrize("fault", ["fdatasync,fsync:error=EIO:when=1", "pwrite64:error=EIO:when=3"])
def test_a_checkpoint_that_fails(daemon: Daemon, tmp_path: Path, fault: str) -> None:
    submits = Submits(daemon.url)
    submits.some(WELL)
    only = f"--trace-path={daemon.store}"
    with Strace(daemon.pid, tmp_path / "strace", only, "--trace=fsync,fdatasync,pwrite64", f"--inject={fault}"):
        submits.until_lost()
        check_end(daemon, "disk I/O error")
    assert any(call.result < 0 for call in calls(tmp_path / "strace"))
    check_recovery(daemon, submits)
