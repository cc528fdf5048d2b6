"""One connection: bytes from the socket as messages into the engine, the engine's messages as bytes out to the socket.

trio lives here and in server.py. This module decides nothing about jobs; it decides when to stop reading (too much
unanswered, never because the outbox is full), when a peer that does not read is given up, and how a connection that
spoke nonsense is told so before it is closed.
"""

import logging
import math
import socket
from collections.abc import Callable
from contextlib import suppress

import trio
from msgspec import msgpack

from periodic_client.wire import Busy, ClosingError, Decoder, Limits, Message, Request, Response, encode_error
from periodicd.clock import system_now
from periodicd.engine import Ended, Engine, Heard, ReadsAgain
from periodicd.logs import about
from periodicd.net.pings import Pings, Steps
from periodicd.scheduler.peers import Peer

log = logging.getLogger("periodicd.connection")

READ_BYTES = 64 * 1024
FREE_BYTES = 16 * 1024
"""What a connection may hold of a message in progress even while the daemon's memory is full."""
TURN_S = 5
"""While memory is full one connection at a time goes on with its large message, for so long at the most."""
HALF_S = 30
"""A message in progress that does not go on for so long is given up."""
WHOLE_S = 600
"""And one that is read for so long in all: a byte now and then would hold its connection's place for ever."""
UNANSWERED_MAX = 1000
INBOX_BYTES_MAX = 16 * 1024 * 1024
WRITE_BYTES = 256 * 1024
STALL_S = 30
"""A peer that takes nothing of its outbox for so long is given up."""
FAREWELL_S = 2

_pack = msgpack.Encoder().encode


def encoded(message: Message) -> bytes:
    """As the library's ``encode``, in half the time, by a package that the library does without."""
    if type(message) is Response:
        return _pack((1, *message))
    return _pack((0 if type(message) is Request else 2, *message))


