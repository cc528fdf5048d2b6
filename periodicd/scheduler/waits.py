"""Long polls: requests that are answered when there is something to tell, or when their time is over.

One that waits does not count as unanswered, so its connection is read on. Knows when each ends and how many there may
be, and nothing of what they wait for.
"""

from collections.abc import Callable

from periodic_client.wire import Busy
from periodic_client.wire.limits import CONNECTION_WAITS_MAX, WAITS_MAX
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.scheduler.timers import Deadlines

Over = Callable[[], None]
"""Answers the request with what there is, its time being over. Not called once the wait was ended."""


class Waits:
    def __init__(self, step: Step) -> None:
        self._step = step
        self._over: dict[tuple[Peer, int], Over] = {}
        """By connection and msgid."""
        self._deadlines: Deadlines[tuple[Peer, int]] = Deadlines()

    def __len__(self) -> int:
        return len(self._over)

    def begin(self, peer: Peer, msgid: int, wait_ms: int, over: Over) -> bool:
        """False if there are too many already; then the request was refused."""
        if len(peer.waiting) >= CONNECTION_WAITS_MAX or len(self._over) >= WAITS_MAX:
            text = f"{CONNECTION_WAITS_MAX:,} requests of a connection may wait, and {WAITS_MAX:,} of all"
            self._step.refuse(peer, msgid, Busy(text, retry_after_ms=1_000))
            return False
        peer.unanswered.discard(msgid)
        peer.waiting.add(msgid)
        self._over[peer, msgid] = over
        self._deadlines.set((peer, msgid), self._step.now.mono_ms + wait_ms)
        return True

    def end(self, peer: Peer, msgid: int) -> None:
        """It is answered now, by the caller."""
        self._take_out(peer, msgid)

    def end_early(self, peer: Peer, msgid: int) -> None:
        """As if its time were over. One that was answered already is nobody's concern."""
        if (peer, msgid) in self._over:
            self._take_out(peer, msgid)()

    def detach(self, peer: Peer) -> None:
        """The peer sends no more, or is gone. What it waits for is answered, if it still reads."""
        for msgid in list(peer.waiting):
            self._take_out(peer, msgid)()

    def _take_out(self, peer: Peer, msgid: int) -> Over:
        peer.waiting.discard(msgid)
        self._deadlines.discard((peer, msgid))
        return self._over.pop((peer, msgid))

    def advance(self) -> None:
        """Those whose time is over are answered."""
        for peer, msgid in self._deadlines.pop_due(self._step.now.mono_ms):
            self._take_out(peer, msgid)()

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        at_ms = self._deadlines.next_ms()
        return None if at_ms is None else at_ms - self._step.now.mono_ms
