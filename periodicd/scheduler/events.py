"""What an operator should know of. The rules do not log; whoever owns the engine may. Values only."""

from typing import NamedTuple

from periodicd.scheduler.peers import Peer


class WorkerLost(NamedTuple):
    """A connection was lost while its jobs ran."""

    peer: Peer
    runs: int


class LeaseRanOut(NamedTuple):
    peer: Peer | None
    func: str
    name: str
    run: int
    lease_ms: int


class Died(NamedTuple):
    """A job has failed for good."""

    func: str
    name: str
    attempt: int
    failures: int
    crashes: int


class SteppedBack(NamedTuple):
    """The wall clock was."""

    by_ms: int


class UnknownZone(NamedTuple):
    """A schedule goes by the clocks of a zone of which this machine has no data: it does not fire."""

    schedule: str
    zone: str


class Missed(NamedTuple):
    """There was no room for so many events in one step."""

    events: int


Event = WorkerLost | LeaseRanOut | Died | SteppedBack | UnknownZone | Missed
