"""What workers say of the jobs they take: which functions, how many, and when they go. Gives out nothing itself."""

from periodic_client.wire import Draining, Invalid, limits
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step


class Subscribing:
    def __init__(self, step: Step, dispatch: Dispatch, ring: EventRing) -> None:
        self._step = step
        self._dispatch = dispatch
        self._ring = ring
        self.has_stopped = False
        """The daemon does, and takes no new subscriptions."""

    def subscribe(self, peer: Peer, msgid: int, func: str, limit: int) -> None:
        if self.has_stopped:
            self._step.refuse(peer, msgid, Draining("the daemon is stopping"))
        elif func not in peer.subscriptions and len(peer.subscriptions) >= limits.SUBSCRIPTIONS_MAX:
            text = f"a connection may subscribe to {limits.SUBSCRIPTIONS_MAX} functions"
            self._step.refuse(peer, msgid, Invalid(text))
        else:
            peer.said_goodbye = False
            if not peer.subscriptions:
                self._ring.note("worker_came", func, worker=peer.shown)
            self._dispatch.subscribe(peer, func, limit)
            self._step.reply(peer, msgid)

    def unsubscribe(self, peer: Peer, msgid: int, func: str) -> None:
        if self._dispatch.unsubscribe(peer, func) and not peer.subscriptions:
            peer.said_goodbye = True
            self._ring.note("worker_went", None, worker=peer.shown)
        self._step.reply(peer, msgid)

    def unsubscribe_all(self, peer: Peer, msgid: int) -> None:
        if peer.subscriptions:
            self.leave(peer)
        peer.said_goodbye = True
        self._step.reply(peer, msgid)

    def leave(self, peer: Peer) -> None:
        """It takes no more, in order or not."""
        self._ring.note("worker_went", None, worker=peer.shown)
        for func in list(peer.subscriptions):
            self._dispatch.unsubscribe(peer, func)
