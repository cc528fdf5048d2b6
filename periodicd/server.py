"""The daemon at work: listeners, the loop of steps, the thread that syncs, signals, the end.

trio lives here and in connection.py. Nothing here knows what a job is.
"""

import contextlib
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from periodic_client.keepalive import keep_alive
from periodic_client.wire import Busy, Limits, Silent, encode_error
from periodicd import notify, ops
from periodicd.allocator import give_back
from periodicd.clock import system_now
from periodicd.connection import Connection
from periodicd.engine import Engine
from periodicd.logs import about, log_event
from periodicd.peers import Peer
from periodicd.store import LOCK_WAIT_MS, Locked, Store

log = logging.getLogger("periodicd.server")

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
BACKLOG = 1024


class ListenError(Exception):
    """An address cannot be listened on. The message says which, why and what to do."""


class Address(NamedTuple):
    """Where to listen: ``tcp://host:port`` or ``unix:///path``."""

    host: str | None
    port: int
    path: Path | None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host or "").is_loopback
        return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in (self.host or "") else f"tcp://{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Raises ListenError."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return Address(None, 0, Path(parts.path))
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None and not parts.path:
            return Address(parts.hostname, parts.port, None)
    except ValueError as error:
        raise ListenError(f"{url!r}: {error}") from None
    raise ListenError(f"{url!r}: an address is tcp://HOST:PORT or unix:///PATH")


async def open_listeners(addresses: list[Address]) -> list[trio.SocketListener]:
    """Raises ListenError; then none is left open."""
    async with contextlib.AsyncExitStack() as stack:
        listeners: list[trio.SocketListener] = []
        for address in addresses:
            try:
                opened = await _listen(address)
            except UnicodeError:
                raise ListenError(f"cannot listen on {address}: {address.host!r} is no name of a host") from None
            except OSError as error:
                # A name that is not found has an error number of its own, which the system has no text for; what Python
                # refuses itself has none.
                known = error.errno is not None and not isinstance(error, socket.gaierror)
                reason = os.strerror(error.errno or 0) if known else str(error.strerror or error)
                hint = "; is another periodicd running?" if error.errno == errno.EADDRINUSE else ""
                raise ListenError(f"cannot listen on {address}: {reason}{hint}") from error
            for listener in opened:
                stack.push_async_callback(listener.aclose)
            listeners += opened
        stack.pop_all()
        return listeners


