"""A PNG as what it is made of: chunks; and its pixels, if the checksums and the number of rows are right.

Only the chunks that make the pixels and their colours count. Pillow sees none of the others, and the broken ones among
them decide nothing. Pillow compares neither the checksums of the data nor the number of rows; so the data are inflated
here, and handed to its decoder as they are, in stored blocks.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from PIL import Image, ImageChops

from image_workers import colour
from image_workers.errors import Refused
from image_workers.formats import exif
from image_workers.formats.codec import Codec
from image_workers.formats.picture import Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Chunk:
    kind: bytes
    data: memoryview
    checksum: int

    def is_intact(self) -> bool:
        return zlib.crc32(self.data, zlib.crc32(self.kind)) == self.checksum

    def is_critical(self) -> bool:
        return not self.kind[0] & 0x20


def chunks(content: bytes) -> Iterator[Chunk]:
    """Each whole chunk, up to IEND or the end of the file."""
    at, view = len(SIGNATURE), memoryview(content)
    for _ in range(_CHUNKS_MAX):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(content):
            return
        yield Chunk(kind, view[at + 8 : end], int.from_bytes(content[end : end + 4], "big"))
        if kind == b"IEND":
            return
        at = end + 4
    raise Refused(f"the PNG has more than {_CHUNKS_MAX} chunks")


# -- Pixels ------------------------------------------------------------------------------------------------------------

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_MODES = {
    # By kind of colour and bits of a sample: the mode of the picture, and how Pillow's decoder is to read the data.
    (_GRAY, 1): ("1", "1"),
    (_GRAY, 2): ("L", "L;2"),
    (_GRAY, 4): ("L", "L;4"),
    (_GRAY, 8): ("L", "L"),
    (_GRAY, 16): ("L", "L;16B"),
    (_RGB, 8): ("RGB", "RGB"),
    (_RGB, 16): ("RGB", "RGB;16B"),
    (_PALETTE, 1): ("P", "P;1"),
    (_PALETTE, 2): ("P", "P;2"),
    (_PALETTE, 4): ("P", "P;4"),
    (_PALETTE, 8): ("P", "P"),
    (_GRAY_ALPHA, 8): ("LA", "LA"),
    (_GRAY_ALPHA, 16): ("RGBA", "LA;16B"),
    (_RGB_ALPHA, 8): ("RGBA", "RGBA"),
    (_RGB_ALPHA, 16): ("RGBA", "RGBA;16B"),
}
_LOW_BYTES = {"L": "L;16", "RGB": "RGB;16L"}
"""The other byte of each sample: what these take for the high byte of a number is the low one of a PNG's."""
_SLICE_BYTES = 16_384
_STORED_MAX = 65_535
_NEEDED = {b"IHDR", b"PLTE", b"tRNS"}
"""Beside IDAT. A wrong checksum of one of these is damage; any other chunk with one is as if it were not there."""


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    bits: int
    kind: int
    interlaced: bool


def opened(content: bytes) -> Picture:
    data: list[Chunk] = []
    others: dict[bytes, Chunk] = {}
    for chunk in chunks(content):
        if chunk.kind == b"IDAT":
            data.append(chunk)
        else:
            others.setdefault(chunk.kind, chunk)
    header = _header(others)
    sides = {kind: bytes(chunk.data) for kind, chunk in others.items() if kind not in _NEEDED and chunk.is_intact()}
    return Picture(
        "PNG",
        (header.width, header.height),
        exif.orientation(sides.get(b"eXIf", b"")),
        _profile(sides, gray=header.kind in (_GRAY, _GRAY_ALPHA)),
        lambda _wanted: _decoded(header, others, data),
        animated=int.from_bytes(sides.get(b"acTL", b"")[:4], "big") > 1,
    )


def _header(others: dict[bytes, Chunk]) -> _Header:
    chunk = others.get(b"IHDR")
    if chunk is None or len(chunk.data) != 13 or not chunk.is_intact():
        raise Refused("the PNG is damaged: its header is not whole, or its checksum is wrong")
    width, height, bits, kind, compression, filters, interlacing = struct.unpack(">IIBBBBB", chunk.data)
    if not (width and height) or (kind, bits) not in _MODES or compression or filters or interlacing > 1:
        raise Refused("the PNG is damaged: its header tells what no PNG can have")
    return _Header(width, height, bits, kind, bool(interlacing))


