"""A WebP as what it is made of: the chunks of a RIFF file."""

import io
from collections.abc import Iterator

from PIL import Image, WebPImagePlugin

from image_workers.errors import Refused
from image_workers.formats import exif
from image_workers.formats.picture import Picture

HAS_EXIF, HAS_XMP, _HAS_ALPHA, _HAS_ANIMATION = 0x08, 0x04, 0x10, 0x02
"""Flags in the first byte of VP8X."""
_CHUNKS_MAX = 100_000
_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the data of each, up to the end that the file tells, or its own. Raises `Refused` if one is cut."""
    yield from _chunks(content, 12, min(len(content), 8 + int.from_bytes(content[4:8], "little")))


def _chunks(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(_CHUNKS_MAX):
        if at + 8 > end:
            return
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        data = content[at + 8 : at + 8 + length]
        if len(data) < length:
            raise Refused("the WebP ends in the middle of a chunk")
        yield kind, data
        at += 8 + length + length % 2
    raise Refused(f"the WebP has more than {_CHUNKS_MAX} chunks")


def join(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(_joined(kind, data) for kind, data in parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _joined(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


# -- Pixels ------------------------------------------------------------------------------------------------------------

_FRAME_HEADER_BYTES = 16
_ANIMATION = b"ANIM", bytes(6)


def opened(content: bytes) -> Picture:
    """What Pillow is given is the first picture, and the canvas that it stands on."""
    canvas, frames = b"", 0
    picture: list[tuple[bytes, bytes]] = []
    sides: dict[bytes, bytes] = {}
    try:
        for kind, data in chunks(content):
            if kind == b"VP8X" and not canvas:
                canvas = data
            elif kind in _PIXELS and not frames:
                picture.append((kind, data))
                frames += kind != b"ALPH"
            elif kind == b"ANMF":
                frames += 1
                picture = picture or [_ANIMATION, (kind, _frame(data))]
            else:
                sides.setdefault(kind, data)
    except Refused:
        if not frames:
            raise
    if not frames:
        raise Refused("the WebP holds no picture")
    if canvas:
        # The first frame of an animation may leave a part of its canvas as it is, which is transparent.
        flags = _HAS_ALPHA | _HAS_ANIMATION if picture[:1] == [_ANIMATION] else canvas[0] & _HAS_ALPHA
        picture.insert(0, (b"VP8X", bytes([flags]) + canvas[1:]))
    return Picture(
        "WebP",
        _size(*picture[0]),
        exif.orientation(sides.get(b"EXIF", b"")),
        sides.get(b"ICCP"),
        lambda _wanted: _decoded(join(picture)),
        animated=frames > 1,
    )


def _size(kind: bytes, data: bytes) -> tuple[int, int]:
    """Told by the first chunk. Pillow would make room for the picture before it tells."""
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if kind == b"VP8L":
        sizes = int.from_bytes(data[1:5], "little")
        return 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def _frame(data: bytes) -> bytes:
    """An animation's frame without what is not its picture."""
    parts = _chunks(data, _FRAME_HEADER_BYTES, len(data))
    return data[:_FRAME_HEADER_BYTES] + b"".join(_joined(kind, part) for kind, part in parts if kind in _PIXELS)


def _decoded(content: bytes) -> Image.Image:
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(content))
    image.load()
    return image
