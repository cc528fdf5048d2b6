"""Bytes to messages and back: MessagePack-RPC with every limit enforced before memory is spent.

No I/O, no clock, and no knowledge of which side of the wire it is on: the daemon and the client library use the same
codec.

Most of what arrives is whole and small, and is simply unpacked. For the rest decoding is done in two passes.
``Unpacker.skip`` walks the bytes as they arrive, without building a single object, and
finds where a message ends; only a complete message, of known size, is then unpacked. So a header that claims four
billion elements costs nothing, a half-received message costs its bytes (twice) and no more, and the stream is never out
of step after an error, because any error ends it. msgpack's own ``max_buffer_size`` is not enough: it bounds the
buffer, not the message.
"""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from periodic_client.wire.errors import BadMessage, ClosingError, PeriodicError, TooLarge
from periodic_client.wire.limits import MSGID_MAX as MSGID_MAX

PLAIN_VALUES = 64
"""An array that says it has more is not unpacked before all of it is there: room is made for what it says, and for that
of each of the hundreds that may be nested in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decoder accepts; see protocol.md, section 1."""

    message_bytes: int = 32 * 1024 * 1024
    values: int = 100_000
    """In a message that is counted, and in any one array or map. How many jobs a batch may have is not of the form."""
    counted_bytes: int = 1024 * 1024
    """Messages larger than this have their values counted before they are built: one byte can become an object of 64.
    """


class Request(NamedTuple):
    msgid: int
    method: str
    params: list[Any]


class Response(NamedTuple):
    msgid: int | None
    error: str | None
    result: Any


class Notification(NamedTuple):
    method: str
    params: list[Any]


Message = Request | Response | Notification

shaped = tuple.__new__
"""``shaped(Response, (msgid, error, result))``: as the class itself makes it, in a quarter of the time."""

_pack: Callable[[Any], bytes] = msgpack.Packer(autoreset=True).pack


def encode(message: Message) -> bytes:
    if type(message) is Response:
        return _pack((1, message.msgid, message.error, message.result))
    return _pack((0 if type(message) is Request else 2, *message))


def encode_request(msgid: int, method: str, params: list[Any] | tuple[Any, ...]) -> bytes:
    return _pack((0, msgid, method, params))


def encode_response(msgid: int, result: Any) -> bytes:
    return _pack((1, msgid, None, result))


def encode_error(msgid: int | None, error: PeriodicError | str) -> bytes:
    """A response that refuses. ``msgid`` is None for the errors that close the connection."""
    return _pack((1, msgid, error if isinstance(error, str) else error.to_wire(), None))


def encode_notification(method: str, params: list[Any] | tuple[Any, ...]) -> bytes:
    return _pack((2, method, params))


