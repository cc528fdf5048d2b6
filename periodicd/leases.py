"""The runs in progress: who runs what, until when, and which claims are not yet on disk. Rules are the scheduler's.

Times here are of the monotonic clock: a stepped wall clock neither ends a lease nor prolongs it.
"""

from collections import Counter
from collections.abc import Iterator

from periodicd.job import Job
from periodicd.peers import Peer, Subscription
from periodicd.timers import Deadlines


class Lease:
    """One run of a job. The job's own record holds the counters as of this run."""

    __slots__ = ("alone", "ended", "former", "handle", "job", "lost", "peer", "reported", "run", "subscription")

    def __init__(self, handle: str, run: int, job: Job, peer: Peer | None, subscription: Subscription | None) -> None:
        self.handle = handle
        self.run = run
        """Its number, by which it is shown: the handle is for its worker only."""
        self.job = job
        self.peer = peer
        """None: the connection is gone, or was one of the daemon's life before."""
        self.subscription = subscription
        self.former = False
        """It began in the daemon's life before, and nobody has taken it over."""
        self.alone = False
        """No other run was on its connection when that was lost."""
        self.ended = False
        """The job waits again or is dead, but its worker may still be busy with it, and its report may still count."""
        self.reported = False
        """Its worker reported with ``finish``; the response that follows needs no answer."""
        self.lost = False
        """Its worker was told that it no longer counts."""


class Leases:
    def __init__(self) -> None:
        self._by_handle: dict[str, Lease] = {}
        self._by_key: dict[tuple[str, str], Lease] = {}
        self._by_id: dict[int, Lease] = {}
        self._late: dict[int, Lease] = {}
        """By job: runs that ran out, of connected workers who have not answered. A report would still count."""
        self._ends: Deadlines[str] = Deadlines()
        self._unclaimed: dict[str, int] = {}
        """Handles whose claim is not on disk, with the time by which it must be written; oldest first."""
        self.running: Counter[str] = Counter()
        """Runs by function, zeros left out."""

    def __len__(self) -> int:
        return len(self._by_handle)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_handle.values())

    def add(self, lease: Lease, end_mono_ms: int | None) -> None:
        """``end_mono_ms``: None if its time is limited otherwise."""
        self._by_handle[lease.handle] = lease
        self._by_key[lease.job.key] = lease
        self._by_id[lease.job.id] = lease
        self.running[lease.job.func] += 1
        if end_mono_ms is not None:
            self._ends.set(lease.handle, end_mono_ms)

    def end(self, lease: Lease) -> str | None:
        """The run is over. Returns its handle if the store has it, or is asked to have it."""
        lease.ended = True
        func = lease.job.func
        del self._by_handle[lease.handle]
        del self._by_key[lease.job.key]
        del self._by_id[lease.job.id]
        self._ends.discard(lease.handle)
        if self.running[func] == 1:
            del self.running[func]
        else:
            self.running[func] -= 1
        return lease.handle if self._unclaimed.pop(lease.handle, None) is None else None

    def extend(self, lease: Lease, end_mono_ms: int) -> None:
        self._ends.set(lease.handle, end_mono_ms)

    def by_handle(self, handle: str) -> Lease | None:
        return self._by_handle.get(handle)

    def by_key(self, key: tuple[str, str]) -> Lease | None:
        return self._by_key.get(key)

    def by_id(self, job_id: int) -> Lease | None:
        return self._by_id.get(job_id)

    def pop_expired(self, mono_ms: int) -> Iterator[Lease]:
        """The leases that ran out. They still count until ``end``."""
        for handle in self._ends.pop_due(mono_ms):
            yield self._by_handle[handle]

    def next_end_ms(self) -> int | None:
        return self._ends.next_ms()

    def knows(self, lease: Lease) -> bool:
        """Whether a report of the run would count."""
        return self._by_handle.get(lease.handle) is lease or self._late.get(lease.job.id) is lease

    # Runs that are over, and of which their worker may yet tell how they ended.

    def keep_late(self, lease: Lease) -> None:
        self._late[lease.job.id] = lease

    def late(self, job_id: int) -> Lease | None:
        return self._late.get(job_id)

    def forget_late(self, lease: Lease) -> None:
        if self._late.get(lease.job.id) is lease:
            del self._late[lease.job.id]

    # Claims that may wait a little: a short job is finished before its claim was ever written.

    def postpone_claim(self, lease: Lease, by_mono_ms: int) -> None:
        self._unclaimed[lease.handle] = by_mono_ms

    def pop_claim(self, lease: Lease) -> bool:
        """Whether the lease's claim is still to be written; from now on the caller has taken that over."""
        return self._unclaimed.pop(lease.handle, None) is not None

    def pop_all_claims(self) -> list[Lease]:
        leases = [self._by_handle[handle] for handle in self._unclaimed]
        self._unclaimed.clear()
        return leases

    def pop_claims_due(self, mono_ms: int) -> Iterator[Lease]:
        while self._unclaimed:
            handle, by_ms = next(iter(self._unclaimed.items()))
            if by_ms > mono_ms:
                return
            del self._unclaimed[handle]
            yield self._by_handle[handle]

    def next_claim_ms(self) -> int | None:
        return next(iter(self._unclaimed.values()), None)
