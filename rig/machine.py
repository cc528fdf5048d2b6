"""What the figures were measured on: processor, disk, versions. The disk's fsync time belongs to every figure."""

import os
import platform
import sqlite3
import statistics
import sysconfig
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def describe() -> str:
    model = next(
        (line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().split("\n") if "model name" in line), "?"
    )
    is_optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()} ({'' if is_optimized else 'not '}built with optimizations),"
        f" periodicd {'compiled' if is_compiled() else 'pure'}, SQLite {sqlite3.sqlite_version},"
        f" trio {version('trio')}, msgpack {version('msgpack')}"
    )


def is_compiled() -> bool:
    """Whether the daemon's core is machine code here, rather than Python."""
    core = find_spec("periodicd.engine")
    return core is not None and core.origin is not None and not core.origin.endswith(".py")


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


def cpu_s(pid: int) -> float:
    """User and system time of a process so far; proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
