"""One step: collect what arrived, decide, ask the store, commit once, answer. Synchronous and deterministic.

The same engine runs under the server, with sockets and a thread for the commit, and under tests and the simulation,
with a virtual clock and stores that fail on purpose. Its owner does, again and again::

    receive(peer, message, size)         for all that arrives; only collects
    commit_needed = begin(now)           runs the scheduler and the store's statements; go_on() once a store that
                                         was Locked can be written
    commit(); committed(took_us)         if needed; the owner decides in which thread
    for peer, data in finish(): ...      only now may anything be said

If the store raises, the engine must be thrown away: what is on disk is the truth (docs/architecture.md).
"""

from periodic_client.wire import (
    ClosingError,
    DuplicateMsgid,
    Message,
    PeriodicError,
    Request,
    Response,
    UnknownMethod,
)
from periodicd import ops
from periodicd.clock import Now
from periodicd.peers import Memory, Peer
from periodicd.requests import METHODS
from periodicd.scheduler import Chance, Event, Scheduler, Settings
from periodicd.store import LOCK_WAIT_MS, Store

LARGE_ANSWERS = frozenset({"get", "list", "status"})
LARGE_ANSWERS_A_STEP = 8
"""So many answers of any size can a step make. Those beyond, and all for a peer that does not read, stay unanswered
until a later step: a pipeline of requests must not become a pile of answers. Reading stops at the unanswered."""


