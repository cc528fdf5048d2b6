"""One seeded run: a virtual clock, links, actors, a disk that fails, a daemon that crashes and starts again.

The engine and the scheduler are the real ones. All chance comes from one ``random.Random(seed)``, nothing depends on
hashes or on trio, so the same seed gives the same trace. To add a fault, add a line to ``FAULTS`` and a method.
"""

import hashlib
from random import Random
from typing import Any

from periodic_client.wire import Message, Notification, Request, Response, encode
from periodicd.clock import Now
from periodicd.engine import Apply, Calls, Detached, Heard, Listed, ReadsAgain, start
from periodicd.job import run_of
from periodicd.net.pace import Pace
from periodicd.net.pings import Steps
from periodicd.protocol import fields
from periodicd.scheduler import Said, Settings
from periodicd.scheduler.clocks import GAP_MS
from periodicd.scheduler.events import LeaseRanOut, SteppedBack
from periodicd.scheduler.peers import OUTBOX_HIGH_BYTES, Peer
from periodicd.scheduler.queues import Budget
from periodicd.scheduler.runs import AFTER_GAP_MS
from tests.sim.actors import Actor, Submitter, Worker
from tests.sim.book import Book, Broken
from tests.sim.broadcasts import Broadcasts
from tests.sim.expiry import Expiry
from tests.sim.groupers import Grouper
from tests.sim.groups import Groups
from tests.sim.network import Asked, Link
from tests.sim.planners import Planner
from tests.sim.promises import Promises
from tests.sim.ranges import ends
from tests.sim.schedules import Schedules
from tests.sim.store import Ended, FaultyStore, Image
from tests.sim.takers import Taker
from tests.sim.told import Told
from tests.sim.watchers import Watchers

HEALING_MS = ends(fields.Hello, "disconnect_grace_ms")[1] + 120_000
"""So long a job may wait for the connection that it ran on."""
QUICK_COMMIT_US = 300
RUSH_MS = 60_000
"""So long much is to be done. Then it is a matter of waiting, for which few steps do."""


