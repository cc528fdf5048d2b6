"""One connection: bytes from the socket into the engine, the engine's bytes out to the socket.

trio lives here and in server.py. This module decides nothing about jobs; it decides when to stop reading (too much
unanswered, never because the outbox is full), when a peer that does not read is given up, and how a connection that
spoke nonsense is told so before it is closed.
"""

import logging
from collections.abc import Callable

import trio

from periodic_client.wire import ClosingError, Decoder, Limits, encode_error
from periodicd.clock import system_now
from periodicd.engine import Engine
from periodicd.peers import OUTBOX_HIGH_BYTES, Peer

log = logging.getLogger("periodicd.connection")

READ_BYTES = 64 * 1024
UNANSWERED_MAX = 1000
INBOX_BYTES_MAX = 16 * 1024 * 1024
WRITE_BYTES = 256 * 1024
STALL_S = 30
"""A peer that takes nothing of its outbox for so long is given up."""
FAREWELL_S = 2


class Connection:
    def __init__(
        self, stream: trio.SocketStream, engine: Engine, peer: Peer, limits: Limits, wake: Callable[[], None]
    ) -> None:
        self.peer = peer
        self._stream = stream
        self._engine = engine
        self._wake = wake
        self._decoder = Decoder(limits)
        self._outbox = bytearray()
        self._sending_bytes = 0
        self._to_send = trio.Event()
        self._flushed = trio.Event()
        self._resume = trio.Event()
        self._inbox_bytes = 0
        self._cancel = trio.CancelScope()

    async def run(self) -> None:
        """Until the peer closes, fails or is closed."""
        with self._cancel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    await self._read()
                except trio.BrokenResourceError:
                    log.info("%s: the connection broke", self.peer)
                except ClosingError as error:
                    await self._farewell(error)
                nursery.cancel_scope.cancel()
        with trio.move_on_after(FAREWELL_S, shield=True):
            await self._stream.aclose()

    def close(self, why: str) -> None:
        log.warning("%s: closed: %s", self.peer, why)
        self._cancel.cancel()

    def send(self, data: bytes) -> None:
        """Queue ``data``; never waits."""
        self._outbox += data
        self._note_outbox()
        self._to_send.set()

    async def flushed(self) -> None:
        """Wait until all that was queued is with the network."""
        while self.peer.outbox_bytes:
            self._flushed = trio.Event()
            await self._flushed.wait()

    def step_done(self) -> None:
        """What was received so far has been dealt with."""
        self._inbox_bytes = 0
        self._resume.set()

    async def _read(self) -> None:
        peer, engine = self.peer, self._engine
        while True:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                if self._decoder.pending_bytes:
                    log.info("%s: closed in the middle of a message", peer)
                return
            peer.heard_ms = system_now().mono_ms
            self._inbox_bytes += len(data)
            try:
                for message in self._decoder.feed(data):
                    engine.receive(peer, message)
            finally:
                self._wake()
            while len(peer.unanswered) >= UNANSWERED_MAX or self._inbox_bytes >= INBOX_BYTES_MAX:
                self._resume = trio.Event()
                await self._resume.wait()

    async def _write(self) -> None:
        while True:
            await self._to_send.wait()
            self._to_send = trio.Event()
            while self._outbox:
                data, self._outbox = self._outbox, bytearray()
                await self._send_all(memoryview(data))
            self._flushed.set()

    async def _send_all(self, data: memoryview) -> None:
        for at in range(0, len(data), WRITE_BYTES):
            self._sending_bytes = len(data) - at
            self._note_outbox()
            with trio.move_on_after(STALL_S) as stall:
                try:
                    await self._stream.send_all(data[at : at + WRITE_BYTES])
                except trio.BrokenResourceError:
                    self._cancel.cancel()
                    return
            if stall.cancelled_caught:
                self.close(f"it took nothing of its outbox for {STALL_S} s")
                return
        self._sending_bytes = 0
        self._note_outbox()

    def _note_outbox(self) -> None:
        peer = self.peer
        was_high = peer.outbox_bytes >= OUTBOX_HIGH_BYTES
        peer.outbox_bytes = len(self._outbox) + self._sending_bytes
        if was_high and peer.outbox_bytes < OUTBOX_HIGH_BYTES:
            self._engine.drained(peer)
            self._wake()

    async def _farewell(self, error: ClosingError) -> None:
        """Tell why the connection closes, after the answers to what came before."""
        log.warning("%s: closed: %s", self.peer, error.to_wire())
        with trio.move_on_after(FAREWELL_S):
            while self.peer.unanswered:
                self._resume = trio.Event()
                await self._resume.wait()
            self.send(encode_error(None, error))
            await self.flushed()
            await self._stream.send_eof()
            # Reading on until the peer closes, or it may get a reset in place of the message.
            while await self._stream.receive_some(READ_BYTES):
                pass