class Engine:
    """``chance`` gives random bytes: ``os.urandom``, or what a test makes up."""

    def __init__(self, store: Store, now: Now, chance: Chance, settings: Settings | None = None) -> None:
        self.store = store
        self.memory = Memory((settings or Settings()).connections_bytes)
        self._was_full = False
        self._deferring: dict[Peer, None] = {}
        """Connections of which something waits for a later step."""
        self._ending: dict[Peer, None] = {}
        """Those that sent all they have, and of which something may wait."""
        self._large_answers = 0
        store.lock(LOCK_WAIT_MS)
        (boot,) = store.apply([ops.Boot()])
        store.commit()
        assert isinstance(boot, ops.BootResult)
        self.scheduler = Scheduler(boot, now, chance, settings)
        self._inbox: list[tuple[Peer, Message | None]] = []
        self._asked: list[ops.Op] = []
        """Of a step that waits for a locked store."""
        self._peers = 0

    # -- collecting: between the steps ---------------------------------------------------------------------------------

    def attach(self, now: Now) -> Peer:
        """A connection was made."""
        self._peers += 1
        peer = Peer(self._peers, now.mono_ms, self.memory)
        self.scheduler.attach(peer)
        return peer

    def idlest(self, before_mono_ms: int) -> Peer | None:
        """The connection that has been silent for longest, if since before then, and waits for nothing."""
        return self.scheduler.idlest(before_mono_ms)

    def receive(self, peer: Peer, message: Message) -> None:
        """Raises DuplicateMsgid, after which the connection is to be closed."""
        if type(message) is Request:
            if message.msgid in peer.unanswered:
                raise DuplicateMsgid(f"request {message.msgid} is still unanswered")
            peer.unanswered.add(message.msgid)
        self._inbox.append((peer, message))

    def end(self, peer: Peer) -> None:
        """The peer sends no more. What it sent before is still done and answered; then its runs are lost."""
        peer.has_ended = True
        self._ending[peer] = None

    def detach(self, peer: Peer) -> None:
        """The connection is gone, with or without an ``end``. What it sent before is still done."""
        self._inbox.append((peer, None))

    def drained(self, peer: Peer) -> None:
        """The peer's outbox is below the high-water mark again."""
        self.scheduler.drained(peer)

    def listed(self, peer: Peer, msgid: int, result: ops.ListingResult) -> None:
        """The answer to one of ``take_listings``."""
        self.scheduler.listed(peer, msgid, result)

    def not_listed(self, peer: Peer, msgid: int, error: PeriodicError) -> None:
        """One of ``take_listings`` failed."""
        self.scheduler.not_listed(peer, msgid, error)

    @property
    def busy(self) -> bool:
        """Whether a step has something to do beside what the time asks for."""
        can_go_on = self._deferring and self._large_answers == LARGE_ANSWERS_A_STEP
        return bool(self._inbox or self.scheduler.sends or can_go_on)

    def wakeup_ms(self, now: Now) -> int:
        """When the next step is needed, if nothing arrives."""
        return self.scheduler.wakeup_ms(now)

    # -- the step ------------------------------------------------------------------------------------------------------

    def begin(self, now: Now) -> bool:
        """Do all that has arrived and all that is due. True if the store must commit before ``finish``.

        Raises Locked if the store is, in the middle of the step; after ``store.lock``, ``go_on``.
        """
        scheduler = self.scheduler
        scheduler.begin(now)
        if self._was_full and not self.memory.is_full:
            scheduler.relieved()
        # What has arrived is heard before the time judges: a commit may have kept it waiting past a lease's end.
        self._deal_with_inbox()
        scheduler.advance()
        return self.go_on()

    def go_on(self) -> bool:
        """The rest of a step, up to its commit. Answers as ``begin``."""
        scheduler = self.scheduler
        while self._asked or self._ask():
            results = self.store.apply(self._asked)
            self._asked = []
            scheduler.absorb(results)
        scheduler.answer_pings()
        self._was_full = self.memory.is_full
        return self.store.uncommitted

    def _ask(self) -> bool:
        """Whether the store is to be asked something: what follows from answers first, then what can be given out."""
        self._asked = self.scheduler.take_ops()
        if not self._asked:
            self.scheduler.dispatch()
            self._asked = self.scheduler.take_ops()
        return bool(self._asked)

    def commit(self) -> None:
        """Make the step durable. May run in another thread, while nothing but ``receive`` and ``detach`` is called."""
        self.store.commit()

    def committed(self, took_us: int) -> None:
        """The owner has committed, and waited so long for it."""
        self.scheduler.commits_us.note(took_us)

    def finish(self) -> list[tuple[Peer, bytes]]:
        """What may be said now that the step is on disk."""
        scheduler = self.scheduler
        sends, scheduler.sends = scheduler.sends, []
        return sends

    def take_listings(self) -> list[tuple[Peer, int, ops.Listing]]:
        """Listings to be run on the store beside the steps, and answered with ``listed``."""
        listings, self.scheduler.listings = self.scheduler.listings, []
        return listings

    def take_closings(self) -> list[tuple[Peer, ClosingError]]:
        """Connections to be closed, and why."""
        closings, self.scheduler.closings = self.scheduler.closings, []
        return closings

    def take_events(self) -> list[Event]:
        """What an operator should know of."""
        scheduler = self.scheduler
        events, scheduler.events = scheduler.events, []
        if scheduler.events_missed:
            events.append(Event("missed", (scheduler.events_missed,)))
            scheduler.events_missed = 0
        return events

    def close(self) -> None:
        """The last step: the daemon stops, and its runs keep their leases for its next start."""
        self.scheduler.write_claims()
        self.store.lock(LOCK_WAIT_MS)
        self.store.apply(self.scheduler.take_ops())
        self.store.commit()
        self.store.close()

    def _deal_with_inbox(self) -> None:
        """In order for each connection: once something of it waits, all that follows waits behind."""
        self._rules = self.scheduler.rules
        self._large_answers = 0
        for peer in list(self._deferring):
            while peer.deferred and self._deal_with(peer, peer.deferred[0]):
                peer.deferred.popleft()
            if not peer.deferred:
                del self._deferring[peer]
        inbox, self._inbox = self._inbox, []
        for peer, message in inbox:
            if message is None:
                self._detach(peer)
            elif peer.deferred or not self._deal_with(peer, message):
                peer.deferred.append(message)
                self._deferring[peer] = None
        for peer in [peer for peer in self._ending if not peer.deferred]:
            del self._ending[peer]
            self.scheduler.detach(peer)

    def _deal_with(self, peer: Peer, message: Message) -> bool:
        """False if it must wait for a later step."""
        if type(message) is Request:
            if not peer.is_reading:
                return False
            if message.method in LARGE_ANSWERS:
                if self._large_answers == LARGE_ANSWERS_A_STEP or self.memory.is_full:
                    return False
                self._large_answers += 1
            self._request(peer, message)
        elif type(message) is Response:
            self.scheduler.respond(peer, message.msgid, message.error, message.result)
        return True

    def _detach(self, peer: Peer) -> None:
        """What the connection sent before is still done, but nobody is there for large answers."""
        self._deferring.pop(peer, None)
        for message in peer.deferred:
            if type(message) is Response:
                self.scheduler.respond(peer, message.msgid, message.error, message.result)
            elif type(message) is Request and message.method not in LARGE_ANSWERS:
                self._request(peer, message)
        peer.deferred.clear()
        self._ending.pop(peer, None)
        if peer.number in self.scheduler.peers:
            self.scheduler.detach(peer)

    def _request(self, peer: Peer, request: Request) -> None:
        msgid, method, params = request
        check = METHODS.get(method)
        try:
            if check is None:
                raise UnknownMethod(f"there is no method {method!r:.100}; they are {', '.join(METHODS)}")
            arguments = check(params, self._rules)
        except PeriodicError as error:
            self.scheduler.refuse(peer, msgid, error)
            return
        getattr(self.scheduler, method)(peer, msgid, *arguments)