async def _listen(address: Address) -> list[trio.SocketListener]:
    if address.path is None:
        return await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    _clear_stale_socket(address.path)
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await sock.bind(os.fspath(address.path))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return [trio.SocketListener(sock)]


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file has this name now, if any."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear_stale_socket(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError if somebody does, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file of this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "in use")


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
        self._sockets: dict[Path, tuple[int, int] | None] = {}
        """The files of the Unix sockets that it listens on; None while one is being made anew."""
        self._after_step: list[Connection] = []
        """Who wants to know when a step has dealt with what arrived before it."""

    async def run(self, listeners: list[trio.SocketListener], ready: Callable[[], None]) -> None:
        """Serve until a signal or ``shutdown``, then drain. Whatever the store raises comes out of here.

        ``ready`` is called once connections are accepted and signals obeyed.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            for listener in listeners:
                self._listen(listener, nursery)
            ready()
            await self._steps(nursery)
            nursery.cancel_scope.cancel()
        self._engine.close()

    def _listen(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        name = listener.socket.getsockname()
        if listener.socket.family == socket.AF_UNIX:
            self._sockets[Path(name)] = _file_at(Path(name))
        nursery.start_soon(self._accept, listener, nursery)

    async def _listen_again(self, path: Path, nursery: trio.Nursery) -> None:
        """Whoever sweeps /tmp takes a socket for a file that nobody uses. Without its name nobody can connect."""
        try:
            (listener,) = await _listen(Address(None, 0, path))
        except OSError as error:
            log.warning("the socket %s was removed, and cannot be made again: %s", path, error.strerror)
        else:
            log.warning("the socket %s was removed while the daemon ran: it is made again", path)
            self._listen(listener, nursery)

    def remove_sockets(self) -> None:
        """At the end. What another daemon has put in their place is left alone."""
        for path, file in self._sockets.items():
            if file is not None and _file_at(path) == file:
                path.unlink(missing_ok=True)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if not self._has_place():
            log.warning("refused a connection: there are %d already", self._connections_max)
            with trio.move_on_after(1), contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(encode_error(None, Busy(f"the daemon has {self._connections_max} connections")))
            await trio.aclose_forcefully(stream)
            return
        keep_alive(stream.socket)
        peer = self._engine.attach(system_now())
        connection = self._connections[peer] = Connection(
            stream, self._engine, peer, self._limits, self._wake, self._after_step.append, self._turn
        )
        log.debug("connected", extra=about(peer))
        try:
            await connection.run()
        finally:
            log.debug("disconnected", extra=about(peer))
            del self._connections[peer]
            self._closed += 1
            self._engine.detach(peer)
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
            if await self._begin():
                await self._commit()
            self._deliver(nursery)
            if store.checkpoint_due:
                await trio.to_thread.run_sync(store.checkpoint, limiter=self._store_limiter)
            if self._stopping or engine.scheduler.shutdown_asked:
                if drain_began_s is None:
                    drain_began_s = trio.current_time()
                    engine.scheduler.drain()
                    notify.stopping(self._drain_s)
                    log.info("stopping: waiting up to %g s for running jobs", self._drain_s)
                if not engine.scheduler.performing or trio.current_time() >= drain_began_s + self._drain_s:
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
                if file is not None and _file_at(path) is None:
                    self._sockets[path] = None
                    nursery.start_soon(self._listen_again, path, nursery)
            if self._closed >= CLOSED_MANY and now_ms >= self._next_give_back_ms:
                self._closed, self._next_give_back_ms = 0, now_ms + GIVE_BACK_MS
                nursery.start_soon(trio.to_thread.run_sync, give_back)

    async def _begin(self) -> bool:
        """The step up to its commit. Whoever else writes to the store is waited for, off the loop and not for long."""
        try:
            return self._engine.begin(system_now())
        except Locked:
            await self._lock()
        return self._engine.go_on()

    async def _lock(self) -> None:
        """Raises Locked."""
        try:
            await trio.to_thread.run_sync(self._store.lock, LOCK_SAID_MS, limiter=self._store_limiter)
        except Locked as error:
            log.warning("waiting up to %d s: %s", LOCK_WAIT_MS // 1000, error)
            rest_ms = LOCK_WAIT_MS - LOCK_SAID_MS
            await trio.to_thread.run_sync(self._store.lock, rest_ms, limiter=self._store_limiter)

    async def _commit(self) -> None:
        begin_ns = time.perf_counter_ns()
        await trio.to_thread.run_sync(self._engine.commit, limiter=self._store_limiter)
        self._engine.committed((time.perf_counter_ns() - begin_ns) // 1000)

    def _deliver(self, nursery: trio.Nursery) -> None:
        connections = self._connections
        for peer, data in self._engine.finish():
            connection = connections.get(peer)
            if connection is not None:
                connection.send(data)
        after_step, self._after_step[:] = self._after_step[:], []
        for connection in after_step:
            connection.step_done()
        for peer, msgid, listing in self._engine.take_listings():
            nursery.start_soon(self._list, peer, msgid, listing)
        for peer, error in self._engine.take_closings():
            if peer in connections:
                connections[peer].close(error)
        for event in self._engine.take_events():
            log_event(log, event)

    async def _list(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        """One that fails is its request's error alone: what the steps write and sync is another matter."""
        try:
            result = await trio.to_thread.run_sync(self._store.list_jobs, listing, limiter=self._listing_limiter)
        except (OSError, sqlite3.Error) as error:
            log.warning("a listing failed: %s", error)
            self._engine.not_listed(peer, msgid, Busy("the jobs could not be listed; the daemon's log says why"))
        else:
            self._engine.listed(peer, msgid, result)
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


def tune_interpreter() -> None:
    """Let the loop and the syncing thread hand the interpreter over quickly, and collect garbage less often.

    With the default switch interval of 5 ms a busy loop keeps the thread waiting so long at each commit
    (docs/architecture.md). Collecting every 700 allocations costs a tenth of the throughput; the daemon's own objects
    make no cycles.
    """
    sys.setswitchinterval(0.0005)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
