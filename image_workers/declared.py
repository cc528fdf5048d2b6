"""What a picture says of itself before it is decoded: how large it is, and so how much memory decoding it may take.

Reads headers only, and believes them: who declares less than is in the file meets the limit that was made of it.
Opening a picture with its decoder would not do, since that of WebP takes all its memory then.
"""

import re
import struct
from dataclasses import dataclass

from image_workers import pictures

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The JPEG markers that begin a frame: ITU-T T.81, table B.1."""
_SEQUENTIAL = (0xC0, 0xC1)
_SOS, _EOI = 0xDA, 0xD9
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""Those that a length follows, and EOI."""
_SEGMENTS_MAX = 20_000
"""The worker serves nobody else while it looks, so it must end. A picture with half as many is refused."""
_AVIF_SIZES = re.compile(rb"ispe....(?P<item>.{8})|stsd.{12}av01.{24}(?P<track>.{4})", re.DOTALL)
"""ISO/IEC 23008-12, 6.5.3: the size of an item. ISO/IEC 14496-12, 12.1.3: that of a track, for an animation."""
_BOXES_MAX = 100
_START_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Declared:
    """The size in pixels, and for a JPEG how many bytes a pixel its decoder keeps from scan to scan."""

    kind: str
    """Its media type."""
    width: int = 0
    height: int = 0
    kept_bytes_per_pixel: float = 0.0

    @property
    def pixels(self) -> int:
        return self.width * self.height


def declared(content: bytes) -> Declared:
    """What the picture says; no pixels if it says nothing that can be understood, which a decoder cannot either."""
    kind = pictures.content_type(content[:_START_BYTES])
    try:
        if kind == "image/jpeg":
            return _jpeg(content)
        if kind == "image/png":
            return Declared(kind, *struct.unpack_from(">II", content, 16))
        if kind == "image/gif":
            return Declared(kind, *struct.unpack_from("<HH", content, 6))
        if kind == "image/webp":
            return Declared(kind, *_webp(content))
        if kind in ("image/avif", "image/heic"):
            return Declared(kind, *_avif(content))
    except (struct.error, IndexError):
        pass
    return Declared(kind)


def _jpeg(content: bytes) -> Declared:
    frame, scan, at = 0, 0, 2
    for _ in range(_SEGMENTS_MAX):
        match = _JPEG_MARKER.search(content, at)
        if match is None or (marker := content[match.start() + 1]) == _EOI:
            break
        at = match.start()
        if marker == _SOS:
            scan = at
            break
        if marker in _SOF:
            frame = at
        (length,) = struct.unpack_from(">H", content, at + 2)
        at += 2 + length
    if not frame:
        return Declared("image/jpeg")
    height, width, components = struct.unpack_from(">HHB", content, frame + 5)
    if scan and content[frame + 1] in _SEQUENTIAL and content[scan + 4] == components:  # all in one: nothing is kept
        return Declared("image/jpeg", width, height)
    described = content[frame + 10 : frame + 10 + 3 * components]
    return Declared("image/jpeg", width, height, _coefficient_bytes(described))


def _coefficient_bytes(components: bytes) -> float:
    """Bytes a pixel for the coefficients, of two bytes each, of components that may have less than full resolution."""
    factors = [(each >> 4, each & 15) for each in components[1::3]]
    most = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
    return 2 * sum(across * down for across, down in factors) / max(1, most)


def _webp(content: bytes) -> tuple[int, int]:
    """RFC 9649, sections 2.5 to 2.7."""
    first, data = content[12:16], content[20:30]
    if first == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if first == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 6)
    return width & 0x3FFF, height & 0x3FFF


def _avif(content: bytes) -> tuple[int, int]:
    """The largest size in the boxes `meta` and `moov`; parts of a grid are smaller than the whole."""
    sizes = []
    at = 0
    for _ in range(_BOXES_MAX):
        if at + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, at + 8)
        end = at + length if length >= 8 else len(content)
        if kind in (b"meta", b"moov"):
            for match in _AVIF_SIZES.finditer(content, at, end):
                form = ">II" if match["item"] else ">HH"
                sizes.append(struct.unpack(form, match["item"] or match["track"]))
        at = end
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