class World:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.book = Book()
        self.promises = Promises(self.book)
        self.broadcasts = Broadcasts(self.book)
        self.told = Told(self.book, self.broadcasts)
        self.groups = Groups()
        self.schedules = Schedules(self.book)
        self.expiry = Expiry()
        tails_bytes = self.rng.choice((100_000, 10_000_000))
        self.watchers = Watchers(tails_bytes)
        self.store = FaultyStore()
        self.now = Now(1_700_000_000_000, 1_000)
        self.steps = 0
        self.lives = 0
        self.pings_during_commits = 0
        """Answered at once, that is."""
        self.trace = hashlib.sha256()
        self._links: list[Link] = []
        self._link_of: dict[Peer, Link] = {}
        """Of this life, those that were cut too."""
        self._link_numbers = 0
        manners = ("honest", "honest", "slow", "dying", "rude")
        self._actors: list[Actor] = [Submitter(self.rng, self.book) for _ in range(2)]
        self._actors += [Grouper(self.rng, self.book), Planner(self.rng, self.book)]
        self._actors += [Worker(self.rng, self.book, self.rng.choice(manners)) for _ in range(3)]
        self._actors.append(Taker(self.rng, self.book, self.rng.choice(("honest", "dying"))))
        self._settings = Settings(
            budget=Budget(jobs=12, bytes=20_000, inline_bytes=10, page_jobs=4, page_bytes=3_000),
            heard_a_step=self.rng.choice((1, 10, 256)),
            given_a_step=self.rng.choice((1, 3, 128)),
            turn=self.rng.choice((1, 2, 32)),
            restart_grace_ms=5_000,
            dead_kept=1_000,
            results_kept=30,
            results_bytes=self.rng.choice((400, 1_000_000)),
            tails_bytes=tails_bytes,
        )
        self._slow_ms = self._slow_commits = 0
        """So many commits will each take so long."""
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
        self.store.fault = None
        self._slow_commits = 0
        for link in list(self._links):
            self._cut(link)
        workers = [actor for actor in self._actors if isinstance(actor, Worker)]
        for worker in workers:
            worker.manners = "honest"
            worker.unreported = []
        self._actors = list(workers)
        rushed_until_ms = self.now.mono_ms + RUSH_MS
        until_ms = self.now.mono_ms + HEALING_MS
        self._act(workers[0])
        workers[0].let_all_begin()
        workers[0].end_schedules()
        while self.now.mono_ms < until_ms:
            for actor in workers:
                self._act(actor)
                if actor.link is not None and actor.link.is_up and self.rng.random() < 0.1:
                    actor.ask_for_work()
            for _ in range(3):
                for link in list(self._links):
                    while link.up:
                        self._receive(link)
                    while link.down:
                        self._hear(link)
                self._engine_steps()
            rushed = self.now.mono_ms < rushed_until_ms
            waits_ms = self.rng.choice((50, 500, 2_000) if rushed else (500, 5_000, 20_000))
            self._advance(waits_ms)
            if waits_ms > GAP_MS:
                # To the daemon it has slept, and for a moment it judges nobody: without this it would do so for ever.
                self._advance(AFTER_GAP_MS)
        self.promises.all_is_done(self.store, self.now.wall_ms)

    def _note(self, what: str) -> None:
        self.trace.update(what.encode())

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.lives += 1
        self.engine = start(self.store, self.now, self.rng.randbytes, self._settings)
        self.promises.new_life()
        self.told.new_life(self.store.disk)
        self.broadcasts.new_life(self.now, self._settings.restart_grace_ms if self.lives > 1 else 0)
        self.watchers.new_life()
        self._link_of = {}
        self._pace = Pace()
        self._counted = Steps(self._pace)

    def _engine_steps(self) -> None:
        before, links = self.store.disk, list(self._links)
        self._hear_what_was_read()
        self.broadcasts.step_begins(self.engine.scheduler.connections)
        self._counted.begun += 1
        try:
            said = self._carry_out(self.engine.step(self.now))
        except Ended as end:
            self._note(repr(end))
            # Nobody heard of it, but it may be on disk that a lease ran out.
            self._note_events(self.engine.scheduler.step.said())
            self.told.cut_off(self.store.disk)
            asked = [link.asked[msgid] for link in self._link_of.values() for msgid in link.arrived]
            self.schedules.cut_off(before, self.store.disk, asked)
            self._restart()
            return
        self._judge_said(said, before)
        self._note_events(said)
        self.promises.check(self.engine, self.store)
        self.told.check(self.engine.scheduler)
        self.groups.check(self.store)
        self.schedules.check(before, self.store.disk, self.engine.scheduler.step.now)
        self.broadcasts.check(before, self.store.disk, self.engine.scheduler)
        self.expiry.check(before, self.store.disk, self.engine.scheduler.step.now)
        self.watchers.check(self.engine.scheduler, links, self.store.on_disk())
        for peer, message in said.messages:
            link = next((link for link in self._links if link.peer is peer and link.is_up), None)
            if link is not None:
                self._note_perform(link, message)
                self._send(link, message)
        for peer, msgid, listing in said.listings:
            self.engine.tell(peer, Listed(msgid, self.store.list_jobs(listing)))
        for peer, _ in said.closings:
            for link in list(self._links):
                if link.peer is peer:
                    self._cut(link)
        self._counted.over += 1
        for link in self._link_of.values():
            link.is_heard = False
            link.pings.step_done()

    def _hear_what_was_read(self) -> None:
        """By the step that begins. What comes during its commit is for the next."""
        for link in self._link_of.values():
            for message in link.read:
                if isinstance(message, Request):
                    link.arrived.add(message.msgid)
                elif isinstance(message, Response):
                    self.book.heard.add(link.performing.pop(message.msgid or 0, 0))
            link.is_heard = bool(link.read)
            link.read = []

    def _send(self, link: Link, message: Message) -> None:
        link.down.append(encode(message))
        link.peer.note_outbox(sum(map(len, link.down)))

    # -- commits, as the server makes them -----------------------------------------------------------------------------

    def _carry_out(self, calls: Calls[Said]) -> Said:
        ops = 0
        try:
            call = next(calls)
            while True:
                if isinstance(call, Apply):
                    ops += len(call.ops)
                    call = calls.send(self.store.apply(call.ops))
                else:
                    call = calls.send(self._commit(self._pace.on_loop(ops)))
        except StopIteration as end:
            said: Said = end.value
            return said

    def _commit(self, on_loop: bool) -> int:
        took_us = QUICK_COMMIT_US
        if self._slow_commits:
            self._slow_commits -= 1
            took_us = self._slow_ms * 1000
            self._disk_takes(self._slow_ms, on_loop)
        self.store.commit()
        self._pace.note(took_us, on_loop)
        return took_us

    def _disk_takes(self, ms: int, on_loop: bool) -> None:
        """The others go on meanwhile. The daemon hears them, unless it waits on its loop."""
        parts = self.rng.randrange(1, 8)
        self._counted.disk_is_busy = not on_loop
        for part in range(parts):
            self._clocks_go_on(ms * (part + 1) // parts - ms * part // parts)
            happens = self.rng.random()
            if happens < 0.4 and not on_loop:
                self._deliver_up()
            elif happens < 0.6:
                self._deliver_down()
            elif happens < 0.95 or on_loop:
                self._someone_acts()
            else:
                self.cut_a_link()
        self._counted.disk_is_busy = False

    def _judge_said(self, said: Said, before: Image) -> None:
        """What a step says, whether or not it arrives. ``before``: what the disk held when the step began."""
        self.groups.begin(before, self.store)
        self.schedules.begin()
        self.told.begin(self.engine.scheduler.step.now, before, self.store.disk)
        results = self._results(said)
        given = [(peer, message.params[0]) for peer, message in said.messages if isinstance(message, Request)]
        performed = [job for _, job in given]
        taken = [job for asked, result in results if asked.method == "take" for job in result["jobs"]]
        self.watchers.begin(results, performed + taken)
        self.broadcasts.begin(before, self.store.disk, given, taken)
        ran_out = {event.run for event in said.events if isinstance(event, LeaseRanOut)}
        methods = []
        lost: set[int] = set()
        for peer, message in said.messages:
            link = self._link_of[peer]
            if isinstance(message, Response):
                assert message.msgid is not None
                link.arrived.remove(message.msgid)
                asked = link.asked[message.msgid]
                method = asked.method
                if method == "unwait":
                    link.unwaited.add(asked.params[0])
                if message.error is None:
                    assert message.result is not None
                    self._judge_result(asked, message.result, lost)
            else:
                method = message.method
                if isinstance(message, Request):
                    (job,) = message.params
                    self.promises.lease_begins(job["run"], self.engine.scheduler.step.now.mono_ms + job["lease_ms"])
                else:
                    handle, kind, why = message.params
                    self.promises.only_lost_runs_are_replaced(handle, kind, why, ran_out)
                    self.promises.requests_on_many_leave_runs_alone(handle, kind, why, ran_out)
                    if kind == "lost":
                        lost.add(run_of(handle))
            methods.append((link.number, method))
        self.promises.pings_are_answered_last(methods)
        self.book.taken.update((job["run"], job["handle"]) for job in taken)
        self.promises.leave(performed + taken)
        for asked, _ in results:
            if asked.method in ("set_function", "set_lock"):
                self.promises.rate_begins_anew(asked.memo)
        self.promises.only_what_may_begins(performed + taken, self.store, self.engine.scheduler)
        self.promises.locks_are_held_by_no_more_than_may(performed + taken, self.store, self.engine.scheduler)
        self.told.given(performed + taken)
        self.expiry.given(performed + taken, self.store.disk, self.engine.scheduler.step.now)

    def _judge_result(self, asked: Asked, result: dict[str, Any], lost: set[int]) -> None:
        if asked.method == "extend" and asked.memo is not None:
            self.promises.is_extended(asked.memo, lost)
            lease_ms = result["lease_until_at_ms"] - self.now.wall_ms
            self.promises.lease_begins(asked.memo, self.now.mono_ms + lease_ms)
        elif asked.method == "take":
            for job in result["jobs"]:
                self.promises.lease_begins(job["run"], self.engine.scheduler.step.now.mono_ms + job["lease_ms"])
        elif asked.method == "watch":
            self.watchers.told(asked, result)
        self.broadcasts.answered(asked, result)
        self.told.answered(asked, result)
        self.groups.answered(asked, result)
        self.schedules.answered(asked, result)

    def _results(self, said: Said) -> list[tuple[Asked, dict[str, Any]]]:
        """What a step answers without an error, in order."""
        return [
            (self._link_of[peer].asked[message.msgid or 0], message.result or {})
            for peer, message in said.messages
            if isinstance(message, Response) and message.error is None
        ]

    def _note_events(self, said: Said) -> None:
        for event in said.events:
            if isinstance(event, SteppedBack):
                self.promises.stepped_back(event.by_ms)
            elif isinstance(event, LeaseRanOut):
                # What a peer says waits for as long as it does not read its answers: its leases go on meanwhile.
                heard = not (event.peer and event.peer.deferred)
                self.promises.ran_out(
                    event.run, (event.func, event.name), heard, self.engine.scheduler.step.now.mono_ms
                )

    def _note_perform(self, link: Link, message: Message) -> None:
        if isinstance(message, Request):
            (job,) = message.params
            link.performing[message.msgid] = job["run"]

    def _restart(self) -> None:
        """Only the disk is left; the next life begins a little later."""
        for link in list(self._links):
            self._cut(link, tell=False)
        self.store.crash()
        self._advance(self.rng.choice((0, 10, 2_000, 2_000, 90_000)), step=False)
        self._start()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _time_passes(self) -> None:
        self._advance(self.rng.choice((0, 1, 1, 10, 100, 1_000, self.engine.wakeup_ms(self.now))))

    def _advance(self, ms: int, step: bool = True) -> None:
        self._clocks_go_on(ms)
        if step:
            self._engine_steps()

    def _clocks_go_on(self, ms: int) -> None:
        self.now = Now(self.now.wall_ms + ms, self.now.mono_ms + ms)

    # -- the network ---------------------------------------------------------------------------------------------------

    def _connect(self, actor: Actor) -> None:
        self._link_numbers += 1
        link = Link(self._link_numbers, self.engine.attach(self.now), self._counted)
        self._links.append(link)
        self._link_of[link.peer] = link
        actor.connected(link)

    def _cut(self, link: Link, tell: bool = True) -> None:
        link.is_up = False
        self._links.remove(link)
        link.peer.note_outbox(0)
        if tell:
            self.engine.tell(link.peer, Detached())

    def _deliver_up(self) -> None:
        waiting = [link for link in self._links if link.up]
        if waiting:
            link = self.rng.choice(waiting)
            for _ in range(self.rng.randrange(1, 4)):
                if link.up:
                    self._receive(link)

    def _receive(self, link: Link) -> None:
        self.engine.tell(link.peer, Heard(self.now.mono_ms))
        for message in link.next_up():
            answer = link.pings.answer(message)
            if answer is not None:
                self.promises.a_ping_overtakes_nothing(link)
                self.pings_during_commits += 1
                self._send(link, answer)
            else:
                link.read.append(message)
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
            self._judge(message, link)
            actor.hear(message, self.now)
        link.peer.note_outbox(sum(map(len, link.down)))
        if not was_reading and link.peer.is_reading:
            self.engine.tell(link.peer, ReadsAgain())

    def _judge(self, message: Message, link: Link) -> None:
        if isinstance(message, Request) and message.method == "perform":
            # Time may have passed on the way, which only makes it later; a stepped clock makes its own allowance.
            self.promises.starts(message.params[0], self.now.wall_ms)
        elif isinstance(message, Notification):
            assert message.method == "notice"
            self.promises.is_told(message.params[0], message.params[1])
        elif isinstance(message, Response) and link.asked[message.msgid or 0].method == "take" and not message.error:
            assert message.result is not None
            for job in message.result["jobs"]:
                self.promises.starts(job, self.now.wall_ms)

    # -- the actors ----------------------------------------------------------------------------------------------------

    def _someone_acts(self) -> None:
        self._act(self.rng.choice(self._actors))

    def _act(self, actor: Actor) -> None:
        if actor.link is None or not actor.link.is_up:
            if actor in self._actors:
                self._connect(actor)
            return
        if self.rng.random() < 0.1:
            with actor.link.one_write():
                for _ in range(self.rng.randrange(2, 6)):
                    actor.act(self.now)
        else:
            actor.act(self.now)
        if isinstance(actor, Worker) and actor.wants_to_die:
            actor.runs, actor.unreported = [], []
            self._cut(actor.link)

    # -- faults --------------------------------------------------------------------------------------------------------

    def cut_a_link(self) -> None:
        if self._links:
            self._cut(self.rng.choice(self._links))

    def disk_is_full(self) -> None:
        self.store.fault = "full"

    def commit_fails(self) -> None:
        self.store.fault = "before_commit"

    def commit_fails_after_it_happened(self) -> None:
        self.store.fault = "after_commit"

    def wall_clock_steps(self) -> None:
        """Forward only a little, or all jobs would be due; back by up to an hour. What left before left rightly."""
        for link in list(self._links):
            while link.down:
                self._hear(link)
        step_ms = self.rng.choice((-3_600_000, -5_000, -1, 1, 5_000))
        self.now = Now(self.now.wall_ms + step_ms, self.now.mono_ms)

    def disk_is_slow(self) -> None:
        """It stalls for longer than some leases, or than the daemon takes for a gap."""
        self._slow_ms = self.rng.choice((100, 2_000, 12_000))
        self._slow_commits = self.rng.randrange(1, 10)

    def peer_stops_reading(self) -> None:
        if self._links:
            self.rng.choice(self._links).peer.note_outbox(OUTBOX_HIGH_BYTES)


FAULTS = (
    World.cut_a_link,
    World.cut_a_link,
    World.commit_fails,
    World.commit_fails_after_it_happened,
    World.disk_is_full,
    World.commit_fails,
    World.commit_fails_after_it_happened,
    World.wall_clock_steps,
    World.peer_stops_reading,
    World.disk_is_slow,
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
