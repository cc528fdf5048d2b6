"""A schedule of the load: set, set anew, paused, resumed and removed again and again, each until it is answered.

Its instants are said, not left to the daemon: ``from_at_ms`` is always given, so the checker knows them beforehand.
"""

from random import Random
from typing import Any

import trio

from periodic_client import CannotConnect, Client, ConnectionLost
from tests.crashloop import plan
from tests.crashloop.record import RecordFile, ScheduleAnswered, ScheduleAsked, now_ms

SCHEDULES = 8
"""Of each client. Two of each overlap with each missed."""
EVERY_MS = (1000, 1000, 1300, 2000, 3000)
CHANGES = ("set", "pause", "pause", "remove")
"""Of one that fires. Of one that does not: RESUMPTIONS, or "set" where it was removed."""
RESUMPTIONS = ("resume", "resume", "resume", "set", "remove")
FIRES_S = (2.0, 10.0)
"""So long it is left as it is, from and to. Several instants, with kills between them."""
RESTS_S = (0.2, 3.0)
AGAIN_S = 0.02


class Schedule:
    def __init__(self, client: Client, records: RecordFile, name: str, number: int) -> None:
        self._client = client
        self._records = records
        self._name = name
        self._rng = Random(name)
        self._overlap = ("queue", "skip")[number % 2]
        self._missed = ("once", "skip")[number // 2 % 2]
        self._is_there = False
        self._is_paused = False

    async def change_until(self, stop: trio.Event) -> None:
        """When it stops nothing fires any more: some are paused, some removed."""
        while not stop.is_set():
            await self._change(self._next())
            fires = self._is_there and not self._is_paused
            with trio.move_on_after(self._rng.uniform(*(FIRES_S if fires else RESTS_S))):
                await stop.wait()
        await self._change(self._rng.choice(("pause", "remove")))

    def _next(self) -> str:
        if not self._is_there:
            return "set"
        return self._rng.choice(RESUMPTIONS if self._is_paused else CHANGES)

    async def _change(self, change: str) -> None:
        params: list[Any] = [self._name]
        timing: dict[str, Any] = self._timing() if change == "set" else {}
        if change == "set":
            params.append(timing | {"job": plan.occurrence(self._rng)})
        self._records.write(ScheduleAsked(self._name, change, now_ms(), **timing))
        while True:
            try:
                await self._client.request(f"{change}_schedule", *params)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                break
        self._records.write(ScheduleAnswered(self._name, now_ms()))
        # What is set while it is paused stays paused.
        self._is_there = change != "remove"
        self._is_paused = self._is_there and (change == "pause" or (change == "set" and self._is_paused))

    def _timing(self) -> dict[str, Any]:
        every_ms = self._rng.choice(EVERY_MS)
        from_at_ms = now_ms() + self._rng.randrange(every_ms)
        return {"every_ms": every_ms, "from_at_ms": from_at_ms, "overlap": self._overlap, "missed": self._missed}
