"""The boxes of an AVIF or a HEIC: its brands, its items with their properties, and where its EXIF and XMP are.

All of it is found in the `meta` box; EXIF and XMP lie in pieces anywhere in the file. What is to go is overwritten in
as many bytes, so no offset in the file has to change. Raises `Refused` for a file whose boxes cannot be followed.
ISO/IEC 14496-12 (boxes, iinf, iloc) and 23008-12 (the EXIF item, ipco, ipma) say what is read here.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from image_workers.errors import Refused

Edit = Callable[[bytes], bytes]
"""Must return as many bytes."""

_HEADER_BYTES = 8
_EXTENTS_MAX = 10_000
_BRANDS_BYTES_MAX = 512
_COLR_BYTES_MIN = 11
END_BYTES = 64
_SKIPPED = b"skip"


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    at: int
    start: int
    """Of what it contains."""
    end: int


@contextmanager
def _following() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise Refused(f"the boxes of the picture cannot be followed: there is none of {error}") from None
    except (struct.error, IndexError, ValueError) as error:
        raise Refused(f"the boxes of the picture cannot be followed: {error}") from None


def overwritten(content: bytes, exif: Edit, xmp: Edit) -> bytes:
    """The file with the TIFF data of each EXIF item, and each XMP text, as these return them."""
    changed = bytearray(content)
    found = False
    with _following():
        for box in _boxes(content, 0, len(content)):
            if box.kind == b"uuid":  # after its 16 bytes of name; an XMP text, among others
                changed[box.start + 16 : box.end] = xmp(content[box.start + 16 : box.end])
            if box.kind == b"meta":
                if found:
                    raise ValueError("there is more than one that lists items")
                found = True
                _overwrite_items(content, changed, _within(content, box, 4), exif, xmp)
    return bytes(changed)


def brands(start: bytes) -> list[bytes]:
    """The major brand, and the others that the file is compatible with; none if it does not begin with them."""
    size = int.from_bytes(start[:4], "big")
    if start[4:8] != b"ftyp" or size < 16:
        return []
    end = min(size, len(start), _BRANDS_BYTES_MAX)
    return [start[8:12], *(start[at : at + 4] for at in range(16, end - 3, 4))]


@dataclass(frozen=True, slots=True)
class Essence:
    """`content` without what the picture does not need; `properties` are the kind and the data of each that the
    primary item has; `ends` are the last bytes, `END_BYTES` at the most, of each item that is left.
    """

    content: bytes
    properties: tuple[tuple[bytes, bytes], ...]
    ends: tuple[bytes, ...]


def essence(content: bytes, items: frozenset[bytes], dropped: frozenset[bytes]) -> Essence:
    """The file with items of these kinds only, without the `dropped` properties.

    The other items and the properties stay in their place, under a name that means to skip them.
    """
    changed = bytearray(content)
    with _following():
        # What follows it is not looked at, so it decides nothing.
        meta = next((box for box in _boxes(content, 0, len(content)) if box.kind == b"meta"), None)
        if meta is None:
            raise KeyError(b"meta")
        boxes = _within(content, meta, 4)
        kept = set()
        for number, kind, at, end in _items(content, boxes[b"iinf"]):
            if kind in items:
                kept.add(number)
            else:
                changed[at:end] = _SKIPPED + bytes(end - at - len(_SKIPPED))  # with its name
        properties = _within(content, boxes[b"iprp"], 0)
        shared = list(_boxes(content, properties[b"ipco"].start, properties[b"ipco"].end))
        for box in shared:
            if box.kind in dropped or (box.kind == b"colr" and box.end - box.start < _COLR_BYTES_MIN):
                changed[box.at + 4 : box.at + 8] = _SKIPPED
        primary = _primary(content, boxes[b"pitm"])
        indices = _associated(content, properties[b"ipma"], primary)
        mine = [shared[index - 1] for index in indices if 0 < index <= len(shared)]
        ends = [_end(content, pieces) for number, pieces in _locations(content, boxes) if number in kept and pieces]
    return Essence(bytes(changed), tuple((box.kind, content[box.start : box.end]) for box in mine), tuple(ends))


def _within(content: bytes, box: _Box, skipped: int) -> dict[bytes, _Box]:
    return {each.kind: each for each in _boxes(content, box.start + skipped, box.end)}


def _primary(content: bytes, pitm: _Box) -> int:
    return _Reader(content, pitm.start + 4).take(4 if content[pitm.start] else 2)


def _associated(content: bytes, ipma: _Box, item: int) -> list[int]:
    """The numbers, from 1 on, of the properties of this item."""
    reader = _Reader(content, ipma.start)
    version, flags = reader.take(1), reader.take(3)
    for _ in range(reader.take(4)):
        number = reader.take(4 if version else 2)
        found = [
            reader.take(2) & 0x7FFF if flags & 1 else reader.take(1) & 0x7F  # without the bit that says "essential"
            for _ in range(reader.take(1))
        ]
        if number == item:
            return found
    return []


def _boxes(content: bytes, at: int, end: int) -> Iterator[_Box]:
    while at < end:
        size, kind = struct.unpack_from(">I4s", content, at)
        start = at + _HEADER_BYTES
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, start)
            start += 8
        stop = end if size == 0 else at + size
        if not start <= stop <= end:
            raise ValueError(f"the box {kind!r} ends at {stop}, outside of {end}")
        yield _Box(kind, at, start, stop)
        at = stop


def _overwrite_items(content: bytes, changed: bytearray, boxes: dict[bytes, _Box], exif: Edit, xmp: Edit) -> None:
    if b"iinf" not in boxes:
        return
    kinds = {number: kind for number, kind, *_ in _items(content, boxes[b"iinf"])}
    left = len(content)
    for item, pieces in _locations(content, boxes):
        if kinds.get(item) in (b"Exif", b"mime"):
            data = _joined(changed, pieces)
            left -= len(data)
            if left < 0:  # else a few bytes could name the whole file again and again
                raise ValueError("items are in the same place")
            data = _with_exif(data, exif) if kinds[item] == b"Exif" else xmp(data)
            taken = 0
            for start, end in pieces:
                changed[start:end] = data[taken : taken + end - start]
                taken += end - start


def _with_exif(data: bytes, exif: Edit) -> bytes:
    (skipped,) = struct.unpack_from(">I", data)
    start = 4 + skipped
    return data[:start] + exif(data[start:])


def _items(content: bytes, iinf: _Box) -> Iterator[tuple[int, bytes, int, int]]:
    """The number and the kind of each item, and from where to where the kind and what follows it stand."""
    entries = iinf.start + (6 if content[iinf.start] == 0 else 8)
    for box in _boxes(content, entries, iinf.end):
        version = content[box.start]
        if box.kind == b"infe" and version >= 2:
            layout = ">HH4s" if version == 2 else ">IH4s"
            number, _, kind = struct.unpack_from(layout, content, box.start + 4)
            yield number, kind, box.start + struct.calcsize(layout), box.end


def _locations(content: bytes, boxes: dict[bytes, _Box]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The number of each item, and from where to where its pieces go in the file."""
    reader = _Reader(content, boxes[b"iloc"].start)
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    total = 0
    for _ in range(reader.take(2 if version < 2 else 4)):
        item = reader.take(2 if version < 2 else 4)
        in_idat = (reader.take(2) & 15) == 1 if version else False
        reader.take(2)
        base = reader.take(base_bytes) + (boxes[b"idat"].start if in_idat else 0)
        pieces = []
        count = reader.take(2)
        total += 1 + count  # each may take no byte of the file
        if total > _EXTENTS_MAX:
            raise ValueError(f"there are more than {_EXTENTS_MAX} items and pieces of them")
        for _ in range(count):
            reader.take(index_bytes)
            start = base + reader.take(offset_bytes)
            pieces.append((start, start + reader.take(length_bytes)))
        yield item, pieces


def _end(content: bytes, pieces: list[tuple[int, int]]) -> bytes:
    _check_pieces(content, pieces)
    start, end = pieces[-1]
    return content[max(start, end - END_BYTES) : end]


def _joined(content: bytearray, pieces: list[tuple[int, int]]) -> bytes:
    _check_pieces(content, pieces)
    return b"".join(content[start:end] for start, end in pieces)


def _check_pieces(content: bytes | bytearray, pieces: list[tuple[int, int]]) -> None:
    if any(end > len(content) for _, end in pieces):
        raise Refused("the picture is damaged: it ends before its data do")
    if sum(end - start for start, end in pieces) > len(content):
        raise Refused("the picture is damaged: an item is larger than the file")


class _Reader:
    """Takes numbers from a place on."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self._at = at

    def take(self, size: int) -> int:
        self._at += size
        if self._at > len(self._content):
            raise ValueError("the file ends too early")
        return int.from_bytes(self._content[self._at - size : self._at], "big")