class Decoder:
    """Takes the bytes of one direction of one connection, gives its messages.

    After an error the decoder is dead: every later ``feed`` raises the same error.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._skipper = msgpack.Unpacker(read_size=2**14, max_buffer_size=self.limits.message_bytes + 2**20)
        self._buffer = bytearray()
        self._start = 0
        """Where, in the skipper's count of what it was fed, the buffer begins."""
        self._error: ClosingError | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of the message in progress, which is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes, in order.

        Raises BadMessage or TooLarge, after the messages before the bad one were yielded. ``data`` may be of any
        length.
        """
        if self._error is not None:
            raise self._error
        try:
            for at in range(0, len(data), 2**20):
                yield from self._feed(data[at : at + 2**20])
        except ClosingError as error:
            # Not the error itself: its traceback would hold this decoder, and all that came, until the next collection.
            self._error = copy(error)
            self._buffer = bytearray()
            raise

    def _feed(self, data: bytes) -> Iterator[Message]:
        buffer = self._buffer
        if not buffer and len(data) <= min(self.limits.counted_bytes, self.limits.message_bytes):
            messages, size = _plain(data, min(self.limits.values, PLAIN_VALUES))
            yield from messages
            if size == len(data):
                return
            data = data[size:]
        buffer += data
        skipper = self._skipper
        skipper.feed(data)
        begin = 0
        try:
            while True:
                skipper.skip()
                end = skipper.tell() - self._start
                yield self._message(buffer[begin:end])
                begin = end
        except msgpack.OutOfData:
            pass
        except (msgpack.FormatError, msgpack.StackError):
            raise BadMessage("these bytes are not MessagePack, or are nested too deeply") from None
        del buffer[:begin]
        self._start += begin
        if len(buffer) > self.limits.message_bytes:
            raise TooLarge(self._too_large())

    def _too_large(self) -> str:
        return f"a message may have {self.limits.message_bytes} bytes at the most"

    def _message(self, packed: bytearray) -> Message:
        limits = self.limits
        if len(packed) > limits.message_bytes:
            raise TooLarge(self._too_large())
        if len(packed) > limits.counted_bytes and count_values(packed, limits.values) > limits.values:
            raise BadMessage(
                f"a message of more than {limits.counted_bytes} bytes may hold {limits.values} values at the most"
            )
        try:
            return _shape(self._unpack(packed))
        except UnicodeDecodeError:
            return self._repaired(packed)

    def _unpack(self, packed: bytearray, unicode_errors: str = "strict") -> Any:
        values = self.limits.values
        try:
            return msgpack.unpackb(packed, max_array_len=values, max_map_len=values, unicode_errors=unicode_errors)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            # msgpack tells its reasons in words of Python.
            if "max_" in str(error):
                raise BadMessage(f"an array or a map may have {values} entries at the most") from None
            if "map key" in str(error):
                raise BadMessage("the keys of a map are text") from None
            raise BadMessage("it holds an extension value that cannot be read") from None
        except (TypeError, OverflowError):
            raise BadMessage("it holds an extension value that cannot be read") from None

    def _repaired(self, packed: bytearray) -> Response:
        """What a worker failed with often quotes what it choked on, so text of a response need not be UTF-8.

        Names of follow-on jobs must not be changed on their way, so then the run has failed instead.
        """
        message = _shape(self._unpack(packed, "replace"))
        if type(message) is not Response:
            raise BadMessage("a str is not valid UTF-8")
        if type(message.result) is dict and message.result.get("submit"):
            return Response(message.msgid, "its outcome has follow-on jobs and text that is not valid UTF-8", None)
        return message


def _plain(data: bytes, values: int) -> tuple[list[Message], int]:
    """The messages that ``data`` begins with, as far as nothing is unusual about them, and how many bytes they are."""
    unpacker = msgpack.Unpacker(
        read_size=len(data), max_buffer_size=len(data), max_array_len=values, max_map_len=values
    )
    unpacker.feed(data)
    messages: list[Message] = []
    size = 0
    # A bad message is looked at again, by those who know what to say of it.
    with suppress(msgpack.UnpackException, BadMessage, ValueError, TypeError, OverflowError):
        while size < len(data):
            messages.append(_shape(unpacker.unpack()))
            size = unpacker.tell()
    return messages, size


def _shape(value: Any) -> Message:
    """The message that an unpacked value is; raises BadMessage if it is none."""
    # A kind is an integer: False == 0 and 1.0 == 1, and neither is one.
    if type(value) is list and len(value) >= 3 and type(value[0]) is int:
        kind = value[0]
        if type(value[-2]) is bytes:
            # Libraries from before msgpack told text from bytes send a method as bytes.
            value[-2] = value[-2].decode("utf-8", "replace")
        if len(value) == 4 and kind == 0:
            _, msgid, method, params = value
            if type(msgid) is int and 0 <= msgid <= MSGID_MAX and type(method) is str and type(params) is list:
                return shaped(Request, (msgid, method, params))
        elif len(value) == 4 and kind == 1:
            _, msgid, error, result = value
            if msgid is None or (type(msgid) is int and 0 <= msgid <= MSGID_MAX):
                text = error if error is None or type(error) is str else _error_text(error)
                return shaped(Response, (msgid, text, result))
        elif len(value) == 3 and kind == 2:
            _, method, params = value
            if type(method) is str and type(params) is list:
                return Notification(method, params)
    raise BadMessage("a message is [0, msgid, method, params], [1, msgid, error, result] or [2, method, params]")


def _error_text(error: Any) -> str:
    """Of an error that is none, as some libraries send it."""
    if type(error) is bytes:
        return error.decode("utf-8", "replace")
    try:
        return json.dumps(error)
    except (TypeError, ValueError, RecursionError):
        return "an error that is no text"


# What follows the first byte of a value (https://github.com/msgpack/msgpack/blob/master/spec.md): first byte -> (format
# of a length or None, bytes after it, values in each unit of length).
_LENGTH = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_CHILDREN = {0xDC: (">H", 1), 0xDD: (">I", 1), 0xDE: (">H", 2), 0xDF: (">I", 2)}
_FIXED = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip


def count_values(packed: bytes | bytearray, enough: int) -> int:
    """How many values (of any type, containers included) one packed message holds. Stops counting above ``enough``.

    ``packed`` must be one complete value.
    """
    at, count, left = 0, 0, 1
    while left:
        first = packed[at]
        at += 1
        left -= 1
        count += 1
        if count > enough:
            break
        if first <= 0x7F or first >= 0xE0 or 0xC0 <= first <= 0xC3:
            continue
        if first <= 0x8F:
            left += 2 * (first & 0x0F)
        elif first <= 0x9F:
            left += first & 0x0F
        elif first <= 0xBF:
            at += first & 0x1F
        elif first in _LENGTH:
            form = _LENGTH[first]
            size = struct.calcsize(form)
            at += size + struct.unpack_from(form, packed, at)[0] + (1 if 0xC7 <= first <= 0xC9 else 0)
        elif first in _CHILDREN:
            form, each = _CHILDREN[first]
            left += each * struct.unpack_from(form, packed, at)[0]
            at += struct.calcsize(form)
        else:
            at += _FIXED[first]
    return count
