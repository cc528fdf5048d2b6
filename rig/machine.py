"""What the figures were measured on: processor, disk, versions. The disk's fsync time belongs to every figure."""

import os
import platform
import sqlite3
import statistics
import time
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    model = next(
        (line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().split("\n") if "model name" in line), "?"
    )
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, trio {version('trio')}, msgpack {version('msgpack')}"
    )


def fsync_ms(folder: Path, count: int = 200) -> tuple[float, float]:
    """Median and 99th percentile of appending 4 KiB to a file and syncing it, in milliseconds."""
    path = folder / "fsync.probe"
    took = []
    with path.open("wb", buffering=0) as probe:
        for _ in range(count):
            probe.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fsync(probe.fileno())
            took.append((time.perf_counter() - begin) * 1000)
    path.unlink()
    return statistics.median(took), percentile(took, 99)


def percentile(values: list[float], percent: int) -> float:
    """The smallest value that ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