def _decoded(header: _Header, others: dict[bytes, Chunk], data: list[Chunk]) -> Image.Image:
    mode, reading = _MODES[header.kind, header.bits]
    for chunk in data:
        _check(chunk)
    palette = _checked(others, b"PLTE") if header.kind == _PALETTE else b""
    transparency = _checked(others, b"tRNS") if header.kind in (_GRAY, _RGB, _PALETTE) else b""
    image = _rows(header, data, mode, reading)
    if header.kind == _PALETTE:
        if not palette or len(palette) % 3:
            raise Refused("the PNG is damaged: it has no palette, or a part of one")
        image.putpalette(palette, "RGB")
        if transparency:
            image.info["transparency"] = transparency[:256]
        return image.convert("RGBA" if transparency else "RGB")
    plain = {_GRAY: "L", _GRAY_ALPHA: "LA"}.get(header.kind, mode)
    if mode != plain:
        image = image.convert(plain)
    if not transparency:
        return image
    key = struct.unpack(f">{len(image.getbands())}H", transparency)
    if header.bits == 16:
        low = _rows(header, data, mode, _LOW_BYTES[mode])
        where = ImageChops.darker(
            _where(image, [value >> 8 for value in key]), _where(low, [value & 255 for value in key])
        )
    else:
        most = 2**header.bits - 1
        where = _where(image, [(value & most) * 255 // most for value in key])
    image.putalpha(ImageChops.invert(where))
    return image


def _checked(others: dict[bytes, Chunk], kind: bytes) -> bytes:
    """The chunk, without which the pixels would be others; nothing if there is none."""
    if (chunk := others.get(kind)) is None:
        return b""
    _check(chunk)
    return bytes(chunk.data)


def _check(chunk: Chunk) -> None:
    if not chunk.is_intact():
        raise Refused(f"the PNG is damaged: the checksum of {chunk.kind.decode()} is wrong")


def _where(image: Image.Image, colour: list[int]) -> Image.Image:
    """255 where the picture has this colour, else 0."""
    matches = [
        band.point([255 if at == value else 0 for at in range(256)])
        for band, value in zip(image.split(), colour, strict=True)
    ]
    return reduce(ImageChops.darker, matches)


def _rows(header: _Header, data: list[Chunk], mode: str, reading: str) -> Image.Image:
    """All rows in this mode. Raises `Refused` if one is missing, or a checksum wrong."""
    image = Image.new(mode, (header.width, header.height), None)
    codec = Codec(image, "zip", (reading, int(header.interlaced)))
    codec.feed(b"\x78\x01")
    inflater = zlib.decompressobj()
    try:
        for piece in _inflated(inflater, data):
            if codec.done:
                return image  # more data than rows: nobody looks at them, and there may be any amount of them
            codec.feed(struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF) + piece)
    except zlib.error as error:
        raise Refused(f"the PNG is damaged: broken data stream ({error})") from None
    if not codec.done or not inflater.eof:
        raise Refused("the PNG is damaged: its data end too early")
    return image


def _inflated(inflater: "zlib._Decompress", data: list[Chunk]) -> Iterator[bytes]:
    """What the data inflate to, in pieces that fit a stored block each."""
    for chunk in data:
        for at in range(0, len(chunk.data), _SLICE_BYTES):
            waiting: bytes | memoryview = chunk.data[at : at + _SLICE_BYTES]
            piece = b""
            while (waiting or len(piece) == _STORED_MAX) and not inflater.eof:
                piece = inflater.decompress(waiting, _STORED_MAX)
                waiting = inflater.unconsumed_tail
                if piece:
                    yield piece


# -- Colours -----------------------------------------------------------------------------------------------------------

_PROFILE_BYTES_MAX = 16 * 2**20
_GAMMA_UNIT, _POINT_UNIT = 100_000, 100_000


def _profile(sides: dict[bytes, bytes], *, gray: bool) -> bytes | None:
    """What of cICP, iCCP, sRGB and gAMA with cHRM comes first in this order: PNG, third edition, 4.3.

    cHRM alone counts for nothing, as in browsers. Raises `Refused` for a high dynamic range, and for a video's levels.
    """
    codes = sides.get(b"cICP", b"")
    if len(codes) == 4 and not codes[2]:
        if not codes[3]:
            raise Refused("the picture has the levels of video (16 to 235), which are not opened; save it in sRGB")
        return colour.from_codes(codes[0], codes[1], gray=gray)
    if profile := _own_profile(sides.get(b"iCCP", b"")):
        return profile
    gamma = sides.get(b"gAMA", b"")
    if b"sRGB" in sides or len(gamma) != 4 or not any(gamma):
        return None
    points = sides.get(b"cHRM", b"")
    chromaticities = tuple(value / _POINT_UNIT for value in struct.unpack(">8I", points)) if len(points) == 32 else None
    return colour.from_gamma(_GAMMA_UNIT / int.from_bytes(gamma, "big"), chromaticities, gray=gray)


def _own_profile(chunk: bytes) -> bytes | None:
    """Out of iCCP: a name, a zero, the way of compression, and the profile. None if it is broken or beyond measure."""
    _, _, rest = chunk.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(rest[1:], _PROFILE_BYTES_MAX)
    except zlib.error:
        return None
    return profile if inflater.eof else None
