"""Who is connected, and how much more work each can take. Counts only: nothing here decides which job runs.

Room is taken by a ``perform`` and comes back with its response or with the connection's end, never by a lease running
out: a worker that is stuck on a job is still busy with it.
"""

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from periodic_client.wire import Message
    from periodicd.leases import Lease

CONNECTION_JOBS_MAX = 1000

SILENCE_MS = 60_000
"""A subscribed connection that says nothing for so long is closed, unless it has asked for more."""

OUTBOX_HIGH_BYTES = 1024 * 1024
"""A peer with so much on its way is given no more jobs: they stay ready for others."""


class Memory:
    """What all connections together hold: messages in progress, messages not dealt with yet, outboxes. A count only."""

    def __init__(self, limit_bytes: int) -> None:
        self.used_bytes = 0
        self.limit_bytes = limit_bytes

    @property
    def is_full(self) -> bool:
        return self.used_bytes >= self.limit_bytes


class Peer:
    """One connection, as the scheduler sees it."""

    def __init__(self, number: int, now_mono_ms: int, memory: Memory) -> None:
        self.number = number
        self._memory = memory
        self.client = ""
        self.credit = CONNECTION_JOBS_MAX
        self.disconnect_grace_ms = 0
        self.silence_ms: int | None = None
        """How long it may be silent, if it has asked for more than others may."""
        self.subscriptions: dict[str, Subscription] = {}
        self.said_goodbye = False
        """It takes no more jobs and has said so: if it closes, that is no crash."""
        self.performing: dict[int, Lease] = {}
        """Unanswered ``perform`` requests by msgid: what takes room."""
        self.passed_over: dict[Subscription, None] = {}
        """Subscriptions that would have been given a job, had the connection as a whole had room; longest first."""
        self.adopted: list[Lease] = []
        """Runs that it took over from a lost connection; they take no room."""
        self.outbox_bytes = 0
        """What is on its way to it and not yet taken by the network, about."""
        self.inbox_bytes = 0
        """What came from it and is not dealt with yet, about."""
        self.unanswered: set[int] = set()
        """Its requests that were not answered yet, by msgid."""
        self.deferred: deque[Message] = deque()
        """What it sent and a later step will deal with, in order."""
        self.has_ended = False
        """It sends no more, or is not listened to any more, so it can report no run. It may still read its answers."""
        self.fell_silent = False
        """It is closed because nothing was heard of it, which says nothing about its runs."""
        self.heard_ms = now_mono_ms
        self._last_msgid = 0

    @property
    def has_room(self) -> bool:
        has_credit = len(self.performing) < self.credit and not self.has_ended
        return has_credit and self.is_reading and not self._memory.is_full

    @property
    def is_idle(self) -> bool:
        """It waits for nothing: no answer, no jobs, and it runs none."""
        waits = self.unanswered or self.deferred or self.subscriptions or self.performing or self.has_ended
        return not waits and not self.outbox_bytes and all(run.ended for run in self.adopted)

    @property
    def is_reading(self) -> bool:
        """Whether it takes what is sent to it."""
        return self.outbox_bytes < OUTBOX_HIGH_BYTES

    def note_outbox(self, held_bytes: int) -> None:
        self._memory.used_bytes += held_bytes - self.outbox_bytes
        self.outbox_bytes = held_bytes

    def note_inbox(self, held_bytes: int) -> None:
        self._memory.used_bytes += held_bytes - self.inbox_bytes
        self.inbox_bytes = held_bytes

    def new_msgid(self) -> int:
        """The next number for a request to this peer, leaving out those in flight."""
        while True:
            self._last_msgid = self._last_msgid % 0xFFFFFFFF + 1
            if self._last_msgid not in self.performing:
                return self._last_msgid


class Subscription:
    """A peer's willingness to run jobs of one function."""

    __slots__ = ("func", "limit", "peer", "queued", "running")

    def __init__(self, peer: Peer, func: str, limit: int) -> None:
        self.peer = peer
        self.func = func
        self.limit = limit
        self.running = 0
        self.queued = False
        """Whether it stands in its function's rotation."""


class Rotation:
    """The subscriptions of one function that may have room, each taken in turn.

    A subscription without room is dropped when its turn comes and must be offered again when room comes back; so a
    thousand busy workers cost nothing.
    """

    def __init__(self) -> None:
        self.workers = 0
        """How many peers are subscribed, with room or without."""
        self._turn: deque[Subscription] = deque()

    def offer(self, subscription: Subscription) -> None:
        if not subscription.queued and subscription.running < subscription.limit:
            subscription.queued = True
            self._turn.append(subscription)

    def withdraw(self, subscription: Subscription) -> None:
        subscription.peer.passed_over.pop(subscription, None)
        if subscription.queued:
            subscription.queued = False
            self._turn.remove(subscription)

    def head(self) -> Subscription | None:
        """The subscription whose turn it is to get the job that is due, if any has room."""
        turn = self._turn
        while turn:
            subscription = turn[0]
            if subscription.running < subscription.limit:
                if subscription.peer.has_room:
                    return subscription
                subscription.peer.passed_over[subscription] = None
            turn.popleft()
            subscription.queued = False
        return None

    def pass_turn(self) -> None:
        """The head was given a job: now the next one."""
        self._turn.rotate(-1)
