"""What originals carry besides their pixels: taken out before they are published, or kept when guetzli drops it.

Pixels are never decoded anew here, so an original loses nothing of its picture. What decides how it looks stays in any
case: orientation, colour profile, transparency, animation. Raises `Refused` for what is too broken to be understood:
what was to be taken out must not be published because nobody found it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from image_workers import bmff, exif, jpeg, pictures
from image_workers.errors import Refused
from image_workers.jpeg import Jpeg, Segment
from image_workers.pictures import Compressible, LeftAsIs

if TYPE_CHECKING:  # it would bring all that the configuration needs into each decoding child
    from image_workers.config import Strip


def stripped(content: bytes, strip: Strip) -> bytes:
    """The picture without the place where it was made (`gps`), or without all that does not show (`all`)."""
    if strip == "no":
        return content
    kind = pictures.content_type(content)
    by_kind: dict[str, Callable[[bytes, Strip], bytes]] = {
        "image/jpeg": _jpeg,
        "image/png": _png,
        "image/webp": _webp,
        "image/gif": _gif,
        "image/avif": _avif,
    }
    if kind not in by_kind:
        raise Refused(f"metadata cannot be taken out of {kind}, and strip-originals asks for it")
    return by_kind[kind](content, strip)


def compressible(content: bytes, max_pixels: int) -> Compressible:
    """An original as guetzli needs it: the JPEG without its metadata, which `carried_over` gives back to the result.

    Raises `LeftAsIs` for what would not be the same picture afterwards.
    """
    if pictures.content_type(content) != "image/jpeg":
        raise LeftAsIs("of originals only JPEGs are compressed")
    parsed = jpeg.parse(content)
    if parsed.rest.strip(b"\0\xff") or any(_lists_more_pictures(segment) for segment in parsed.segments):
        raise LeftAsIs("more than one picture is in it, and guetzli would keep the first alone")
    bare = jpeg.join((each for each in parsed.segments if _tells_colours(each)), parsed.scans)
    picture = pictures.compressible(bare, max_pixels)
    if picture.content != bare:
        raise LeftAsIs("guetzli does not read this kind of JPEG as it is, and an original is not converted")
    return picture


def carried_over(original: bytes, result: bytes) -> bytes:
    """The result of guetzli with the metadata of the original."""
    parsed, compressed = jpeg.parse(original), jpeg.parse(result)
    kept = [each for each in parsed.segments if each.is_metadata() and each.marker != jpeg.APP14]
    needed = [each for each in compressed.segments if not each.is_metadata()]
    if not any(segment.marker == jpeg.APP0 for segment in kept):
        kept = [each for each in compressed.segments if each.marker == jpeg.APP0] + kept
    return jpeg.join([*kept, *needed], compressed.scans)


def _lists_more_pictures(segment: Segment) -> bool:
    return segment.marker == jpeg.APP2 and segment.payload.startswith(jpeg.MORE_PICTURES)


# -- JPEG --------------------------------------------------------------------------------------------------------------

_JFIF_BYTES = 14


def _jpeg(content: bytes, strip: Strip) -> bytes:
    parsed = jpeg.parse(content)
    if strip == "all":
        return jpeg.join(_shown_segments(parsed), parsed.scans)
    segments = tuple(Segment(each.marker, _without_place(each.payload)) for each in parsed.segments)
    return Jpeg(segments, parsed.scans, b"").to_bytes() + _further_pictures(parsed.rest)


def _further_pictures(rest: bytes) -> bytes:
    """The JPEGs that follow, each where it was, so that what lists them stays true; a video is not among them."""
    start = rest.find(b"\xff\xd8\xff")
    if start < 0:
        return b""
    return bytes(start) + _jpeg(rest[start:], "gps")


def _without_place(payload: bytes) -> bytes:
    if payload.startswith(jpeg.EXIF):
        return exif.without_place_in_exif(payload)
    for start in (jpeg.XMP, jpeg.XMP_EXTENSION):
        if payload.startswith(start):
            return start + exif.without_place_in_xmp(payload[len(start) :])
    return payload


def _shown_segments(parsed: Jpeg) -> Iterator[Segment]:
    for segment in parsed.segments:
        if segment.marker == jpeg.APP0 and segment.payload.startswith(jpeg.JFIF):
            yield Segment(jpeg.APP0, segment.payload[: _JFIF_BYTES - 2] + bytes(2))  # without its thumbnail
        elif segment.marker == jpeg.APP1 and segment.payload.startswith(jpeg.EXIF):
            if (orientation := exif.orientation(segment.payload)) != 1:
                yield Segment(jpeg.APP1, jpeg.EXIF + exif.telling_only(orientation))
        elif segment.payload.startswith(jpeg.ICC) or _tells_colours(segment):
            yield segment


def _tells_colours(segment: Segment) -> bool:
    """Whether a decoder needs it: JFIF and Adobe's segment tell YCbCr from RGB, and CMYK from YCCK."""
    return not segment.is_metadata() or segment.payload.startswith((jpeg.JFIF, jpeg.ADOBE))


