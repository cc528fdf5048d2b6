"""The last events, for whoever asks for them by long poll. Kept only while somebody does: otherwise they cost nothing.

Decides nothing. What an operator's log should tell is another matter: events.py.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple

from periodic_client.wire import Busy
from periodicd.job import Job
from periodicd.protocol import answers, requests
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.scheduler.waits import Waits

EVENTS_KEPT = 10_000
ASKED_MS = 60_000
"""After nobody asked for so long nothing is kept any more."""
ASKING_MAX = 100


class _Happened(NamedTuple):
    number: int
    event: answers.EventAnswer


class EventRing:
    def __init__(self, step: Step, waits: Waits, boot: int) -> None:
        self._step = step
        self._waits = waits
        self._boot = boot
        self._kept: deque[_Happened] = deque(maxlen=EVENTS_KEPT)
        self._last = 0
        """The number of the last event."""
        self._since = 0
        """Events up to this number were not all kept."""
        self._asked_until_ms = 0
        self._asking: dict[tuple[Peer, int], requests.Events] = {}
        self._has_news = False
        self.is_on = False
        """Whether events are kept, so whoever tells of one may spare the effort."""

    # -- asked ---------------------------------------------------------------------------------------------------------

    def ask(self, peer: Peer, msgid: int, query: requests.Events) -> None:
        if len(self._asking) >= ASKING_MAX:
            self._step.refuse(peer, msgid, Busy(f"{ASKING_MAX} wait for events already", retry_after_ms=1_000))
            return
        self._asked_until_ms = self._step.now.mono_ms + ASKED_MS
        if not self.is_on:
            self.is_on, self._since = True, self._last
        if not self._answer_if_any(peer, msgid, query):
            if not query.timeout_ms or peer.has_ended:
                self._answer(peer, msgid, query, [])
            elif self._waits.begin(peer, msgid, query.timeout_ms, lambda: self._end(peer, msgid)):
                self._asking[peer, msgid] = query

    def _end(self, peer: Peer, msgid: int) -> None:
        """Its time is over."""
        self._answer(peer, msgid, self._asking.pop((peer, msgid)), [])

    def answer(self) -> None:
        """The step is over: those who wait are told what happened in it."""
        if not self._has_news:
            return
        self._has_news = False
        for (peer, msgid), query in list(self._asking.items()):
            if not peer.can_take_more:
                self._has_news = True  # until it reads again
            elif self._answer_if_any(peer, msgid, query):
                del self._asking[peer, msgid]
                self._waits.end(peer, msgid)

    def _answer_if_any(self, peer: Peer, msgid: int, query: requests.Events) -> bool:
        found = list(islice(self._matching(query), query.limit))
        if found:
            self._answer(peer, msgid, query, found)
        return bool(found)

    def _matching(self, query: requests.Events) -> Iterator[_Happened]:
        after = self._told(query)
        first = self._kept[0].number if self._kept else 0
        for happened in islice(self._kept, max(0, after - first + 1), None):
            event = happened.event
            if (query.kinds is None or event["kind"] in query.kinds) and query.func in (None, event["func"]):
                yield happened

    def _told(self, query: requests.Events) -> int:
        return query.after.number if query.after is not None and query.after.boot == self._boot else 0

    def _answer(self, peer: Peer, msgid: int, query: requests.Events, found: list[_Happened]) -> None:
        """Beyond what was found there is nothing that matches, unless the page is full."""
        last = found[-1].number if len(found) == query.limit else self._last
        told = self._told(query)
        missed: int | None = None
        if query.after is None:
            missed = 0
        elif query.after.boot == self._boot and told >= self._since:
            missed = max(0, (self._kept[0].number if self._kept else self._last + 1) - told - 1)
        answer: answers.EventsAnswer = {
            "events": [happened.event for happened in found],
            "missed": missed,
            "next": str(requests.EventsCursor(self._boot, last)),
        }
        self._step.reply(peer, msgid, answer)

    # -- told ----------------------------------------------------------------------------------------------------------

    def note(self, kind: str, func: str | None, **more: Any) -> None:
        """Something happened. ``more``: name, id, run, worker, text; what is known of it."""
        if not self.is_on:
            return
        event: answers.EventAnswer = {
            "at_ms": self._step.now.wall_ms,
            "kind": kind,
            "func": func,
            "name": more.get("name"),
            "id": more.get("id"),
            "run": more.get("run"),
            "worker": more.get("worker"),
            "text": more.get("text"),
        }
        self._last += 1
        self._kept.append(_Happened(self._last, event))
        self._has_news = True

    def note_locks(self, kind: Literal["lock_taken", "lock_freed"], job: Job) -> None:
        """The run of this job takes its locks, or holds them no more."""
        for lock in job.locks or ():
            self.note(kind, job.func, name=job.name, id=job.id, run=job.run, text=lock)

    def advance(self) -> None:
        """Nobody has asked for a while: keep nothing."""
        if self.is_on and not self._asking and self._step.now.mono_ms >= self._asked_until_ms:
            self.is_on = False
            self._kept.clear()

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        if not self.is_on or self._asking:
            return None
        return self._asked_until_ms - self._step.now.mono_ms
