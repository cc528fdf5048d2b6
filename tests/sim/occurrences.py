"""``make occurrences``: a million instants of many schedules, not one of them doubled or left out.

The engine is the real one, on the model of a store; each occurrence is done at once by a worker that is always there.
Now and then the daemon begins a new life, or the wall clock is set back. So every instant fires, and what was done is
compared with what calendar.py counts; the same seed gives the same.
"""

import argparse
import sys
import time
from random import Random
from typing import Any

import click

from periodic_client.wire import Request, Response
from periodicd import calendar
from periodicd.calendar import Recurrence
from periodicd.clock import Now
from periodicd.engine import Apply, start
from periodicd.store.memory import MemoryStore
from tests.sim.book import Broken

BEGIN_MS = 1_700_000_000_000
STEP_MS = 1_000
"""The shortest that a schedule may have, so no instant is passed over for a later one."""
SCHEDULES = 200
CRONS = ("* * * * *", "*/5 * * * *", "0-29 1,2,3 * * *")
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe")
BACK_MS = (1, 999, 5_000, 120_000)
LIVES_EACH = 0.02
SET_BACK_EACH = 0.01
"""Of the steps."""


class Run:
    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._store = MemoryStore()
        self._now = Now(BEGIN_MS, 1_000)
        self._until_ms = BEGIN_MS
        """The latest that the wall clock has shown."""
        self.lives = self.set_back = 0
        self.done: set[str] = set()
        self._start()
        for number in range(SCHEDULES):
            self._ask("set_schedule", f"s{number}", self._options(number))
        self._step()

    def _options(self, number: int) -> dict[str, Any]:
        recurs: dict[str, Any] = {"every_ms": STEP_MS * (1 + number % 7)}
        if number % 10 == 0:
            recurs = {"cron": CRONS[number // 10 % 3], "zone": ZONES[number // 30 % 3]}
        return recurs | {"job": {"func": "f"}, "overlap": ("skip", "queue")[number % 2]}

    def _start(self) -> None:
        self.lives += 1
        self._engine = start(self._store, self._now, self._rng.randbytes)
        self._peer = self._engine.attach(self._now)
        self._msgid = 0
        self._ask("hello", {"credit": 1_000})
        self._ask("subscribe", "f", {"limit": 1_000})

    def _ask(self, method: str, *params: Any) -> None:
        self._msgid += 1
        self._engine.receive(self._peer, Request(self._msgid, method, list(params)))

    def _step(self) -> None:
        """And all that follows from it: what it gives out is done."""
        is_over = False
        while not is_over:
            self._peer.heard_ms = self._now.mono_ms
            calls = self._engine.step(self._now)
            try:
                call = next(calls)
                while True:
                    call = calls.send(self._store.apply(call.ops) if isinstance(call, Apply) else 300)
            except StopIteration as end:
                said = end.value
            is_over = not self._engine.busy
            for _, message in said.messages:
                if isinstance(message, Request):
                    is_over = False
                    self._is_done(message)
                elif isinstance(message, Response) and message.error is not None:
                    raise Broken(message.error)

    def _is_done(self, perform: Request) -> None:
        (job,) = perform.params
        if job["name"] in self.done:
            raise Broken(f"{job['name']} is doubled")
        self.done.add(job["name"])
        self._engine.receive(self._peer, Response(perform.msgid, None, None))

    def until(self, count: int) -> None:
        while len(self.done) < count:
            if self._rng.random() < LIVES_EACH:
                self._start()
            elif self._rng.random() < SET_BACK_EACH:
                self.set_back += 1
                self._now = self._now._replace(wall_ms=self._now.wall_ms - self._rng.choice(BACK_MS))
            self._now = Now(self._now.wall_ms + STEP_MS, self._now.mono_ms + STEP_MS)
            self._until_ms = max(self._until_ms, self._now.wall_ms)
            self._step()

    def compare(self) -> None:
        """Raises Broken."""
        for number in range(SCHEDULES):
            said = self._options(number)
            recurrence = Recurrence(
                said.get("every_ms"), said.get("cron"), said.get("zone", "UTC"), 0 if "cron" in said else BEGIN_MS
            )
            at_ms = calendar.after(recurrence, BEGIN_MS)
            while at_ms is not None and at_ms <= self._until_ms:
                name = f"s{number}@{calendar.instant_text(at_ms)}"
                if name not in self.done:
                    raise Broken(f"{name} is left out")
                self.done.remove(name)
                at_ms = calendar.after(recurrence, at_ms)
        if self.done:
            raise Broken(f"these are no instants: {sorted(self.done)[:10]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begin = time.monotonic()
    run = Run(options.seed)
    run.until(options.count)
    count = len(run.done)
    run.compare()
    click.echo(
        f"{count:,} occurrences, {run.lives} lives, {run.set_back} times set back, {time.monotonic() - begin:.0f} s"
    )
    click.echo("none is doubled, none left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
