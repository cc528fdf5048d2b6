"""One seeded run: a virtual clock, links, actors, a disk that fails, a daemon that crashes and starts again.

The engine and the scheduler are the real ones. All chance comes from one ``random.Random(seed)``, nothing depends on
hashes or on trio, so the same seed gives the same trace. To add a fault, add a line to ``FAULTS`` and a method.
"""

import hashlib
from random import Random

import msgpack

from periodic_client.wire import Message, Notification, Request, Response
from periodicd.clock import Now
from periodicd.engine import Engine
from periodicd.peers import OUTBOX_HIGH_BYTES
from periodicd.queues import Budget
from periodicd.scheduler import Settings
from tests.sim.actors import FUNCS, Actor, Submitter, Worker
from tests.sim.network import Link
from tests.sim.promises import Book, Broken, Promises
from tests.sim.store import DiskFault, FaultyStore

HEALING_MS = 600_000


class Crash(Exception):
    """The daemon's process dies here."""


class World:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.book = Book()
        self.promises = Promises(self.book)
        self.store = FaultyStore()
        self.now = Now(1_700_000_000_000, 1_000)
        self.steps = 0
        self.lives = 0
        self.trace = hashlib.sha256()
        self._links: list[Link] = []
        self._link_numbers = 0
        self._crash_at: str | None = None
        self._claims_wait = self.rng.random() < 0.2
        manners = ("honest", "honest", "slow", "dying", "rude")
        self._actors: list[Actor] = [Submitter(self.rng, self.book) for _ in range(2)]
        self._actors += [Worker(self.rng, self.book, self.rng.choice(manners)) for _ in range(3)]
        self._settings = Settings(
            budget=Budget(jobs=12, bytes=20_000, inline_bytes=10, page_jobs=4, page_bytes=3_000),
            claims_wait=self._claims_wait,
            restart_grace_ms=5_000,
            dead_kept=1_000,
        )
        self._start()

    # -- one step ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Something happens. Raises Broken."""
        self.steps += 1
        happens = self.rng.random()
        if happens < 0.30:
            self._deliver_up()
        elif happens < 0.55:
            self._deliver_down()
        elif happens < 0.75:
            self._someone_acts()
        elif happens < 0.90:
            self._engine_steps()
        elif happens < 0.98:
            self._time_passes()
        else:
            self.rng.choice(FAULTS)(self)
        self._note(f"{happens:.6f} {self.now} {len(self.store.on_disk())}")

    def heal(self) -> None:
        """The faults stop and honest workers come; then everything that is due gets done. Raises Broken."""
        self.store.fault, self.store.refusals, self._crash_at = None, 0, None
        for link in list(self._links):
            self._cut(link)
        workers = [actor for actor in self._actors if isinstance(actor, Worker)]
        for worker in workers:
            worker.manners = "honest"
            worker.unreported = []
        self._actors = list(workers)
        until_ms = self.now.mono_ms + HEALING_MS
        while self.now.mono_ms < until_ms:
            for actor in self._actors:
                self._act(actor)
                if actor.link is not None and actor.link.is_up and self.rng.random() < 0.1:
                    for func in FUNCS:
                        actor.link.ask("subscribe", func, {"limit": 10})
            for _ in range(3):
                for link in list(self._links):
                    while link.up:
                        self._receive(link)
                    while link.down:
                        self._hear(link)
                self._engine_steps()
            self._advance(self.rng.choice((50, 500, 2_000)))
        self.promises.all_is_done(self.store, self.now.wall_ms)

    def _note(self, what: str) -> None:
        self.trace.update(what.encode())

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.lives += 1
        self.engine = Engine(self.store, self.now, self.rng.randbytes, self._settings)

    def _engine_steps(self) -> None:
        try:
            if self.engine.begin(self.now):
                self._crash_if("before_commit")
                self.engine.commit()
                self.engine.committed(300)
                self._crash_if("after_commit")
        except (Crash, DiskFault) as end:
            self._note(repr(end))
            self._take_events()
            self._restart()
            return
        self._take_events()
        self.promises.check(self.engine, self.store)
        for peer, data in self.engine.finish():
            link = next((link for link in self._links if link.peer is peer and link.is_up), None)
            if link is not None:
                self._note_perform(link, data)
                link.down.append(data)
                peer.note_outbox(sum(map(len, link.down)))
        for peer, msgid, listing in self.engine.take_listings():
            self.engine.listed(peer, msgid, self.store.list_jobs(listing))
        for peer, _ in self.engine.take_closings():
            for link in list(self._links):
                if link.peer is peer:
                    self._cut(link)

    def _take_events(self) -> None:
        for event in self.engine.take_events():
            if event.what == "lease_ran_out":
                # What a peer says waits for as long as it does not read its answers: its leases go on meanwhile.
                self.promises.ran_out(event.run, heard=not (event.peer and event.peer.deferred))

    def _note_perform(self, link: Link, data: bytes) -> None:
        message = msgpack.unpackb(data)
        if message[0] == 0:
            _, msgid, _, (job,) = message
            self.promises.leaves(job)
            link.performing[msgid] = job["run"]

    def _crash_if(self, where: str) -> None:
        if self._crash_at == where:
            raise Crash(where)

    def _restart(self) -> None:
        """Only the disk is left; the next life begins a little later."""
        self._crash_at = None
        for link in list(self._links):
            self._cut(link, tell=False)
        self.store.crash()
        self._advance(self.rng.choice((0, 10, 2_000)), step=False)
        self._start()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _time_passes(self) -> None:
        self._advance(self.rng.choice((0, 1, 1, 10, 100, 1_000, self.engine.wakeup_ms(self.now))))

    def _advance(self, ms: int, step: bool = True) -> None:
        self.now = Now(self.now.wall_ms + ms, self.now.mono_ms + ms)
        if step:
            self._engine_steps()

    # -- the network ---------------------------------------------------------------------------------------------------

    def _connect(self, actor: Actor) -> None:
        self._link_numbers += 1
        link = Link(self._link_numbers, self.engine.attach(self.now))
        self._links.append(link)
        actor.connected(link)

    def _cut(self, link: Link, tell: bool = True) -> None:
        link.is_up = False
        self._links.remove(link)
        link.peer.note_outbox(0)
        if tell:
            self.engine.detach(link.peer)

    def _deliver_up(self) -> None:
        waiting = [link for link in self._links if link.up]
        if waiting:
            link = self.rng.choice(waiting)
            for _ in range(self.rng.randrange(1, 4)):
                if link.up:
                    self._receive(link)

    def _receive(self, link: Link) -> None:
        link.peer.heard_ms = self.now.mono_ms
        for message in link.next_up():
            if isinstance(message, Response):
                self.book.heard.add(link.performing.pop(message.msgid or 0, 0))
            self.engine.receive(link.peer, message)

    def _deliver_down(self) -> None:
        waiting = [link for link in self._links if link.down]
        if waiting:
            link = self.rng.choice(waiting)
            for _ in range(self.rng.randrange(1, 4)):
                if link.down:
                    self._hear(link)

    def _hear(self, link: Link) -> None:
        actor = next(actor for actor in self._actors if actor.link is link)
        was_reading = link.peer.is_reading
        for message in link.next_down():
            self._note(repr(message))
            self._judge(message)
            actor.hear(message, self.now)
        link.peer.note_outbox(sum(map(len, link.down)))
        if not was_reading and link.peer.is_reading:
            self.engine.drained(link.peer)

    def _judge(self, message: Message) -> None:
        if isinstance(message, Request) and message.method == "perform":
            # Time may have passed on the way, which only makes it later; a stepped clock makes its own allowance.
            self.promises.starts(message.params[0], self.now.wall_ms)
        elif isinstance(message, Notification):
            assert message.method == "notice"
            self.promises.is_told(message.params[0], message.params[1])

    # -- the actors ----------------------------------------------------------------------------------------------------

    def _someone_acts(self) -> None:
        self._act(self.rng.choice(self._actors))

    def _act(self, actor: Actor) -> None:
        if actor.link is None or not actor.link.is_up:
            if actor in self._actors:
                self._connect(actor)
            return
        actor.act(self.now)
        if isinstance(actor, Worker) and actor.wants_to_die:
            actor.runs, actor.unreported = [], []
            self._cut(actor.link)

    # -- faults --------------------------------------------------------------------------------------------------------

    def cut_a_link(self) -> None:
        if self._links:
            self._cut(self.rng.choice(self._links))

    def crash_before_commit(self) -> None:
        self._crash_at = "before_commit"

    def crash_after_commit(self) -> None:
        self._crash_at = "after_commit"

    def disk_is_full(self) -> None:
        self.store.fault = "full"

    def commit_fails(self) -> None:
        self.store.fault = "before_commit"

    def commit_fails_after_it_happened(self) -> None:
        self.store.fault = "after_commit"

    def claims_are_refused(self) -> None:
        if self._claims_wait:
            self.store.refusals = self.rng.randrange(1, 3)

    def wall_clock_steps(self) -> None:
        """Forward only a little, or all jobs would be due; back by up to an hour. What left before left rightly."""
        for link in list(self._links):
            while link.down:
                self._hear(link)
        step_ms = self.rng.choice((-3_600_000, -5_000, -1, 1, 5_000))
        self.now = Now(self.now.wall_ms + step_ms, self.now.mono_ms)

    def peer_stops_reading(self) -> None:
        if self._links:
            self.rng.choice(self._links).peer.note_outbox(OUTBOX_HIGH_BYTES)


FAULTS = (
    World.cut_a_link,
    World.cut_a_link,
    World.crash_before_commit,
    World.crash_after_commit,
    World.disk_is_full,
    World.commit_fails,
    World.commit_fails_after_it_happened,
    World.claims_are_refused,
    World.wall_clock_steps,
    World.peer_stops_reading,
)


def run(seed: int, steps: int) -> World:
    """Raises Broken, with the number of steps that it took as a note."""
    world = World(seed)
    try:
        for _ in range(steps):
            world.step()
        world.heal()
    except Exception as error:
        error.add_note(f"seed {seed}, after {world.steps} steps, life {world.lives}")
        raise
    return world


def shortest(seed: int, steps: int) -> int:
    """The fewest steps after which this seed fails, given that it does after ``steps``."""
    low, high = 0, steps
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            run(seed, middle)
        except (Broken, AssertionError):
            high = middle
        else:
            low = middle
    return high
