"""One step: hear what arrived, decide, ask the store, commit once, say. Synchronous and deterministic; knows no store.

The same engine runs under the server, with sockets and a thread for the commit, and under tests and the simulation,
with a virtual clock and stores that fail on purpose. Its owner tells it what happens (``attach``, ``receive``, ...),
which only collects, and takes one step after the other::

    said = drive(engine.step(now), store)

A step is a generator: it yields what is to be done with the store, is sent the answers, and returns what it has to say.
So it is written once, and the owner decides where the store is asked: ``drive`` does it here and now, the server in a
thread where it might wait. If the store fails, the engine must be thrown away: what is on disk is the truth
(docs/architecture.md).
"""

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from periodic_client.wire import DuplicateMsgid, Message, Notification, PeriodicError, Request, Response, UnknownMethod
from periodicd.clock import Now
from periodicd.methods import METHODS, AnyMethod
from periodicd.scheduler import Chance, Said, Scheduler, Settings
from periodicd.scheduler.peers import ByteBudget, Peer
from periodicd.store import LOCK_WAIT_MS, Store, ops

LARGE_ANSWERS_A_STEP = 8
"""So many answers of any size can a step make. Those beyond, and all for a peer that does not read, stay unanswered
until a later step: a pipeline of requests must not become a pile of answers. Reading stops at the unanswered."""


class Apply(NamedTuple):
    """Ask the store this; the answer is its results."""

    ops: list[ops.Op[Any]]


class Commit(NamedTuple):
    """Make durable what was asked. The answer is how many microseconds that took."""


Call = Apply | Commit
R = TypeVar("R")
Calls = Generator[Call, Any, R]


def drive(calls: Calls[R], store: Store, took_us: int = 0) -> R:
    """Carry out each call at once. ``took_us``: what a commit is said to take, since nobody looks at a clock here."""
    try:
        call = next(calls)
        while True:
            if isinstance(call, Apply):
                call = calls.send(store.apply(call.ops))
            else:
                store.commit()
                call = calls.send(took_us)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


# -- what an owner tells, beside messages ------------------------------------------------------------------------------


class Attached(NamedTuple):
    """The connection was made."""


class Heard(NamedTuple):
    """Something came, be it half a message."""

    mono_ms: int


class ReadsAgain(NamedTuple):
    """The peer's outbox is below the high-water mark again."""


class Listed(NamedTuple):
    """A listing was made beside the steps, or failed."""

    msgid: int
    page: ops.ListingResult | PeriodicError


class Ended(NamedTuple):
    """The peer sends no more, but may still read. What it sent before is still done and answered."""


class Detached(NamedTuple):
    """The connection is gone. What it sent before is still done."""


SHARE_LEAST = 8
"""Of requests that a connection is heard in a step, however many connections there are."""
BATCH_JOBS_A_REQUEST = 3
"""A job of a batch costs a part of what one by itself does."""


def _weight(request: Request) -> int:
    """As how many requests it counts."""
    if request.method == "submit_batch" and request.params and type(request.params[0]) is list:
        return 1 + len(request.params[0]) // BATCH_JOBS_A_REQUEST
    return 1


MESSAGES = (Request, Response, Notification)
"""As a tuple: to ask for a union is felt."""
Told = Message | Attached | Heard | ReadsAgain | Listed | Ended | Detached


