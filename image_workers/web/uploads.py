"""An upload, from the first byte of its body to a file: raw, or as a form with one file. It is never held whole.

Its sender is believed in nothing: not how large it says it is, not what it calls it, not which type it claims. The
first bytes must be a picture's, so that most of what is none is refused before it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import trio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from image_workers.errors import Refused
from image_workers.intake import START_BYTES, picture_type
from image_workers.stores import PART_BYTES
from image_workers.web.refusal import Refusal

SLOWEST_BYTES_S = 8_000
"""A sender that is slower on the whole is cut off: it holds a place that others wait for."""
GRACE_S = 15.0
_FORM_BYTES = 65_536
"""What a form may have around its file."""
_RAW_TYPES = ("", "application/octet-stream")


class BodyPart:
    """The bytes of the one file in a body, of which more come with each call of `feed`."""

    def __init__(self) -> None:
        self.pending = bytearray()

    def feed(self, chunk: bytes) -> None:
        self.pending += chunk

    def check_end(self) -> None:
        """Raise `Refusal` if the body ended too early."""


class FormFile(BodyPart):
    """The file of a form (multipart/form-data); other fields are passed over."""

    def __init__(self, boundary: bytes) -> None:
        super().__init__()
        self._has_ended = False
        self._files = 0
        self._is_file = False
        self._header, self._value = bytearray(), bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._count,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise Refusal(400, f"the form cannot be read: {error}") from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refusal(400, f"the form cannot be read: {error}") from None

    def check_end(self) -> None:
        if not self._has_ended:
            raise Refusal(400, "the form was cut off; send it again")
        if not self._files:
            raise Refusal(400, "the form has no file; send one, under any name")

    def _begin(self) -> None:
        self._is_file = False

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_file = b"filename" in options
        self._header.clear()
        self._value.clear()

    def _count(self) -> None:
        self._files += self._is_file
        if self._files > 1:
            raise Refusal(400, "the form has several files; send each picture by itself")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.pending += data[start:end]

    def _end(self) -> None:
        self._has_ended = True


@dataclass(frozen=True, slots=True)
class Received:
    kind: str
    """The media type, by the first bytes."""
    size: int


def body_of(request: Request) -> BodyPart:
    """What takes the body in, by what its type says. Raises `Refusal`."""
    said = request.headers.get("content-type", "")
    kind, options = parse_options_header(said)
    if kind == b"multipart/form-data":
        if b"boundary" not in options:
            raise Refusal(400, "the form names no boundary between its parts")
        return FormFile(options[b"boundary"])
    if kind.decode("latin-1") in _RAW_TYPES or kind.startswith(b"image/"):
        return BodyPart()
    raise Refusal(
        415,
        f"the body is said to be {said[:100]}; send the picture itself as image/jpeg, image/png and so on, or as "
        "application/octet-stream, or a form (multipart/form-data) with one file",
    )


def said_size(request: Request, max_bytes: int) -> int:
    """How many bytes to count on. Raises `Refusal` if they are too many."""
    said = request.headers.get("content-length", "")
    size = int(said) if said.isdecimal() and len(said) < 16 else max_bytes + _FORM_BYTES
    if size > max_bytes + _FORM_BYTES or (said and not said.isdecimal()):
        raise _too_large(max_bytes)
    return size


async def receive(request: Request, file: BinaryIO, max_bytes: int, moved: Callable[[int], None]) -> Received:
    """Write the picture in the body to `file`. Raises `Refusal`, also for what `moved` does not want."""
    body = body_of(request)
    begun_s = trio.current_time()
    kind, size, came = "", 0, 0
    ended = False
    while not ended:
        with trio.move_on_at(begun_s + GRACE_S + came / SLOWEST_BYTES_S) as scope:
            message = await request.receive()
        if scope.cancelled_caught:
            raise Refusal(408, f"the upload was too slow: {came} bytes in {trio.current_time() - begun_s:.0f} s")
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the upload was cut off")
        chunk = message.get("body", b"")
        ended = not message.get("more_body", False)
        came += len(chunk)
        moved(len(chunk))
        body.feed(chunk)
        if size + len(body.pending) > max_bytes or came > max_bytes + _FORM_BYTES:
            raise _too_large(max_bytes)
        if ended:
            body.check_end()
        if not kind and (ended or len(body.pending) >= START_BYTES):
            kind = _kind(bytes(body.pending))
        if kind and (ended or len(body.pending) >= PART_BYTES):
            await trio.to_thread.run_sync(file.write, bytes(body.pending))
            size += len(body.pending)
            body.pending.clear()
    return Received(kind, size)


def _kind(start: bytes) -> str:
    if not start:
        raise Refusal(400, "the upload is empty")
    try:
        return picture_type("upload", start)
    except Refused as error:
        words = str(error).replace("'upload'", "it", 1)
        raise Refusal(415, f"this is no picture that can be taken: {words}") from None


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the upload is larger than {max_bytes:,} bytes, the most that is taken (max-megabytes)")