# -- PNG ---------------------------------------------------------------------------------------------------------------

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_SHOWS = {
    b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"bKGD", b"pHYs",
    b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP = b"XML:com.adobe.xmp"


def _png(content: bytes, strip: Strip) -> bytes:
    parts = [_PNG_START]
    for kind, data in _png_chunks(content):
        kept = _png_chunk(kind, data, strip)
        if kept is not None:
            parts.append(len(kept).to_bytes(4, "big") + kind + kept + zlib.crc32(kind + kept).to_bytes(4, "big"))
    return b"".join(parts)


def _png_chunk(kind: bytes, data: bytes, strip: Strip) -> bytes | None:
    """What stays of the chunk, or None."""
    if kind == b"eXIf":
        if strip == "gps":
            return exif.without_place_in_exif(data)
        orientation = exif.orientation(data)
        return exif.telling_only(orientation) if orientation != 1 else None
    if strip == "all":
        critical = not kind[0] & 0x20
        return data if critical or kind in _PNG_SHOWS else None
    if kind in _PNG_TEXTS:
        keyword, _, rest = data.partition(b"\0")
        if keyword == _PNG_XMP and kind == b"iTXt" and rest[:1] == b"\0":
            return keyword + b"\0" + exif.without_place_in_xmp(rest)
        if keyword == _PNG_XMP or keyword.startswith(b"Raw profile type") or b"GPS" in keyword:
            return None
    return data


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_START)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, data, crc = content[at + 4 : at + 8], content[at + 8 : at + 8 + length], content[at + 8 + length :][:4]
        if len(data) < length or len(crc) < 4:
            break
        if int.from_bytes(crc, "big") != zlib.crc32(kind + data) and not kind[0] & 0x20:
            raise Refused(f"the PNG is damaged: the checksum of {kind.decode('latin-1')!r} is wrong")
        yield kind, data
        if kind == b"IEND":
            return
        at += 12 + length
    raise Refused("the PNG ends before its last chunk")


# -- WebP --------------------------------------------------------------------------------------------------------------

_WEBP_SHOWS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP")
_WEBP_HAS_EXIF, _WEBP_HAS_XMP = 0x08, 0x04


def _webp(content: bytes, strip: Strip) -> bytes:
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content) + 1:  # the last padding byte is often missing
        raise Refused("the WebP ends before its last chunk")
    chunks: list[tuple[bytes, bytes]] = []
    at = 12
    while at + 8 <= min(end, len(content)):
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        data = content[at + 8 : at + 8 + length]
        if len(data) < length:
            raise Refused("the WebP ends in the middle of a chunk")
        kept = _webp_chunk(kind, data, strip)
        if kept is not None:
            chunks.append((kind, kept))
        at += 8 + length + length % 2
    kinds = {kind for kind, _ in chunks}
    flags = (_WEBP_HAS_EXIF if b"EXIF" in kinds else 0) | (_WEBP_HAS_XMP if b"XMP " in kinds else 0)
    body = b"WEBP"
    for kind, data in chunks:
        if kind == b"VP8X" and data:
            data = bytes([data[0] & ~(_WEBP_HAS_EXIF | _WEBP_HAS_XMP) | flags]) + data[1:]
        body += kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _webp_chunk(kind: bytes, data: bytes, strip: Strip) -> bytes | None:
    if kind == b"EXIF":
        if strip == "gps":
            return exif.without_place_in_exif(data)
        orientation = exif.orientation(data)
        return exif.telling_only(orientation) if orientation != 1 else None
    if strip == "all":
        return data if kind in _WEBP_SHOWS else None
    return exif.without_place_in_xmp(data) if kind == b"XMP " else data


# -- GIF ---------------------------------------------------------------------------------------------------------------

_GIF_EXTENSION, _GIF_IMAGE, _GIF_END = 0x21, 0x2C, 0x3B
_GIF_COMMENT, _GIF_APPLICATION = 0xFE, 0xFF
_GIF_SHOWS = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
_GIF_XMP = b"XMP DataXMP"


def _gif(content: bytes, strip: Strip) -> bytes:
    try:
        return _gif_blocks(content, strip)
    except IndexError:
        raise Refused("the GIF ends before its end mark") from None


def _gif_blocks(content: bytes, strip: Strip) -> bytes:
    at = 13 + _gif_colours(content[10])
    parts = [content[:at]]
    while content[at] != _GIF_END:
        start = at
        if content[at] == _GIF_EXTENSION:
            label, at = content[at + 1], at + 2
        elif content[at] == _GIF_IMAGE:
            label, at = 0, at + 11 + _gif_colours(content[at + 9])
        else:
            raise Refused(f"the GIF is broken: a block of kind {content[at]}")
        name = content[at + 1 : at + 12]
        while content[at]:
            at += 1 + content[at]
        at += 1
        if not _gif_drops(label, name, strip):
            parts.append(content[start:at])
    return b"".join([*parts, bytes([_GIF_END])])


def _gif_drops(label: int, name: bytes, strip: Strip) -> bool:
    if strip == "gps":
        return label == _GIF_APPLICATION and name == _GIF_XMP
    return label == _GIF_COMMENT or (label == _GIF_APPLICATION and name not in _GIF_SHOWS)


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# -- AVIF --------------------------------------------------------------------------------------------------------------


def _avif(content: bytes, strip: Strip) -> bytes:
    """Orientation is not EXIF's here but a property of the picture, so nothing of it is needed."""
    if strip == "gps":
        return bmff.overwritten(content, exif.without_place_in_exif, exif.without_place_in_xmp)
    return bmff.overwritten(content, lambda tiff: exif.nothing(len(tiff)), lambda xmp: b" " * len(xmp))
