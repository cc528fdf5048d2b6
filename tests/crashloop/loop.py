"""The loop itself: starts the daemon and the load, kills them by the dice of a seed, drains, and asks what is left.

Every program is a process of its own, killed by its process id. What happens to the store while the daemon is dead is
for the caller (``while_dead``): nothing after a crash, a power cut in tests/power.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TypeGuard

import trio

from periodic_client import Client
from rig.daemon import Daemon, DidNotStart
from tests.crashloop.check import Findings, check
from tests.crashloop.known import Listed, Set
from tests.crashloop.record import (
    BATCH_DUE_AT_MS,
    BATCH_FUNC,
    FUNC,
    GROUP_FUNC,
    LOCK_FUNC,
    Asked,
    Called,
    DaemonSeen,
    Record,
    RecordFile,
    func_of,
    now_ms,
    read,
)

CLIENTS = 2
WORKERS = ("worker", "worker", "raw_worker", "taker")
KILLED_WHILE_STARTING = 0.15
WORKER_KILLED = 0.2
LEFT_DEAD = 0.1
LEFT_DEAD_S = (1.0, 4.0)
"""Now and then for so long, from and to, that several instants of a schedule pass."""
DRAIN_S = 120.0
STOP_S = 30.0


class LoopError(Exception):
    """The loop did not get to its end, so nothing is known. The message says what to look at."""


class Program:
    """``python -m tests.crashloop.<module>``."""

    def __init__(self, module: str, url: str, folder: Path, seed: str) -> None:
        self._module = module
        self._command = [sys.executable, "-m", f"tests.crashloop.{module}", url, str(folder), seed]
        self._log = (folder / f"{module}.log").open("ab")
        self._process = subprocess.Popen(self._command, stderr=self._log)

    def check(self) -> None:
        """Raises LoopError if it ended by itself."""
        if self._process.poll() is not None:
            raise LoopError(f"{self._module} ended with {self._process.returncode}; see {self._log.name}")

    def kill_and_start(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process = subprocess.Popen(self._command, stderr=self._log)

    def stop(self) -> None:
        """Raises LoopError if it does not, or ended with an error."""
        self._process.terminate()
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.close()
        if code not in (0, -signal.SIGTERM):
            raise LoopError(f"{self._module} ended with {code}; see {self._log.name}")


def nothing() -> None:
    """A crash of the daemon alone leaves its files as they are."""


class Loop:
    """``folder`` is for the records and logs; ``store_folder`` is where the daemon keeps its files.

    ``between_s``: how long the daemon lives between two kills, from and to.
    """

    def __init__(
        self,
        folder: Path,
        store_folder: Path,
        seed: int,
        between_s: tuple[float, float],
        while_dead: Callable[[], None] = nothing,
        daemon_arguments: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._rng = Random(seed)
        self._between_s = between_s
        self._while_dead = while_dead
        self._records = RecordFile(folder, "loop")
        self.daemon = Daemon(store_folder, *daemon_arguments)

    def run(self, kills: int) -> Findings:
        """Raises LoopError."""
        self._start_daemon()
        with ExitStack() as stack:
            stack.callback(self._kill_daemon)
            clients = [self._start(stack, "client", f"c{number}") for number in range(CLIENTS)]
            workers = [self._start(stack, module, f"w{number}") for number, module in enumerate(WORKERS)]
            killed = 0
            while killed < kills:
                time.sleep(self._rng.uniform(*self._between_s))
                killed += self._kill(workers)
                for program in (*clients, *workers):
                    program.check()
            for client in clients:
                client.stop()
            records = list(read(self._folder))
            listed = trio.run(self._drain, [record.name for record in records if _has_its_end_kept(record)])
        return check(read(self._folder), listed)

    def _start(self, stack: ExitStack, module: str, seed: str) -> Program:
        program = Program(module, self.daemon.url, self._folder, f"{seed}-{self._rng.randrange(2**32):x}")
        stack.callback(program.stop)
        return program

    def _kill(self, workers: list[Program]) -> int:
        """Kill the daemon, now and then a worker before it, and start it again. Returns how often it was killed."""
        if self._rng.random() < WORKER_KILLED:
            self._rng.choice(workers).kill_and_start()
            time.sleep(self._rng.uniform(0, 0.5))
        self._kill_daemon()
        self._while_dead()
        killed = 1
        while self._rng.random() < KILLED_WHILE_STARTING:
            self._kill_while_starting(self._rng.uniform(0.1, 0.8))
            self._while_dead()
            killed += 1
        if self._rng.random() < LEFT_DEAD:
            time.sleep(self._rng.uniform(*LEFT_DEAD_S))
        self._start_daemon()
        return killed

    def _start_daemon(self) -> None:
        self._seen("starts")
        self.daemon.start()
        self._seen("lives")

    def _kill_daemon(self) -> None:
        """Raises LoopError if it was dead already."""
        self._seen("dies")
        self.daemon.kill()
        if self.daemon.wait() != -signal.SIGKILL:
            raise LoopError(f"the daemon ended by itself: {self.daemon.said[-2000:]}")
        self._seen("dead")

    def _seen(self, state: str) -> None:
        self._records.write(DaemonSeen(state, now_ms()))

    def _kill_while_starting(self, after_s: float) -> None:
        """Into the recovery of its store, or its first moments."""
        self._seen("starts")
        killer = threading.Timer(after_s, self.daemon.kill)
        killer.start()
        try:
            self.daemon.start()
        except DidNotStart as end:
            if end.code != -signal.SIGKILL:
                raise LoopError(f"the daemon did not start again: {end}") from end
        killer.join()
        self._seen("dead")

    async def _drain(self, kept: list[str]) -> Listed:
        """Wait until all that is due is done. Returns what is left."""
        listed = Listed()
        async with Client(self.daemon.url) as client:
            with trio.move_on_after(DRAIN_S) as limit:
                while await _left(client):  # noqa: ASYNC110 - the daemon has no event for it
                    await trio.sleep(0.1)
            if limit.cancelled_caught:
                raise LoopError(f"after {DRAIN_S:g} s {await _left(client)} jobs still wait or run")
            async for job in client.list():
                name = job["name"]
                if job["func"] == BATCH_FUNC:
                    listed.batches.setdefault(name.rsplit("-", 1)[0], []).append(job["due_at_ms"] - BATCH_DUE_AT_MS)
                else:
                    whole = await client.get(job["func"], name, workload=True)
                    assert whole is not None
                    listed.versions[name] = json.loads(whole["workload"])["version"]
                    listed.ids[name] = job["id"]
                    if job["state"] in ("dead", "parked"):
                        (listed.dead if job["state"] == "dead" else listed.parked).add(name)
            async for schedule in client.schedules():
                said = (schedule[key] for key in ("every_ms", "from_at_ms", "overlap", "missed", "paused"))
                listed.schedules[schedule["schedule"]] = Set(*said)
            async for function in client.functions():
                if "queue_max" in function["settings"]:
                    listed.settings[function["func"]] = function["settings"]["queue_max"]
            for name in kept:
                last = (await client.request("get", func_of(name), name, {"data": True}))["last"]
                if last is not None and last["ending"] == "done":
                    listed.results[name] = last["data"]
                elif last is not None and last["ending"] == "expired":
                    listed.expired.add(name)
        return listed


def _has_its_end_kept(record: Record) -> TypeGuard[Called | Asked]:
    return isinstance(record, Called) or (isinstance(record, Asked) and record.expires_at_ms is not None)


async def _left(client: Client) -> int:
    """How many jobs wait, stand in line or run that a worker is there for. A group's job needs only its members."""
    status = await client.status(prefix=FUNC)
    functions = [each for each in status["functions"] if each["func"] in (FUNC, LOCK_FUNC, GROUP_FUNC)]
    left = [each["waiting"] + each["running"] + each["parked"] * (each["func"] != GROUP_FUNC) for each in functions]
    return sum(left)
