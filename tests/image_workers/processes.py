"""Which processes there are, from outside: who started them, and whether they have ended."""

import os
import select
import signal
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


def hang(pids: Iterable[int]) -> None:
    """Have the processes do nothing, not even end by themselves."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def all_end(pids: Iterable[int]) -> None:
    """Return when none of the processes runs any more."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ended, _, _ = select.select([descriptor], [], [], 10)
            os.close(descriptor)
            assert ended, f"process {pid} still runs"
