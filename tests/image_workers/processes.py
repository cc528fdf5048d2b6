"""Which processes there are, from outside: who started them, and whether they work, or have ended."""

import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def children(parent: int) -> set[int]:
    """The processes that this one has started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            after_its_name = status.read_text().rpartition(")")[2].split()
            if int(after_its_name[1]) == parent:
                found.add(int(status.parent.name))
    return found


def at_work(pids: Iterable[int], cpu_s: float = 0.5) -> None:
    """Return when each has taken so much processor time, which is more than a start takes. Nobody tells that."""
    for pid in pids:
        while _cpu_s(pid) < cpu_s:
            time.sleep(0.01)


def _cpu_s(pid: int) -> float:
    after_its_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_its_name[11]) + int(after_its_name[12])) / os.sysconf("SC_CLK_TCK")


def all_end(pids: Iterable[int]) -> None:
    """Return when none of the processes runs any more."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ended, _, _ = select.select([descriptor], [], [], 10)
            os.close(descriptor)
            assert ended, f"process {pid} still runs"