class Connection:
    def __init__(
        self,
        stream: trio.SocketStream,
        engine: Engine,
        peer: Peer,
        limits: Limits,
        wake: Callable[[], None],
        call_after_step: Callable[["Connection"], None],
        turn: trio.Lock,
        steps: Steps,
        sock: socket.socket | None = None,
    ) -> None:
        """``sock`` is that of the stream, if it has one: it does not block."""
        self.peer = peer
        self._sock = sock
        self._turn = turn
        self._pings = Pings(steps, peer)
        self._stream = stream
        self._engine = engine
        self._wake = wake
        self._call_after_step = call_after_step
        self._decoder = Decoder(limits)
        self._half_s = 0.0
        """How long it was read of the message in progress."""
        self._outbox = bytearray()
        self._sending_bytes = 0
        self._to_send = trio.Event()
        self._flushed = trio.Event()
        self._resume = trio.Event()
        self._waiting_bytes = 0
        """Received and decoded, for the next step to deal with."""
        self._cancel = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._closed_with: ClosingError | None = None
        self._is_open = True
        self._has_spoken = False

    async def run(self) -> None:
        """Until the peer closes and was answered, fails or is closed."""
        with self._cancel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    with self._reading:
                        await self._read()
                    if self._closed_with is None:
                        await self._answer_the_rest()
                    else:
                        await self._farewell(self._closed_with)
                except trio.BrokenResourceError:
                    # A health check connects, says nothing, and resets: every second, perhaps.
                    level = logging.INFO if self._has_spoken else logging.DEBUG
                    log.log(level, "the connection broke", extra=about(self.peer))
                except (ClosingError, Busy) as error:
                    await self._farewell(error)
                nursery.cancel_scope.cancel()
        self._is_open = False
        self.peer.note_inbox(0)
        self.peer.note_outbox(0)
        with trio.move_on_after(FAREWELL_S, shield=True):
            await self._stream.aclose()

    def close(self, error: ClosingError) -> None:
        """Tell the peer why, and close."""
        self._closed_with = error
        self.peer.has_ended = True
        self._reading.cancel()

    def _give_up(self, why: str) -> None:
        """Close without a word: the peer would not hear it."""
        log.warning("closed: %s", why, extra=about(self.peer))
        self._cancel.cancel()

    def queue(self, message: Message) -> None:
        """To be sent with what follows, by ``send``."""
        self._outbox += encoded(message)

    def send(self) -> None:
        """Send what was queued, never waiting: what the socket does not take at once is left to the writing task."""
        sent = 0
        if self._sock is not None and not self._sending_bytes and not self._to_send.is_set():
            with suppress(OSError):  # the writing task meets it again, and deals with it
                sent = self._sock.send(self._outbox)
        del self._outbox[:sent]
        self._note_outbox()
        if self._outbox:
            self._to_send.set()
        else:
            self._flushed.set()

    async def flushed(self) -> None:
        """Wait until all that was queued is with the network."""
        while self.peer.outbox_bytes:
            self._flushed = trio.Event()
            await self._flushed.wait()

    def step_done(self) -> None:
        """What was received before has been dealt with. Called once for each ``call_after_step``."""
        if self._is_open:
            self._waiting_bytes = 0
            self._note_inbox()
            self._resume.set()
            if self._pings.step_done():
                self._call_after_step(self)

    async def _read(self) -> None:
        while await self._receive():
            while self._must_wait():
                await self._next_step()
            if self._is_crowded():
                await self._read_on_in_turn()

    async def _next_step(self, soon: bool = False) -> None:
        self._resume = trio.Event()
        self._call_after_step(self)
        if soon:
            self._wake()
        await self._resume.wait()

    async def _receive(self) -> bool:
        """One piece of the stream; False at its end. Raises ClosingError or Busy."""
        peer = self.peer
        before, began_s = self._decoder.pending_bytes, trio.current_time()
        with trio.move_on_after(min(HALF_S, WHOLE_S - self._half_s) if before else math.inf) as limit:
            data = await self._receive_some(FREE_BYTES if self._engine.budget.is_full else READ_BYTES)
        self._half_s = self._half_s + trio.current_time() - began_s if before else 0.0
        if limit.cancelled_caught and self._half_s >= WHOLE_S:
            raise Busy(f"a message was not whole after {WHOLE_S} s")
        if limit.cancelled_caught:
            raise Busy(f"nothing came for {HALF_S} s in the middle of a message")
        if not data:
            if before:
                log.info("the peer closed in the middle of a message", extra=about(peer))
            return False
        self._has_spoken = True
        self._engine.tell(peer, Heard(system_now().mono_ms))
        try:
            for message in self._decoder.feed(data):
                self._half_s = 0.0
                answer = self._pings.answer(message)
                if answer is None:
                    self._engine.receive(peer, message)
                else:
                    self.queue(answer)
                    self.send()
        finally:
            self._waiting_bytes += max(0, before + len(data) - self._decoder.pending_bytes)
            self._note_inbox()
            self._call_after_step(self)
            self._wake()
        return True

    async def _receive_some(self, most_bytes: int) -> bytes:
        """As the stream's, but without a turn of the loop after each piece."""
        if self._sock is None:
            return bytes(await self._stream.receive_some(most_bytes))
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(most_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    def _note_inbox(self) -> None:
        # The decoder keeps a message in progress twice.
        self.peer.note_inbox(self._waiting_bytes + 2 * self._decoder.pending_bytes)

    def _must_wait(self) -> bool:
        """Whether the next step must come first: too much is unanswered already."""
        return (
            len(self.peer.unanswered) >= UNANSWERED_MAX
            or len(self.peer.deferred) >= UNANSWERED_MAX
            or self._waiting_bytes >= INBOX_BYTES_MAX
            or (self._waiting_bytes > 0 and self._engine.budget.is_full)
        )

    def _is_crowded(self) -> bool:
        return self._engine.budget.is_full and self._decoder.pending_bytes > FREE_BYTES

    async def _read_on_in_turn(self) -> None:
        """Memory is full. Half-received messages only free it when one of them is completed, so one goes on."""
        async with self._turn:
            with trio.move_on_after(TURN_S) as limit:
                while self._is_crowded():
                    if not await self._receive():
                        return
        if limit.cancelled_caught:
            raise Busy("the daemon has no memory for a message that takes so long; try again later")

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
                self._give_up(f"it took nothing of its outbox for {STALL_S} s")
                return
        self._sending_bytes = 0
        self._note_outbox()

    def _note_outbox(self) -> None:
        peer = self.peer
        was_held_back = not peer.is_reading or self._engine.budget.is_full
        peer.note_outbox(len(self._outbox) + self._sending_bytes)
        if was_held_back and peer.is_reading:
            self._engine.tell(peer, ReadsAgain())
            self._wake()

    async def _answer_the_rest(self) -> None:
        """The peer sends no more, but may still read, as `nc -N` does. One that does not is given up as any other."""
        self._decoder = Decoder()  # Half a message will never be whole; it must not hold memory that answers wait for.
        self._note_inbox()
        self._engine.tell(self.peer, Ended())
        await self._answered()
        await self.flushed()

    async def _answered(self) -> None:
        """What came was dealt with, and all answers are in the outbox, which they enter only at the end of a step."""
        await self._next_step(soon=True)
        while self.peer.unanswered:
            await self._next_step()

    async def _farewell(self, error: ClosingError | Busy) -> None:
        """Tell why the connection closes, after the answers to what came before."""
        log.warning("closed: %s", error.to_wire(), extra=about(self.peer))
        with trio.move_on_after(FAREWELL_S), suppress(trio.BrokenResourceError):
            await self._answered()
            self._outbox += encode_error(None, error)
            self.send()
            await self.flushed()
            await self._stream.send_eof()
            # Reading on until the peer closes, or it may get a reset in place of the message.
            while await self._stream.receive_some(READ_BYTES):
                pass
