"""Who is connected, and how much more work each can take. Counts only: nothing here decides which job runs.

Room is taken by a ``perform`` and comes back with its response or with the connection's end, never by a lease running
out: a worker that is stuck on a job is still busy with it.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

from periodic_client.wire.limits import CONNECTION_JOBS_MAX
from periodicd.clock import Now

if TYPE_CHECKING:
    from periodic_client.wire import Message

OUTBOX_HIGH_BYTES = 1024 * 1024
"""A peer with so much on its way is given no more jobs: they stay ready for others."""


class ByteBudget:
    """What all connections together hold: messages in progress, messages not dealt with yet, outboxes. A count only."""

    def __init__(self, limit_bytes: int) -> None:
        self.used_bytes = 0
        self.limit_bytes = limit_bytes

    @property
    def is_full(self) -> bool:
        return self.used_bytes >= self.limit_bytes


class Peer:
    """One connection, as the rules see it. What each field is for says who writes it."""

    def __init__(self, number: int, now: Now, budget: ByteBudget) -> None:
        self.number = number
        self.connected_at_ms = now.wall_ms
        self._budget = budget
        # What it said of itself, by ``hello``.
        self.client = ""
        self.credit = CONNECTION_JOBS_MAX
        self.disconnect_grace_ms = 0
        self.silence_ms: int | None = None
        """How long it may be silent, if it has asked for more than others may."""
        # The rules.
        self.subscriptions: dict[str, Subscription] = {}
        self.performing: dict[int, Subscription] = {}
        """Unanswered ``perform`` requests by msgid: what takes room."""
        self.told: dict[int, Any] = {}
        """Unanswered ones of broadcasts, which take none: the run of each."""
        self.passed_over: dict[Subscription, None] = {}
        """Subscriptions that would have been given a job, had the connection as a whole had room; longest first."""
        self.said_goodbye = False
        """It takes no more jobs and has said so: if it closes, that is no crash."""
        self.fell_silent = False
        """It is closed because nothing was heard of it, which says nothing about its runs."""
        self._last_msgid = 0
        # The engine.
        self.unanswered: set[int] = set()
        """Its requests that were not answered yet, by msgid; but for those that wait."""
        self.waiting: set[int] = set()
        """Its long polls, by msgid. The rules end them."""
        self.deferred: deque[Message] = deque()
        """What it sent and a later step will deal with, in order."""
        self.heard_ms = now.mono_ms
        """When something last came from it, by the monotonic clock."""
        # The connection.
        self.has_ended = False
        """It sends no more, or is not listened to any more, so it can report no run. It may still read its answers."""
        self.is_gone = False
        self.outbox_bytes = 0
        """What is on its way to it and not yet taken by the network, about."""
        self.inbox_bytes = 0
        """What came from it and is not dealt with yet, about."""
        self._expected_bytes = 0
        """What this step will add to the outbox."""

    @property
    def shown(self) -> str:
        """What people are told of it."""
        return f"{self.client or 'a worker'} (connection {self.number})"

    @property
    def has_room(self) -> bool:
        has_credit = len(self.performing) < self.credit and not self.has_ended
        return has_credit and self.can_take_more

    @property
    def is_idle(self) -> bool:
        """It waits for nothing: no answer, no jobs, and was given none that it has not answered."""
        asked = self.unanswered or self.waiting or self.deferred
        runs = self.performing or self.told
        return not (asked or self.subscriptions or runs or self.has_ended or self.outbox_bytes)

    @property
    def is_reading(self) -> bool:
        """Whether it takes what is sent to it."""
        return self.outbox_bytes + self._expected_bytes < OUTBOX_HIGH_BYTES

    @property
    def can_take_more(self) -> bool:
        """Whether there is memory for an answer of some size."""
        return self.is_reading and not self._budget.is_full

    def expect(self, more_bytes: int) -> None:
        """So much will be sent to it at the end of the step."""
        self._budget.used_bytes += more_bytes
        self._expected_bytes += more_bytes

    def note_outbox(self, held_bytes: int) -> None:
        """What was expected is among it."""
        self._budget.used_bytes += held_bytes - self.outbox_bytes - self._expected_bytes
        self.outbox_bytes, self._expected_bytes = held_bytes, 0

    def note_inbox(self, held_bytes: int) -> None:
        self._budget.used_bytes += held_bytes - self.inbox_bytes
        self.inbox_bytes = held_bytes

    def new_msgid(self) -> int:
        """The next number for a request to this peer, leaving out those in flight."""
        while True:
            self._last_msgid = self._last_msgid % 0xFFFFFFFF + 1
            if self._last_msgid not in self.performing and self._last_msgid not in self.told:
                return self._last_msgid


class Subscription:
    """A peer's willingness to run jobs of one function."""

    __slots__ = ("func", "is_queued", "limit", "peer", "running", "take")

    def __init__(self, peer: Peer, func: str, limit: int, take: object = None) -> None:
        self.peer = peer
        self.func = func
        self.limit = limit
        self.take = take
        """The request that it stands for, if the peer did not subscribe but asked once."""
        self.running = 0
        self.is_queued = False
        """Whether it stands in its function's rotation."""

    def take_room(self) -> int:
        """For one more ``perform``, whose msgid is returned."""
        msgid = self.peer.new_msgid()
        self.peer.performing[msgid] = self
        self.running += 1
        return msgid
