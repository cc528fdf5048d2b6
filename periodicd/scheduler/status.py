"""What ``status`` tells: counters, and a page of functions. Looks at every part and changes none."""

from collections.abc import Sized
from functools import partial
from itertools import islice

from periodic_client.wire.limits import SCHEDULES_MAX
from periodicd.function import NOTHING_SET
from periodicd.names import names_of
from periodicd.protocol import answers, requests
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.step import Step
from periodicd.store import ops, room


class Status:
    def __init__(
        self,
        step: Step,
        settings: Settings,
        boot: int,
        runs: Runs,
        dispatch: Dispatch,
        connections: Connections,
        figures: Figures,
        functions: Functions,
        schedules: Sized,
    ) -> None:
        self._step = step
        self._settings = settings
        self._boot = boot
        self._runs = runs
        self._dispatch = dispatch
        self._connections = connections
        self._figures = figures
        self._functions = functions
        self._schedules = schedules
        self._started = step.now
        self._room = room.RoomResult()

    def ask(self, peer: Peer, msgid: int, query: requests.NamesQuery) -> None:
        self._runs.claim_all()
        self._step.read(room.Room(), self._on_room)
        self._step.read(ops.Count(*query), partial(self._on_count, peer, msgid, query))

    def _on_room(self, found: room.RoomResult) -> None:
        """Answered before the count that was asked for with it."""
        self._room = found

    def _on_count(self, peer: Peer, msgid: int, query: requests.NamesQuery, found: ops.CountResult) -> None:
        last = next(reversed(found.functions)) if found.more else None
        names = sorted({*found.functions, *self._functions_here(query, last)})
        more = last is not None or len(names) > query.limit
        page = names[: query.limit]
        now, figures, settings, has = self._step.now, self._figures, self._settings, self._room
        p50_us, p99_us = figures.commits_us.percentiles(50, 99)
        answer: answers.StatusAnswer = {
            "server": settings.server,
            "build": settings.build,
            "boot": self._boot,
            "now_at_ms": now.wall_ms,
            "uptime_ms": now.mono_ms - self._started.mono_ms,
            "durability": settings.durability,
            "connections": len(self._connections),
            "connections_max": settings.connections,
            "running": len(self._runs.in_progress),
            "submitted": figures["submitted"],
            "started": figures["started"],
            "done": figures["done"],
            "failed": figures["failed"],
            "later": figures["later"],
            "commits": figures.commits_us.count,
            "commit_p50_us": p50_us,
            "commit_p99_us": p99_us,
            "store_bytes": has.store_bytes,
            "wal_bytes": has.wal_bytes,
            "free_bytes": has.free_bytes,
            "dead_max": settings.dead_kept,
            "results": has.endings,
            "results_max": settings.results_kept,
            "results_bytes": has.endings_bytes,
            "results_bytes_max": settings.results_bytes,
            "schedules": len(self._schedules),
            "schedules_max": SCHEDULES_MAX,
            "functions": [self._function(func, found.functions.get(func, ops.FunctionCount())) for func in page],
            "next": page[-1] if more else None,
        }
        self._step.reply(peer, msgid, answer)

    def _functions_here(self, query: requests.NamesQuery, last: str | None) -> set[str]:
        """Those with workers, or of which something is set: of each in order, from where the page begins to ``last``,
        and one more than the page can hold.
        """
        found: set[str] = set()
        for functions in (self._dispatch.rotations, self._functions.known):
            found.update(islice(names_of(functions, query.prefix, query.after, last), query.limit + 1))
        return found

    def _function(self, func: str, count: ops.FunctionCount) -> answers.FunctionAnswer:
        rotation = self._dispatch.rotations.get(func)
        running = self._runs.in_progress.by_func[func]
        function = self._functions.known.get(func, NOTHING_SET)
        return {
            "func": func,
            "workers": rotation.workers if rotation else 0,
            "waiting": count.live - count.behind - count.parked - running,
            "parked": count.parked,
            "running": running,
            "behind": count.behind,
            "dead": count.dead,
            "due_at_ms": count.due_at_ms,
            **self._figures.lateness(func),
            "paused": function.paused,
            "settings": function.as_map(),
        }
