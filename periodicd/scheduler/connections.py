"""Who is connected, and who was silent for too long. Knows no jobs."""

from collections.abc import Callable, Iterator

from periodic_client.wire import Silent
from periodic_client.wire.limits import SILENCE_MS
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step

SWEEP_MS = 5_000


class Connections:
    """``idle_ms``: how long one may be silent that waits for nothing; ``runs``: whether it runs another's job."""

    def __init__(self, step: Step, idle_ms: int, runs: Callable[[Peer], bool]) -> None:
        self._step = step
        self._idle_ms = idle_ms
        self._runs = runs
        self._peers: dict[int, Peer] = {}
        self._next_sweep_ms = step.now.mono_ms

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __contains__(self, peer: Peer) -> bool:
        return peer.number in self._peers

    def add(self, peer: Peer) -> None:
        self._peers[peer.number] = peer

    def remove(self, peer: Peer) -> None:
        del self._peers[peer.number]

    def idlest(self, before_mono_ms: int) -> Peer | None:
        """The one that has been silent for longest, if since before then, and waits for nothing."""
        idle = (peer for peer in self if peer.heard_ms < before_mono_ms and self._is_idle(peer))
        return min(idle, key=lambda peer: peer.heard_ms, default=None)

    def _is_idle(self, peer: Peer) -> bool:
        return peer.is_idle and not self._runs(peer)

    def was_suspended(self) -> None:
        """The process stood still. What was sent to it meanwhile is not read yet."""
        for peer in self:
            peer.heard_ms = self._step.now.mono_ms

    def advance(self) -> None:
        """Close those that were silent for too long."""
        mono_ms = self._step.now.mono_ms
        if mono_ms < self._next_sweep_ms:
            return
        self._next_sweep_ms = mono_ms + SWEEP_MS
        for peer in self:
            silent_ms = mono_ms - peer.heard_ms
            limit_ms = peer.silence_ms or SILENCE_MS[0]
            if peer.subscriptions and silent_ms >= limit_ms:
                peer.fell_silent = True
                self._step.close(peer, Silent(f"subscribed, but silent for {limit_ms // 1000} s"))
            elif silent_ms >= self._idle_ms and self._is_idle(peer):
                self._step.close(peer, Silent(f"silent for {self._idle_ms // 1000} s"))

    def next_ms(self) -> int:
        """In how many milliseconds ``advance`` has something to do."""
        return self._next_sweep_ms - self._step.now.mono_ms
