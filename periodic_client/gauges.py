"""What a daemon does now, as ``periodic top`` shows it: looks, one after the other, and what changed between two.

A look asks for one page of each listing and takes the next page the next time, so it costs the daemon the same
however many functions there are; of those of other pages stays known what was seen last. Asks through a Client, shows
nothing.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from periodic_client.client import Client

Row = dict[str, Any]
Fetch = Callable[[str | None], Awaitable[tuple[list[Row], str | None]]]
"""A page after a cursor, and the next cursor."""

FUNCTIONS_PAGE = 500
"""Some 10 ms of the daemon's."""
WORKERS_PAGE = 100
"""Each may have a hundred functions and as many runs."""
LOCKS_PAGE = 200
RATES = ("submitted", "started", "done", "failed", "later")


class FunctionGauge(NamedTuple):
    row: Row
    """As ``status`` shows it."""
    overdue_ms: int
    """For how long its earliest waiting job has been due; 0 if none is."""
    started_per_s: float | None
    """None: it was seen once."""
    room: int = 0
    """How many of its jobs can run at once, as far as is known: of workers, and of its ``running_max``."""

    def as_map(self) -> Row:
        return self.row | {"started_per_s": self.started_per_s, "overdue_ms": self.overdue_ms, "room": self.room}


class Sweep:
    """The rows of one listing, by what names them. Each ``look`` is at one page; after the last it begins anew."""

    def __init__(self, key: str, fetch: Fetch) -> None:
        self.rows: dict[Any, Row] = {}
        self.is_whole = False
        """Whether all pages were looked at."""
        self._key = key
        self._fetch = fetch
        self._after: str | None = None
        self._seen: set[Any] = set()

    async def look(self) -> list[Row]:
        """The rows of this page. What was not met again in a whole round is gone."""
        page, self._after = await self._fetch(self._after)
        self.rows |= {row[self._key]: row for row in page}
        self._seen.update(row[self._key] for row in page)
        if self._after is None:
            self.rows = {name: row for name, row in self.rows.items() if name in self._seen}
            self._seen.clear()
            self.is_whole = True
        return page


class Gauges:
    """``prefix``: only functions that begin so. Raises what Client raises; then the next look goes on."""

    def __init__(self, client: Client, prefix: str | None = None) -> None:
        self.head: Row = {}
        """``status`` without its functions."""
        self.per_s: dict[str, float] = {}
        """Of the whole daemon; empty until it was looked at twice."""
        self._client = client
        self._prefix = prefix or None
        self._functions = Sweep("func", self._status)
        self._before: dict[str, tuple[int, int]] = {}
        """Of each function how many runs were started, and when."""
        self._started_per_s: dict[str, float] = {}
        self._workers = Sweep("connection", self._page("workers", WORKERS_PAGE))
        self._locks = Sweep("lock", self._page("locks", LOCKS_PAGE))

    async def look(self) -> None:
        """One page of each."""
        for row in await self._functions.look():
            self._note(row)
        for name in self._before.keys() - self._functions.rows.keys():
            del self._before[name]
            self._started_per_s.pop(name, None)
        await self._workers.look()
        await self._locks.look()

    async def look_at_all(self) -> None:
        """Every page, once."""
        for sweep in (self._functions, self._workers, self._locks):
            sweep.is_whole = False
        while not self.is_whole:
            await self.look()

    @property
    def is_whole(self) -> bool:
        """Whether all functions, workers and locks have been seen."""
        return self._functions.is_whole and self._workers.is_whole and self._locks.is_whole

    def functions(self) -> Iterator[FunctionGauge]:
        room: dict[str, int] = {}
        for worker in self._workers.rows.values():
            for each in worker["functions"]:
                room[each["func"]] = room.get(each["func"], 0) + each["limit"]
        now_at_ms = self.head.get("now_at_ms", 0)
        for func, row in self._functions.rows.items():
            due_at_ms, most = row["due_at_ms"], row["settings"].get("running_max")
            overdue_ms = 0 if due_at_ms is None else max(0, now_at_ms - due_at_ms)
            has_room = room.get(func, 0)
            has_room = has_room if most is None else min(has_room, most)
            yield FunctionGauge(row, overdue_ms, self._started_per_s.get(func), has_room)

    @property
    def workers(self) -> list[Row]:
        return list(self._workers.rows.values())

    @property
    def locks(self) -> list[Row]:
        """Those that are held, or waited for."""
        return [row for row in self._locks.rows.values() if row["used"] or row["parked"]]

    def held_ms(self, lock: Row) -> int:
        """For how long the one of its holders has it who has had it for longest, of the first ten."""
        now_at_ms = self.head.get("now_at_ms", 0)
        return max((now_at_ms - (each["started_at_ms"] or now_at_ms) for each in lock["holders"]), default=0)

    async def _status(self, after: str | None) -> tuple[list[Row], str | None]:
        answer = await self._client.status(self._prefix, after, FUNCTIONS_PAGE)
        functions: list[Row] = answer.pop("functions")
        after = answer.pop("next", None)
        before, self.head = self.head, answer
        if before and before["boot"] != answer["boot"]:
            self.per_s, self._before, self._started_per_s = {}, {}, {}
        elif before and answer["uptime_ms"] > before["uptime_ms"]:
            s = (answer["uptime_ms"] - before["uptime_ms"]) / 1000
            self.per_s = {key: (answer[key] - before[key]) / s for key in RATES}
        return functions, after

    def _note(self, row: Row) -> None:
        """How often its runs begin, by what was seen of it before."""
        func, started, at_ms = row["func"], row["started"], self.head["uptime_ms"]
        before_started, before_ms = self._before.get(func, (started, at_ms))
        if at_ms > before_ms:
            # One that had no run for long is forgotten by the daemon, and counted anew.
            self._started_per_s[func] = max(0, started - before_started) * 1000 / (at_ms - before_ms)
        self._before[func] = started, at_ms

    def _page(self, listing: str, limit: int) -> Fetch:
        async def fetch(after: str | None) -> tuple[list[Row], str | None]:
            answer = await self._client.request(listing, {"after": after, "limit": limit})
            return answer[listing], answer.get("next")

        return fetch
