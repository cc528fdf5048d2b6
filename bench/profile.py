"""``make profile``: where the daemon's time for one job goes, by layer, from samples of the real process under load.

py-spy looks at the running daemon from outside, 500 times a second; each sample counts for the innermost function of
ours or of trio, and for SQLite and the network by the call that waits in them.
"""

import tempfile
from collections import Counter
from pathlib import Path

import trio

from bench.scenarios import all_done, jobs
from bench.worker import worker
from periodic_client import Client
from rig import machine
from rig.daemon import Daemon

SECONDS = 8
JOBS = 30_000

LAYERS = (
    ("wire: decode and encode", ("periodic_client/wire/",)),
    ("protocol: check params, make answers", ("periodicd/protocol/", "periodicd/methods.py")),
    ("rules", ("periodicd/scheduler/", "periodicd/retry.py")),
    ("store: statements on the loop", ("periodicd/store/",)),
    ("engine", ("periodicd/engine.py",)),
    ("connection and server", ("periodicd/net/", "periodicd/clock.py")),
    ("trio", ("trio/",)),
)  # fmt: skip


def layer(stack: list[str]) -> str:
    """Of a stack of "function (file:line)", outermost first."""
    if any("commit (" in frame and "sqlite.py" in frame for frame in stack):
        return "commit: waits for the disk, in its thread"
    for frame in reversed(stack):
        for name, files in LAYERS:
            if any(file in frame for file in files):
                return name
    return "other"


async def load(url: str, stop: trio.Event) -> int:
    """Single pipelined submits and a worker that answers at once, until told to stop. Returns how many jobs."""
    done = 0
    async with Client(url) as client:
        while not stop.is_set():
            await client.submit_many(jobs("bench", JOBS))
            await all_done(client)
            done += JOBS
    return done


async def profile(running: Daemon, output: Path) -> tuple[int, float]:
    """Returns the jobs done and the CPU seconds of the daemon while it was loaded."""
    stop = trio.Event()
    done = 0

    async def keep_busy() -> None:
        nonlocal done
        done = await load(running.url, stop)

    before_s = running.cpu_s()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_busy)
        command = ["py-spy", "record", "--format", "raw", "--rate", "500", "--duration", str(SECONDS)]
        await trio.run_process(
            [*command, "--pid", str(running.pid), "--output", str(output)], capture_stdout=True, capture_stderr=True
        )
        stop.set()
    return done, running.cpu_s() - before_s


def main() -> None:
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".") as name:
        folder = Path(name)
        with Daemon(folder) as running, worker(running.url):
            done, cpu_s = trio.run(profile, running, folder / "stacks")
        samples: Counter[str] = Counter()
        for line in (folder / "stacks").read_text().splitlines():
            stack, seen = line.rsplit(" ", 1)
            samples[layer(stack.split(";"))] += int(seen)
    total = sum(samples.values())
    print(f"{done} jobs, {cpu_s / done * 1e6:.0f} us of the daemon's CPU each; samples while it was not idle:")
    for name, count in samples.most_common():
        print(f"{count / total:7.1%}  {name}")


if __name__ == "__main__":
    main()
