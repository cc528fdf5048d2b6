"""The daemon at work: connections accepted, the loop of steps, the thread that syncs, signals, the end.

trio lives here and in connection.py. Nothing here knows what a job is.
"""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from periodic_client.keepalive import keep_alive
from periodic_client.wire import Busy, Limits, PeriodicError, Silent, encode_error
from periodicd import notify
from periodicd.clock import system_now
from periodicd.engine import Apply, Calls, Detached, Engine, Listed
from periodicd.interpreter import give_back
from periodicd.logs import about, log_event
from periodicd.net.accept import accept
from periodicd.net.addresses import Address, file_at, listen
from periodicd.net.connection import Connection
from periodicd.net.pace import Pace
from periodicd.net.pings import Steps
from periodicd.scheduler import Said
from periodicd.scheduler.peers import Peer
from periodicd.store import LOCK_WAIT_MS, Locked, Store, StoreFailed
from periodicd.store.ops import Listing, ListingResult

log = logging.getLogger("periodicd.server")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

CLOSED_MANY = 200
"""After so many connections were closed their memory is given back, once in GIVE_BACK_MS at the most."""
GIVE_BACK_MS = 5_000
IDLE_MS = 2_000
"""When all places are taken, a connection that said nothing for so long, and waits for nothing, gives up its own."""
LEAVING_MAX = 20
"""So many may be told so at a time, beside those that are allowed."""
LOCK_SAID_MS = 1_000
"""After so long it is said that the store is locked, and by whom."""
SLEEP_MAX_MS = 1_000
"""A stepped clock or a suspended machine is noticed within this time."""


