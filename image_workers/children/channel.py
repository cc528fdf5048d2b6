"""What a worker and its decoding child say to one another over two pipes: frames, each a length and a value.

A value is MessagePack, as on the daemon's wire. `read` and `write` wait in their system calls, as the child may; how
the worker waits, and how much it believes, stands in `pool`. Imports little: each child that is started loads it.
"""

import os
import struct
from typing import Any

import msgpack

_LENGTH = struct.Struct(">Q")


HEAD_BYTES = _LENGTH.size


class ChannelError(Exception):
    """The other side has ended, or says what cannot be."""


def pack(value: Any) -> bytes:
    content: bytes = msgpack.packb(value)
    return _LENGTH.pack(len(content)) + content


def length(head: bytes | bytearray) -> int:
    """Of the rest of the frame that begins so."""
    size: int = _LENGTH.unpack(head)[0]
    return size


def unpack(content: bytes | bytearray) -> Any:
    """The value of a frame without its length."""
    try:
        return msgpack.unpackb(content, max_bin_len=len(content), max_str_len=len(content))
    except (ValueError, msgpack.UnpackException) as error:
        raise ChannelError(f"a frame is no value: {error}") from None


def read(fd: int) -> Any:
    """The next value; `None` if the worker has closed the pipe, or ended."""
    head = _read_exactly(fd, HEAD_BYTES)
    if head is None:
        return None
    content = _read_exactly(fd, length(head))
    return None if content is None else unpack(content)


def write(fd: int, value: Any) -> None:
    rest = memoryview(pack(value))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _read_exactly(fd: int, size: int) -> bytearray | None:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        count = os.readv(fd, [rest])
        if count == 0:
            return None
        rest = rest[count:]
    return content
