"""Which pings wait for no commit. Counts only: no I/O, no clock.

A ping is answered once all is on disk that its connection sent before. Where that is so already, a commit that takes
long is of others, and no reason to look dead; and a step that would answer says nothing before its own commit is made.
"""

from typing import TypeGuard

from periodic_client.wire import Message, Request, Response
from periodicd.net.pace import Pace
from periodicd.protocol.answers import NOTHING
from periodicd.scheduler.peers import Peer


class Steps:
    """Those of the loop. What arrives between two is heard by the next."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.begun = 0
        self.over = 0
        """Of so many everything is on disk and said."""
        self.disk_is_busy = False
        """The loop waits for a thread to be done with the store."""

    @property
    def take_long(self) -> bool:
        """The one under way does, or the next may."""
        return self.disk_is_busy or self._pace.is_slow


class Pings:
    """Of one connection."""

    def __init__(self, steps: Steps, peer: Peer) -> None:
        self._steps = steps
        self._peer = peer
        self._heard_by = 0
        """The step that heard the last of its messages, or will, as far as is known."""

    def answer(self, message: Message) -> Response | None:
        """To a ping that has nothing to wait for, while steps take long. All else is for the next step."""
        steps, peer = self._steps, self._peer
        if steps.take_long and steps.over >= self._heard_by and _is_ping(message):
            is_new = not (peer.unanswered or peer.deferred or message.msgid in peer.waiting)
            if is_new and peer.is_reading:
                return Response(message.msgid, None, NOTHING)
        self._heard_by = steps.begun + 1
        return None

    def step_done(self) -> bool:
        """After a step that heard something from here. Whether it was put off, and the next is to be told of too."""
        next_step = self._steps.begun + 1
        if not self._peer.deferred or self._heard_by == next_step:
            return False
        self._heard_by = next_step
        return True


def _is_ping(message: Message) -> TypeGuard[Request]:
    return type(message) is Request and message.method == "ping" and not message.params