class Engine:
    """``boot``: the store's answer to the daemon's start. ``chance``: ``os.urandom``, or what a test makes up."""

    def __init__(self, boot: ops.BootResult, now: Now, chance: Chance, settings: Settings | None = None) -> None:
        self.scheduler = Scheduler(boot, now, chance, settings)
        self.budget = ByteBudget(self.scheduler.settings.connections_bytes)
        self._was_full = False
        self._inbox: list[tuple[Peer, Told]] = []
        self._peers = 0
        self._deferring: dict[Peer, None] = {}
        """Connections of which something waits for a later step."""
        self._ending: dict[Peer, None] = {}
        """Those that sent all they have, and of which something may wait."""
        self._large_answers = 0
        self._heard: dict[Peer, int] = {}
        """How many requests of each in this step."""
        self._share = 0
        """How many may be."""
        self._is_dealt_with = True
        """Whether nobody's share was too small in this step."""

    # -- told between the steps: only collected ------------------------------------------------------------------------

    def attach(self, now: Now) -> Peer:
        """A connection was made."""
        self._peers += 1
        peer = Peer(self._peers, now, self.budget)
        self._inbox.append((peer, Attached()))
        return peer

    def receive(self, peer: Peer, message: Message) -> None:
        """Raises DuplicateMsgid, after which the connection is to be closed."""
        if type(message) is Request:
            if message.msgid in peer.unanswered or message.msgid in peer.waiting:
                raise DuplicateMsgid(f"request {message.msgid} is still unanswered")
            peer.unanswered.add(message.msgid)
        self._inbox.append((peer, message))

    def tell(self, peer: Peer, what: Told) -> None:
        if type(what) is Ended:
            peer.has_ended = True
        elif type(what) is Detached:
            peer.is_gone = True
        self._inbox.append((peer, what))

    # -- asked between the steps ---------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a step has something to do beside what the time asks for."""
        can_go_on = self._deferring and self._large_answers == LARGE_ANSWERS_A_STEP
        has_more = not self._is_dealt_with or self.scheduler.dispatch.has_postponed
        return bool(self._inbox or can_go_on or has_more)

    def wakeup_ms(self, now: Now) -> int:
        """When the next step is needed, if nothing arrives."""
        scheduler = self.scheduler
        return max(0, scheduler.next_ms() - (now.mono_ms - scheduler.step.now.mono_ms))

    def idlest(self, before_mono_ms: int) -> Peer | None:
        """The connection that has been silent for longest, if since before then, and waits for nothing."""
        return self.scheduler.connections.idlest(before_mono_ms)

    # -- the step ------------------------------------------------------------------------------------------------------

    def step(self, now: Now) -> Calls[Said]:
        """Do all that has arrived and all that is due, and return what is to be said."""
        scheduler = self.scheduler
        scheduler.begin(now)
        if self._was_full and not self.budget.is_full:
            scheduler.dispatch.memory_freed(scheduler.connections)
        # What has arrived is heard before the time judges: a commit may have kept it waiting past a lease's end.
        self._hear_inbox()
        scheduler.advance()
        wrote = False
        while asked := scheduler.ask():
            wrote = wrote or not all(isinstance(op, ops.Read) for op in asked)
            scheduler.step.answer((yield Apply(asked)))
        self._was_full = self.budget.is_full
        if wrote:
            scheduler.figures.commits_us.note((yield Commit()))
        return scheduler.step.said()

    def leave(self) -> Calls[None]:
        """The last step: the daemon stops, and its runs keep their leases for its next start."""
        self.scheduler.runs.claim_all()
        if asked := self.scheduler.step.ask():
            yield Apply(asked)
            yield Commit()

    def _hear_inbox(self) -> None:
        """In order for each connection: once something of it waits, all that follows waits behind.

        Each has the same share, so that one that sends much does not keep others waiting.
        """
        self._large_answers = 0
        self._heard.clear()
        self._is_dealt_with = True
        speakers = len({peer for peer, _ in self._inbox} | self._deferring.keys())
        self._share = max(SHARE_LEAST, self.scheduler.settings.heard_a_step // max(1, speakers))
        for peer in list(self._deferring):
            while peer.deferred and self._hear(peer, peer.deferred[0]):
                peer.deferred.popleft()
            if not peer.deferred:
                del self._deferring[peer]
        inbox, self._inbox = self._inbox, []
        for peer, told in inbox:
            if isinstance(told, MESSAGES):
                if peer.deferred or not self._hear(peer, told):
                    peer.deferred.append(told)
                    self._deferring[peer] = None
            else:
                self._note(peer, told)
        for peer in [peer for peer in self._ending if not peer.deferred]:
            del self._ending[peer]
            self.scheduler.detach(peer)

    def _hear(self, peer: Peer, message: Message) -> bool:
        """False if it must wait for a later step."""
        if type(message) is Request:
            if not peer.is_reading:
                return False
            heard = self._heard.get(peer, 0)
            if heard >= self._share:
                self._is_dealt_with = False
                return False
            self._heard[peer] = heard + _weight(message)
            method = METHODS.get(message.method)
            if method is not None and method.is_large:
                if self._large_answers == LARGE_ANSWERS_A_STEP or self.budget.is_full:
                    return False
                self._large_answers += 1
            self._request(peer, message, method)
        elif type(message) is Response:
            self.scheduler.respond(peer, message.msgid, message.error, message.result)
        return True

    def _request(self, peer: Peer, request: Request, method: AnyMethod | None) -> None:
        scheduler, msgid = self.scheduler, request.msgid
        try:
            if method is None:
                raise UnknownMethod(f"there is no method {request.method!r:.100}; they are {', '.join(METHODS)}")
            method.rule(scheduler, peer, msgid, *method.check(request.params, scheduler.rules))
        except PeriodicError as error:
            scheduler.step.refuse(peer, msgid, error)

    def _note(self, peer: Peer, told: Attached | Heard | ReadsAgain | Listed | Ended | Detached) -> None:
        match told:
            case Heard():
                peer.heard_ms = told.mono_ms
            case Attached():
                self.scheduler.attach(peer)
            case ReadsAgain():
                self.scheduler.dispatch.has_room(peer)
            case Listed():
                self.scheduler.listings.end(peer, told.msgid, told.page)
            case Ended():
                self._ending[peer] = None
            case Detached():
                self._detach(peer)

    def _detach(self, peer: Peer) -> None:
        """What the connection sent before is still done, but nobody is there for large answers."""
        self._deferring.pop(peer, None)
        for message in peer.deferred:
            if type(message) is Response:
                self.scheduler.respond(peer, message.msgid, message.error, message.result)
            elif type(message) is Request:
                method = METHODS.get(message.method)
                if method is None or not method.is_large:
                    self._request(peer, message, method)
        peer.deferred.clear()
        self._ending.pop(peer, None)
        self.scheduler.detach(peer)


def start(store: Store, now: Now, chance: Chance, settings: Settings | None = None) -> Engine:
    """A new life of the daemon on this store. Waits for whoever else writes to it. Raises Locked."""
    store.lock(LOCK_WAIT_MS)
    (boot,) = store.apply([ops.Boot()])
    store.commit()
    assert isinstance(boot, ops.BootResult)
    return Engine(boot, now, chance, settings)
