"""Where an AVIF has its EXIF and XMP: items of its `meta` box, which lie in pieces anywhere in the file.

What is found is overwritten in as many bytes, so no offset in the file has to change. Raises `Refused` for a file whose
boxes cannot be followed. ISO/IEC 14496-12 (boxes, iinf, iloc) and 23008-12 (the EXIF item) say what is read here.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from image_workers.errors import Refused

Edit = Callable[[bytes], bytes]
"""Must return as many bytes."""

_HEADER_BYTES = 8
_EXTENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Of what it contains."""
    end: int


def overwritten(content: bytes, exif: Edit, xmp: Edit) -> bytes:
    """The file with the TIFF data of each EXIF item, and each XMP text, as these return them."""
    changed = bytearray(content)
    try:
        for box in _boxes(content, 0, len(content)):
            if box.kind == b"uuid":  # after its 16 bytes of name; an XMP text, among others
                changed[box.start + 16 : box.end] = xmp(content[box.start + 16 : box.end])
            if box.kind == b"meta":
                _overwrite_items(
                    changed, {each.kind: each for each in _boxes(content, box.start + 4, box.end)}, exif, xmp
                )
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise Refused(f"the boxes of the AVIF cannot be followed: {error!r}") from None
    return bytes(changed)


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
        yield _Box(kind, start, stop)
        at = stop


def _overwrite_items(content: bytearray, boxes: dict[bytes, _Box], exif: Edit, xmp: Edit) -> None:
    if b"iinf" not in boxes:
        return
    kinds = dict(_items(bytes(content), boxes[b"iinf"]))
    for item, pieces in _locations(content, boxes):
        if kinds.get(item) in (b"Exif", b"mime"):
            data = b"".join(bytes(content[start:end]) for start, end in pieces)
            data = _with_exif(data, exif) if kinds[item] == b"Exif" else xmp(data)
            for start, end in pieces:
                content[start:end], data = data[: end - start], data[end - start :]


def _with_exif(data: bytes, exif: Edit) -> bytes:
    (skipped,) = struct.unpack_from(">I", data)
    start = 4 + skipped
    return data[:start] + exif(data[start:])


def _items(content: bytes, iinf: _Box) -> Iterator[tuple[int, bytes]]:
    """The number and the kind of each item."""
    entries = iinf.start + (6 if content[iinf.start] == 0 else 8)
    for box in _boxes(content, entries, iinf.end):
        version = content[box.start]
        if box.kind == b"infe" and version >= 2:
            number, _, kind = struct.unpack_from(">HH4s" if version == 2 else ">IH4s", content, box.start + 4)
            yield number, kind


def _locations(content: bytearray, boxes: dict[bytes, _Box]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The number of each item, and from where to where its pieces go in the file."""
    reader = _Reader(bytes(content), boxes[b"iloc"].start)
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    for _ in range(reader.take(2 if version < 2 else 4)):
        item = reader.take(2 if version < 2 else 4)
        in_idat = (reader.take(2) & 15) == 1 if version else False
        reader.take(2)
        base = reader.take(base_bytes) + (boxes[b"idat"].start if in_idat else 0)
        pieces = []
        count = reader.take(2)
        if count > _EXTENTS_MAX:
            raise ValueError("too many pieces")
        for _ in range(count):
            reader.take(index_bytes)
            start = base + reader.take(offset_bytes)
            end = start + reader.take(length_bytes)
            if end > len(content):
                raise ValueError(f"a piece ends at {end}, outside of the file")
            pieces.append((start, end))
        yield item, pieces


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