class Server:
    """``connections``: how many there may be. ``each_second`` is called by the loop, and shows that it lives."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        limits: Limits,
        drain_s: float,
        connections: int,
        each_second: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._store = store
        self._limits = limits
        self._drain_s = drain_s
        self._connections_max = connections
        self._each_second = each_second
        self._next_second_ms = self._next_give_back_ms = system_now().mono_ms
        self._closed = 0
        """Connections closed since memory was last given back."""
        self._connections: dict[Peer, Connection] = {}
        self._arrived = trio.Event()
        self._stopping = False
        self._store_limiter = trio.CapacityLimiter(1)
        self._listing_limiter = trio.CapacityLimiter(1)
        self._turn = trio.Lock()
        self._pace = Pace()
        self._counted = Steps(self._pace)
        self._nursery: trio.Nursery
        """Of ``run``."""
        self._sockets: dict[Path, tuple[int, int] | None] = {}
        """The files of the Unix sockets that it listens on; None while one is being made anew."""
        self._after_step: list[Connection] = []
        """Who wants to know when a step has dealt with what arrived before it."""

    async def run(
        self,
        listening: list[socket.socket],
        ready: Callable[[], None],
        beside: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Serve until a signal or ``shutdown``, then drain. Whatever the store raises comes out of here.

        ``ready`` is called once connections are accepted and signals obeyed; ``beside`` goes on for as long.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if beside is not None:
                nursery.start_soon(beside)
            await nursery.start(self._watch_signals)
            for each in listening:
                self._listen(each, nursery)
            ready()
            await self._steps(nursery)
            nursery.cancel_scope.cancel()
        await self._carry_out(self._engine.leave())
        self._store.close()

    def _listen(self, listening: socket.socket, nursery: trio.Nursery) -> None:
        name = listening.getsockname()
        if listening.family == socket.AF_UNIX:
            self._sockets[Path(name)] = file_at(Path(name))
        nursery.start_soon(accept, listening, self._serve, nursery)

    async def _listen_again(self, path: Path, nursery: trio.Nursery) -> None:
        """Whoever sweeps /tmp takes a socket for a file that nobody uses. Without its name nobody can connect."""
        try:
            (listening,) = await listen(Address(None, 0, path))
        except OSError as error:
            log.warning("the socket %s was removed, and cannot be made again: %s", path, error.strerror)
        else:
            log.warning("the socket %s was removed while the daemon ran: it is made again", path)
            self._listen(listening, nursery)

    def connect_inside(self) -> trio.SocketStream:
        """A connection of this process to its own daemon, as any other; for who is started ``beside``."""
        near, far = socket.socketpair()
        far.setblocking(False)
        self._nursery.start_soon(self._serve, far)
        return trio.SocketStream(trio.socket.from_stdlib_socket(near))

    def remove_sockets(self) -> None:
        """At the end. What another daemon has put in their place is left alone."""
        for path, file in self._sockets.items():
            if file is not None and file_at(path) == file:
                path.unlink(missing_ok=True)

    async def _serve(self, sock: socket.socket) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        try:
            if self._has_place():
                await self._connect(stream, sock)
            else:
                await self._turn_away(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        log.warning("refused a connection: there are %d already", self._connections_max)
        with trio.move_on_after(1), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(encode_error(None, Busy(f"the daemon has {self._connections_max} connections")))

    async def _connect(self, stream: trio.SocketStream, sock: socket.socket) -> None:
        keep_alive(sock)
        peer = self._engine.attach(system_now())
        connection = self._connections[peer] = Connection(
            stream,
            self._engine,
            peer,
            self._limits,
            self._wake,
            self._after_step.append,
            self._turn,
            self._counted,
            sock,
        )
        log.debug("connected", extra=about(peer))
        try:
            await connection.run()
        finally:
            log.debug("disconnected", extra=about(peer))
            del self._connections[peer]
            self._closed += 1
            self._engine.tell(peer, Detached())
            self._wake()

    def _has_place(self) -> bool:
        """If need be the longest idle connection is asked to leave: it may be of a client that has vanished."""
        surplus = len(self._connections) - self._connections_max
        if surplus < 0:
            return True
        idlest = self._engine.idlest(system_now().mono_ms - IDLE_MS) if surplus < LEAVING_MAX else None
        if idlest is None:
            return False
        self._connections[idlest].close(Silent("idle, and its place was needed for another connection"))
        return True

    def _wake(self) -> None:
        self._arrived.set()

    async def _steps(self, nursery: trio.Nursery) -> None:
        engine, store = self._engine, self._store
        drain_began_s: float | None = None
        while True:
            self._mark_second(nursery)
            waiting, self._after_step[:] = self._after_step[:], []
            self._counted.begun += 1
            self._deliver(await self._carry_out(engine.step(system_now())), nursery)
            self._counted.over += 1
            for connection in waiting:
                connection.step_done()
            if store.wants_tending:
                await self._off_the_loop(store.tend)
            if self._stopping or engine.scheduler.shutdown_asked:
                if drain_began_s is None:
                    drain_began_s = trio.current_time()
                    engine.scheduler.drain()
                    notify.stopping(self._drain_s)
                    if engine.scheduler.runs.in_progress.with_workers:
                        log.info("stopping: waiting up to %g s for running jobs", self._drain_s)
                over = trio.current_time() >= drain_began_s + self._drain_s
                if over or not engine.scheduler.runs.in_progress.with_workers:
                    await self._flush()
                    return
            if engine.busy:
                await trio.lowlevel.checkpoint()
            else:
                sleep_ms = min(engine.wakeup_ms(system_now()), SLEEP_MAX_MS)
                if drain_began_s is not None:
                    sleep_ms = min(sleep_ms, 50)
                with trio.move_on_after(sleep_ms / 1000):
                    await self._arrived.wait()
            self._arrived = trio.Event()

    def _mark_second(self, nursery: trio.Nursery) -> None:
        now_ms = system_now().mono_ms
        if now_ms >= self._next_second_ms:
            self._next_second_ms = now_ms + 1000
            self._each_second()
            for path, file in self._sockets.items():
                if file is not None and file_at(path) is None:
                    self._sockets[path] = None
                    nursery.start_soon(self._listen_again, path, nursery)
            if self._closed >= CLOSED_MANY and now_ms >= self._next_give_back_ms:
                self._closed, self._next_give_back_ms = 0, now_ms + GIVE_BACK_MS
                nursery.start_soon(trio.to_thread.run_sync, give_back)

    async def _carry_out(self, calls: Calls[R]) -> R:
        """As ``drive``, but what may wait does so off the loop: the commit, and whoever else writes to the store."""
        ops = 0
        try:
            call = next(calls)
            while True:
                if isinstance(call, Apply):
                    ops += len(call.ops)
                    try:
                        results = self._store.apply(call.ops)
                    except Locked:
                        await self._lock()
                        results = self._store.apply(call.ops)
                    call = calls.send(results)
                else:
                    call = calls.send(await self._commit(self._pace.on_loop(ops)))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _commit(self, on_loop: bool) -> int:
        """Returns how many microseconds it took."""
        begin_ns = time.perf_counter_ns()
        if on_loop:
            self._store.commit()
        else:
            await self._off_the_loop(self._store.commit)
        took_us = (time.perf_counter_ns() - begin_ns) // 1000
        self._pace.note(took_us, on_loop)
        if on_loop and self._pace.is_slow:
            await self._catch_up()
        return took_us

    async def _catch_up(self) -> None:
        """Read what came while the loop stood still, before time judges whoever sent it.

        After one turn the sockets are known to be readable, and this task may go on before those that read them do.
        """
        for _ in range(2):
            await trio.lowlevel.checkpoint()

    async def _lock(self) -> None:
        """Raises Locked."""
        try:
            await self._off_the_loop(self._store.lock, LOCK_SAID_MS)
        except Locked as error:
            log.warning("waiting up to %d s: %s", LOCK_WAIT_MS // 1000, error)
            rest_ms = LOCK_WAIT_MS - LOCK_SAID_MS
            await self._off_the_loop(self._store.lock, rest_ms)

    async def _off_the_loop(self, asked: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """What may wait for the disk: meanwhile the loop reads, and answers the pings that have nothing to wait for."""
        self._counted.disk_is_busy = True
        try:
            await trio.to_thread.run_sync(asked, *arguments, limiter=self._store_limiter)
        finally:
            self._counted.disk_is_busy = False

    def _deliver(self, said: Said, nursery: trio.Nursery) -> None:
        connections = self._connections
        told: dict[Connection, None] = {}
        for peer, message in said.messages:
            connection = connections.get(peer)
            if connection is not None:
                connection.queue(message)
                told[connection] = None
        for connection in told:
            connection.send()
        for peer, msgid, listing in said.listings:
            nursery.start_soon(self._list, peer, msgid, listing)
        for peer, error in said.closings:
            if peer in connections:
                connections[peer].close(error)
        for event in said.events:
            log_event(log, event)

    async def _list(self, peer: Peer, msgid: int, listing: Listing) -> None:
        """One that fails is its request's error alone: what the steps write and sync is another matter."""
        page: ListingResult | PeriodicError
        try:
            page = await trio.to_thread.run_sync(self._store.list_jobs, listing, limiter=self._listing_limiter)
        except StoreFailed as error:
            log.warning("a listing failed: %s", error)
            page = Busy("the jobs could not be listed; the daemon's log says why")
        self._engine.tell(peer, Listed(msgid, page))
        self._wake()

    async def _flush(self) -> None:
        """Give the last answers a moment to leave."""
        with trio.move_on_after(1):
            for connection in list(self._connections.values()):
                await connection.flushed()

    async def _watch_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                log.info("received %s", signal.Signals(number).name)
                if self._stopping:
                    # Asked twice: whoever asks does not want to wait. The runs keep their leases all the same.
                    self._drain_s = 0
                self._stopping = True
                self._wake()
