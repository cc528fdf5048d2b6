"""One step of the rules: what is asked of the store, and what is said. The only way out of this folder.

What leaves are values: ops, messages, events. Nothing that is said reaches a peer before the ops of its step are on
disk; the engine sees to that. Between an op and its answer nothing happens, but that the answers before it are dealt
with.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from periodic_client.wire import ClosingError, Message, Notification, PeriodicError, Response, shaped
from periodicd.clock import Now
from periodicd.protocol.answers import NOTHING
from periodicd.scheduler.events import Event, Missed
from periodicd.scheduler.peers import Peer
from periodicd.store.ops import Listing, Op, Read

EVENTS_MAX = 1000
"""In one step; the rest are counted."""

R = TypeVar("R")
Then = Callable[[R], None]
"""What is done with the answer."""


class Said(NamedTuple):
    """What a step has to say, to be given to peers and operators once it is on disk."""

    messages: list[tuple[Peer, Message]]
    closings: list[tuple[Peer, ClosingError]]
    listings: list[tuple[Peer, int, Listing]]
    """Requests for a listing, to be made on the store beside the steps: who asked, and the msgid."""
    events: list[Event]


class Step:
    def __init__(self, now: Now) -> None:
        self.now = now
        self._writes: list[Op[Any]] = []
        self._after_writes: list[Then[Any] | None] = []
        self._reads: list[Op[Any]] = []
        self._after_reads: list[Then[Any] | None] = []
        self._thens: list[Then[Any] | None] = []
        self._messages: list[tuple[Peer, Message | None]] = []
        self._holds_places = False
        """Whether any of them may not be known yet, or never be."""
        self._last: list[tuple[Peer, Message]] = []
        self._closings: list[tuple[Peer, ClosingError]] = []
        self._listings: list[tuple[Peer, int, Listing]] = []
        self._events: list[Event] = []
        self._events_missed = 0

    # -- asked of the store --------------------------------------------------------------------------------------------

    def write(self, op: Op[R], then: Then[R] | None = None) -> None:
        self._writes.append(op)
        self._after_writes.append(then)

    def read(self, op: Read[R], then: Then[R]) -> None:
        self._reads.append(op)
        self._after_reads.append(then)

    def ask(self) -> list[Op[Any]]:
        """What the store is to be asked now, the reads last. The answers go to ``answer``."""
        asked, self._thens = self._writes + self._reads, self._after_writes + self._after_reads
        self._writes, self._after_writes, self._reads, self._after_reads = [], [], [], []
        return asked

    def answer(self, results: Sequence[Any]) -> None:
        for then, result in zip(self._thens, results, strict=True):
            if then is not None:
                then(result)

    # -- said ----------------------------------------------------------------------------------------------------------

    def send(self, peer: Peer, message: Message) -> None:
        self._messages.append((peer, message))

    def reply(self, peer: Peer, msgid: int, answer: Mapping[str, Any] = NOTHING) -> None:
        """The request is unanswered until this is said: a commit may take long, and no ping is to overtake it."""
        peer.unanswered.add(msgid)
        self._messages.append((peer, shaped(Response, (msgid, None, answer))))

    def reply_last(self, peer: Peer, msgid: int) -> None:
        """After all else that the step says: what came before may still turn out not to count."""
        self._last.append((peer, Response(msgid, None, NOTHING)))

    def refuse(self, peer: Peer, msgid: int, error: PeriodicError) -> None:
        peer.unanswered.add(msgid)
        self._messages.append((peer, Response(msgid, error.to_wire(), None)))

    def notice(self, peer: Peer | None, handle: str, kind: str, text: str) -> None:
        """Tell a worker about its run, if the worker is still connected."""
        if peer is not None:
            self._messages.append((peer, Notification("notice", [handle, kind, text])))

    def hold_place(self, peer: Peer) -> Callable[[Message], None]:
        """Keep the place of a message that is not known yet; returns what puts it there, in this step."""
        place = len(self._messages)
        self._messages.append((peer, None))
        self._holds_places = True

        def put(message: Message) -> None:
            self._messages[place] = peer, message

        return put

    def close(self, peer: Peer, error: ClosingError) -> None:
        self._closings.append((peer, error))

    def list(self, peer: Peer, msgid: int, listing: Listing) -> None:
        self._listings.append((peer, msgid, listing))

    def tell(self, event: Event) -> None:
        """What an operator should know of."""
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)
        else:
            self._events_missed += 1

    def said(self) -> Said:
        """All of it, once; the step is over."""
        messages: Any = self._messages
        if self._holds_places:
            messages = [each for each in messages if each[1] is not None]
        events = [*self._events, Missed(self._events_missed)] if self._events_missed else self._events
        said = Said(messages + self._last, self._closings, self._listings, events)
        for peer, message in said.messages:
            if type(message) is Response and message.msgid is not None:
                peer.unanswered.discard(message.msgid)
        self._messages, self._last, self._closings, self._listings = [], [], [], []
        self._holds_places = False
        self._events, self._events_missed = [], 0
        return said
