"""Pictures as pieces that can be changed, moved and exchanged, and a file that is consistent again afterwards.

A mutation that leaves a wrong length or checksum is refused at the door, so it would say little of what is behind it.
Nothing here relies on the readers that are under test.
"""

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

Pieces = list[bytes]

_PNG_START, _RIFF_START, _GIF_START = 8, 12, 13
_JPEG_MARKER = re.compile(rb"(?=\xff[\xc0-\xcf\xd8-\xfe])")
_BARE_MARKERS = (0xD8, 0xD9)
_SOS = 0xDA


@dataclass(frozen=True, slots=True)
class Structure:
    """`split` takes a file apart, and what it returns is the file when joined; the first piece is the file's start.

    `mended` gives a piece the length and the checksum that its content has, `whole` the file the size that it has.
    `head` is how many bytes of a piece come before its content, `tail` how many after.
    """

    split: Callable[[bytes], Pieces]
    mended: Callable[[bytes], bytes]
    whole: Callable[[Pieces], bytes]
    head: int
    tail: int = 0


def _png_split(content: bytes) -> Pieces:
    pieces, at = [content[:_PNG_START]], _PNG_START
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        pieces.append(content[at:end])
        at = end
    return pieces


def _png_mended(piece: bytes) -> bytes:
    kind, data = piece[4:8], piece[8:-4]
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg_split(content: bytes) -> Pieces:
    """Each piece begins with its marker; what is coded after the header of a scan belongs to it."""
    first, *others = [piece for piece in _JPEG_MARKER.split(content) if piece]
    return [first, *others]


def _jpeg_mended(piece: bytes) -> bytes:
    """The header of a scan, which coded data follow, keeps its length."""
    if len(piece) < 4 or piece[1] in (*_BARE_MARKERS, _SOS):
        return piece
    return piece[:2] + struct.pack(">H", min(0xFFFF, len(piece) - 2)) + piece[4:]


def _webp_split(content: bytes) -> Pieces:
    pieces, at = [content[:_RIFF_START]], _RIFF_START
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        pieces.append(content[at:end])
        at = end
    return pieces


def _webp_mended(piece: bytes) -> bytes:
    data = piece[8:]
    return piece[:4] + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _webp_whole(pieces: Pieces) -> bytes:
    rest = b"".join(pieces[1:])
    return b"RIFF" + struct.pack("<I", min(2**32 - 1, len(rest) + 4)) + b"WEBP" + rest


def _gif_split(content: bytes) -> Pieces:
    at = _GIF_START + _colours(content[10])
    pieces = [content[:at]]
    while at < len(content):
        start = at
        if content[at : at + 1] == b"\x2c":
            at += 11 + _colours(content[at + 9] if at + 9 < len(content) else 0)
        else:
            at += 2
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
        pieces.append(content[start:at])
    return pieces


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _boxes_split(content: bytes) -> Pieces:
    pieces, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        end = at + size if size >= 8 else len(content)
        pieces.append(content[at:end])
        at = end
    return pieces


def _box_mended(piece: bytes) -> bytes:
    return struct.pack(">I", len(piece)) + piece[4:]


def _as_it_is(piece: bytes) -> bytes:
    return piece


_BOXES = Structure(_boxes_split, _box_mended, b"".join, 8)

STRUCTURES = {
    "image/png": Structure(_png_split, _png_mended, b"".join, 8, 4),
    "image/jpeg": Structure(_jpeg_split, _jpeg_mended, b"".join, 4),
    "image/webp": Structure(_webp_split, _webp_mended, _webp_whole, 8),
    "image/gif": Structure(_gif_split, _as_it_is, b"".join, 1),
    "image/avif": _BOXES,
    "image/heic": _BOXES,
}
"""By media type."""
