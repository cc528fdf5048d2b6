"""One connection: requests out and their answers in, the daemon's requests in and their answers out.

A session carries messages and knows none of their meanings. It never connects again and sets no time limits: its owner
knows what a lost answer means and how long to wait. One task reads, one writes, and the writer sends everything that
was queued since its last turn at once, so that a message costs no task switch of its own.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

import trio

from periodic_client.keepalive import keep_alive
from periodic_client.lines import Lines
from periodic_client.url import TcpAddress, parse_url
from periodic_client.wire import (
    MSGID_MAX,
    Busy,
    ClosingError,
    Decoder,
    Invalid,
    Limits,
    Message,
    Notification,
    PeriodicError,
    Request,
    Response,
    TooLarge,
    UnknownMethod,
    encode_error,
    encode_request,
    encode_response,
    error_from_wire,
)
from periodic_client.wire.codec import count_values

log = Lines(__name__)

RECEIVE_BYTES = 256 * 1024
OUTBOX_BYTES = 1024 * 1024
"""While more than this waits to be written, ``room`` waits."""
QUIET_S = 0.1
FULL_S = 0.05
TAKEN = Limits()
"""What the daemon takes; protocol.md, section 1. It would close the connection over more."""
LIMITS = Limits(values=2_000_000)
"""What is accepted of a daemon: a page of ``list`` has a thousand jobs, each perhaps with many headers."""


class CannotConnect(ConnectionError):
    """There is no daemon at the url, or it cannot be reached. Nothing was sent."""


class ConnectionLost(ConnectionError):
    """The connection ended before the answer came. The text says what that means for the request."""


class TimedOut(TimeoutError):
    """The daemon did not answer in time. The request may or may not have happened."""


MAYBE = "the request may or may not have happened; submitting the same name again is safe"

Answer = Callable[[Exception | None, Any], None]
"""Called once for a request: with None and the result, or with a PeriodicError or ConnectionLost."""
StreamOpener = Callable[[str], Awaitable[trio.abc.Stream]]
"""Connects, given a url; raises CannotConnect. ``open_stream`` is one."""
RequestHandler = Callable[["Session", Request], None]
NotificationHandler = Callable[["Session", Notification], None]


def check_trio(what: str, function: str) -> None:
    """Raises RuntimeError in another event loop, where trio's own error would speak of trio's inside."""
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{what} runs under trio, and this is another event loop or none; use: trio.run({function}), or in a "
            f"program of asyncio: await asyncio.to_thread(trio.run, {function})"
        )


async def open_stream(url: str) -> trio.abc.Stream:
    """Connect. Raises CannotConnect, which names the url, and ValueError if that is none."""
    address = parse_url(url)
    try:
        if isinstance(address, TcpAddress):
            stream = await trio.open_tcp_stream(address.host, address.port)
            keep_alive(stream.socket)
        else:
            stream = await _open_unix(address.path)
    except OSError as error:
        raise CannotConnect(f"cannot connect to {url}: {_reason(error)}") from error
    _open.add(stream)
    return stream


async def _open_unix(path: str) -> trio.SocketStream:
    """Where TCP waits for a place among those that wait to be accepted, a Unix socket that does not block says EAGAIN,
    which trio takes for a connection under way: then it has no peer.
    """
    while True:
        stream = await trio.open_unix_socket(path)
        try:
            stream.socket.getpeername()
        except OSError as error:
            await stream.aclose()
            if error.errno != errno.ENOTCONN:
                raise
            await trio.sleep(FULL_S)
        else:
            return stream


_open: WeakSet[trio.SocketStream] = WeakSet()


def _close_in_child() -> None:
    """After a fork without exec, as of multiprocessing: a child that keeps the socket keeps the connection of a killed
    parent. (Exec closes it: Python's sockets are not inherited, https://peps.python.org/pep-0446/.)

    Trio is not told: what it would tell the selector, which both share, would count for the parent too.
    """
    for stream in list(_open):
        if stream.socket.fileno() >= 0:
            os.close(stream.socket.detach())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _reason(error: OSError) -> str:
    """Trio tries all addresses of a name and tells their errors as the cause."""
    cause = error.__cause__
    tried = cause.exceptions if isinstance(cause, ExceptionGroup) else (cause or error,)
    return ", ".join(dict.fromkeys(map(_plain, tried)))


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


def _broken(error: Exception) -> str:
    detail = str(error.__cause__ or error)
    return f"the connection broke ({detail})" if detail else "the connection broke"


class Session:
    """``run`` serves the connection; everything else may be called by any task of the same trio loop.

    ``on_request`` and ``on_notification`` are called by the reading task, must not block, and see to it that every
    request is answered once, with ``respond`` or ``refuse``. Without them requests are refused, notifications ignored.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        on_request: RequestHandler | None = None,
        on_notification: NotificationHandler | None = None,
    ) -> None:
        self.lost: str | None = None
        """Why the connection is no more."""
        self.ended = trio.Event()
        self.message_bytes_max = LIMITS.message_bytes
        """Larger messages are not sent: the daemon would close the connection. Its ``hello`` tells its own limit."""
        self._was_answered = False
        self.stray_answers = 0
        """Answers to requests that were never made."""
        self.last_sent_s = self.last_received_s = trio.current_time()
        self._stream = stream
        self._on_request = on_request
        self._on_notification = on_notification
        self._scope = trio.CancelScope()
        self._pending: dict[int, Answer] = {}
        self._unanswered: set[int] = set()
        """Numbers of the daemon's requests."""
        self._next_msgid = 0
        self._outbox = bytearray()
        self._filled = trio.Event()
        self._waiting_for_room = trio.lowlevel.ParkingLot()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until the connection is lost or closed. Raises nothing that the daemon could cause."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
        finally:
            self.close("the connection was closed")
            # Shielded: our owner, told of the end, may cancel us, and that must not take the place of an error.
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def close(self, reason: str, refusal: PeriodicError | None = None) -> None:
        """The connection is no more: whoever waits for an answer is told. What was not written yet never is.

        ``refusal``: what they are told instead, if it is known that nothing happened.
        """
        if self.lost is not None:
            return
        self.lost = reason
        self.ended.set()
        self._waiting_for_room.unpark_all()
        self._scope.cancel()
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            answer(refusal or ConnectionLost(f"{reason}: {MAYBE}"), None)

    async def _read(self) -> None:
        decoder = Decoder(LIMITS)
        try:
            while self.lost is None:
                data = await self._stream.receive_some(RECEIVE_BYTES)
                self.last_received_s = trio.current_time()
                if not data:
                    self.close("the daemon closed the connection")
                    break
                for message in decoder.feed(bytes(data)):
                    self._take(message)
                    if self.lost is not None:
                        break
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.close(_broken(error))
        except ClosingError as error:
            self.close(f"the daemon sent what cannot be read ({error})")

    async def _write(self) -> None:
        try:
            while True:
                while self._outbox:
                    data, self._outbox = self._outbox, bytearray()
                    self._waiting_for_room.unpark_all()
                    self.last_sent_s = trio.current_time()
                    await self._stream.send_all(data)
                self._filled = trio.Event()
                await self._filled.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.close(_broken(error))

    # -- in ------------------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        if type(message) is Response:
            self._take_response(message)
        elif type(message) is Request:
            self._take_request(message)
        elif type(message) is Notification and self._on_notification is not None:
            self._on_notification(self, message)

    def _take_response(self, response: Response) -> None:
        if response.msgid is None:
            error = error_from_wire(response.error)
            # A daemon without room for us has read nothing of what we sent.
            at_the_door = isinstance(error, Busy) and not self._was_answered
            self.close(f"the daemon closed the connection ({response.error})", error if at_the_door else None)
            return
        self._was_answered = True
        answer = self._pending.pop(response.msgid, None)
        if answer is None:
            self.stray_answers += 1
            log.warning("the daemon answered request %d, which was never made", response.msgid)
        elif response.error is None:
            answer(None, response.result)
        else:
            answer(error_from_wire(response.error), None)

    def _take_request(self, request: Request) -> None:
        if request.msgid in self._unanswered:
            self.close(f"the daemon used the number of an unanswered request again ({request.msgid})")
            return
        self._unanswered.add(request.msgid)
        if self._on_request is None:
            self.refuse(request.msgid, UnknownMethod(f"{request.method:.100}: this side takes no requests"))
        else:
            self._on_request(self, request)

    # -- out -----------------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Much is still to be written."""
        return len(self._outbox) > OUTBOX_BYTES

    async def catch_up(self) -> None:
        """Notice an end of the connection that came while this program gave its loop no turn, and lies there unread.

        Nothing is done about a connection that was in use just now: it is read all the time.
        """
        if trio.current_time() - max(self.last_sent_s, self.last_received_s) > QUIET_S:
            # In the first turn the reader learns that there is something to read, in the second it has read it.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    async def room(self) -> None:
        """Wait while much is still to be written: a slow daemon slows its clients and does not fill their memory."""
        while self.is_full and self.lost is None:
            await self._waiting_for_room.park()

    async def request(self, method: str, *params: Any) -> Any:
        """Ask, and wait for the result.

        Raises what the daemon answered (a PeriodicError), ConnectionLost, or as ``call`` does. Who is cancelled
        meanwhile does not know whether it happened.
        """
        await self.room()
        return await self.ask(method, *params).result()

    def ask(self, method: str, *params: Any) -> "Asked":
        """Queue a request whose answer is wanted later. Raises as ``call`` does."""
        asked = Asked(self)
        asked.msgid = self.call(method, params, asked.answer)
        return asked

    def call(self, method: str, params: tuple[Any, ...], answer: Answer) -> int:
        """Queue a request. Its answer is handed to ``answer`` by the reading task, which must not raise. Its msgid.

        Raises ConnectionLost if the connection is already no more, and Invalid or TooLarge for what cannot be sent;
        then nothing was sent and ``answer`` is not called.
        """
        if self.lost is not None:
            raise ConnectionLost(f"{self.lost}: the request was not sent")
        msgid = self._new_msgid()
        packed = self._pack(encode_request, msgid, method, params)
        self._pending[msgid] = answer
        self._send(packed)
        return msgid

    def respond(self, msgid: int, result: Any) -> int:
        """Answer the daemon; the size in bytes. Raises Invalid or TooLarge as ``call`` does: then answer otherwise."""
        packed = self._pack(encode_response, msgid, result)
        self._unanswered.discard(msgid)
        self._send(packed)
        return len(packed)

    def refuse(self, msgid: int, error: PeriodicError) -> None:
        self._unanswered.discard(msgid)
        self._send(encode_error(msgid, error))

    def _send(self, packed: bytes) -> None:
        if self.lost is None:
            self._outbox += packed
            self._filled.set()

    def _new_msgid(self) -> int:
        msgid = self._next_msgid
        while msgid in self._pending:
            msgid = (msgid + 1) & MSGID_MAX
        self._next_msgid = (msgid + 1) & MSGID_MAX
        return msgid

    def _pack(self, encode: Callable[..., bytes], *parts: Any) -> bytes:
        try:
            packed = encode(*parts)
        except (TypeError, ValueError, OverflowError) as error:
            raise Invalid(f"this cannot be sent: {error}") from error
        if len(packed) > self.message_bytes_max:
            raise TooLarge(
                f"a message may have {self.message_bytes_max} bytes, this one has {len(packed)}; it was not sent"
            )
        if len(packed) > TAKEN.counted_bytes and count_values(packed, TAKEN.values) > TAKEN.values:
            raise TooLarge(
                f"a message of more than {TAKEN.counted_bytes} bytes may hold {TAKEN.values} values; it was not sent"
            )
        return packed


class Asked:
    """A request under way."""

    msgid: int

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answered = trio.Event()
        self._failure: Exception | None = None
        self._result: Any = None
        self._on_late: Callable[[Any], None] | None = None

    def answer(self, error: Exception | None, result: Any) -> None:
        self._failure, self._result = error, result
        self._answered.set()
        if self._on_late is not None and error is None:
            self._on_late(result)

    async def result(self) -> Any:
        await self._answered.wait()
        if self._failure is not None:
            raise self._failure
        return self._result

    def leave(self, on_late: Callable[[Any], None] | None = None) -> None:
        """Nobody waits for the answer to this long poll any more: have the daemon give it now.

        ``on_late`` is given the result that comes all the same, or was there already, but taken by nobody.
        """
        if not self._answered.is_set():
            self._on_late = on_late
            if self._session.lost is None:
                self._session.call("unwait", (self.msgid,), _ignore)
        elif on_late is not None and self._failure is None:
            on_late(self._result)


def _ignore(_: Exception | None, __: Any) -> None:
    pass
