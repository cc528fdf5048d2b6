"""What originals carry besides their pixels: taken out before they are published, or kept when guetzli drops it.

Pixels are never decoded anew here, so an original loses nothing of its picture. What decides how it looks stays in any
case: orientation, colour profile, transparency, animation. Raises `Refused` for what is too broken to be understood:
what was to be taken out must not be published because nobody found it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from image_workers import pictures
from image_workers.errors import Refused
from image_workers.formats import bmff, exif, gif, jpeg, png, webp
from image_workers.formats.jpeg import Jpeg, Segment
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
        "image/heic": _avif,
    }
    if kind not in by_kind:
        raise Refused(f"metadata cannot be taken out of {kind}, and strip-originals asks for it")
    return by_kind[kind](content, strip)


def compressible(content: bytes, max_pixels: int) -> Compressible:
    """An original as guetzli needs it: the JPEG without its metadata, which `carried_over` gives back to the result.

    Raises `LeftAsIs` for what would not be the same picture afterwards.
    """
    parsed = _single_jpeg(content)
    bare = jpeg.join((each for each in parsed.segments if jpeg.tells_colours(each)), parsed.scans)
    picture = pictures.compressible(bare, max_pixels)
    if picture.content != bare:
        raise LeftAsIs("guetzli does not read this kind of JPEG as it is, and an original is not converted")
    return picture


def repacked(content: bytes) -> bytes:
    """An original with the same pixels and metadata in fewer bytes: a JPEG whose numbers are packed better.

    Raises `LeftAsIs` for what is no JPEG, or would not be the same picture afterwards.
    """
    import mozjpeg_lossless_optimization

    parsed = _single_jpeg(content)
    bare = jpeg.join((each for each in parsed.segments if jpeg.tells_colours(each)), parsed.scans)
    pixels = pictures.decoded_jpeg(bare)
    try:
        optimized = mozjpeg_lossless_optimization.optimize(bare)
    except ValueError as error:  # it reads fewer kinds of JPEG
        raise LeftAsIs(f"it cannot be packed better: {error}") from None
    packed = jpeg.parse(optimized)
    needed = (each for each in packed.segments if not each.is_metadata())
    result = jpeg.join([*(each for each in parsed.segments if each.is_metadata()), *needed], packed.scans)
    if pictures.decoded_jpeg(result).tobytes() != pixels.tobytes():
        raise LeftAsIs("packed better it would not show the same pixels")
    return result


def _single_jpeg(content: bytes) -> Jpeg:
    if pictures.content_type(content) != "image/jpeg":
        raise LeftAsIs("of originals only JPEGs are compressed")
    parsed = jpeg.parse(content)
    if parsed.rest.strip(b"\0\xff") or any(_lists_more_pictures(segment) for segment in parsed.segments):
        raise LeftAsIs("more than one picture is in it, and the first alone would be kept")
    return parsed


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
_FURTHER_MAX = 200
"""A phone's burst or depth map has some; each costs a look at all that follows it."""


def _jpeg(content: bytes, strip: Strip) -> bytes:
    parsed = jpeg.parse(content)
    if strip == "all":
        return jpeg.join(_shown_segments(parsed), parsed.scans)
    # The JPEGs that follow stay where they were, so that what lists them stays true; a video is not among them.
    stripped = [_jpeg_without_place(parsed)]
    while (start := parsed.rest.find(b"\xff\xd8\xff")) >= 0:
        if len(stripped) > 2 * _FURTHER_MAX:
            raise Refused(f"more than {_FURTHER_MAX} pictures follow the first, and strip-originals looks into each")
        parsed = jpeg.parse(parsed.rest[start:])
        stripped += [bytes(start), _jpeg_without_place(parsed)]
    return b"".join(stripped)


def _jpeg_without_place(parsed: Jpeg) -> bytes:
    segments = tuple(Segment(each.marker, _without_place(each.payload)) for each in parsed.segments)
    return Jpeg(segments, parsed.scans, b"").to_bytes()


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
            orientation, adobe_rgb = exif.orientation(segment.payload), exif.is_adobe_rgb(segment.payload)
            if orientation != 1 or adobe_rgb:
                yield Segment(jpeg.APP1, jpeg.EXIF + exif.telling_only(orientation, adobe_rgb=adobe_rgb))
        elif segment.payload.startswith(jpeg.ICC) or jpeg.tells_colours(segment):
            yield segment


# -- PNG ---------------------------------------------------------------------------------------------------------------

_PNG_SHOWS = {
    b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"bKGD", b"pHYs",
    b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP = b"XML:com.adobe.xmp"


def _png(content: bytes, strip: Strip) -> bytes:
    parts, last = [png.SIGNATURE], b""
    for chunk in png.chunks(content):
        if chunk.is_critical() and not chunk.is_intact():
            raise Refused(f"the PNG is damaged: the checksum of {chunk.kind.decode('latin-1')!r} is wrong")
        last, kept = chunk.kind, _png_chunk(chunk.kind, bytes(chunk.data), strip)
        if kept is not None:
            checksum = zlib.crc32(kept, zlib.crc32(chunk.kind))
            parts += [len(kept).to_bytes(4, "big"), chunk.kind, kept, checksum.to_bytes(4, "big")]
    if last != b"IEND":
        raise Refused("the PNG ends before its last chunk")
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


# -- WebP --------------------------------------------------------------------------------------------------------------

_WEBP_SHOWS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP")


def _webp(content: bytes, strip: Strip) -> bytes:
    if 8 + int.from_bytes(content[4:8], "little") > len(content) + 1:  # the last padding byte is often missing
        raise Refused("the WebP ends before its last chunk")
    parts = [
        (kind, kept) for kind, data in webp.chunks(content) if (kept := _webp_chunk(kind, data, strip)) is not None
    ]
    kinds = {kind for kind, _ in parts}
    flags = (webp.HAS_EXIF if b"EXIF" in kinds else 0) | (webp.HAS_XMP if b"XMP " in kinds else 0)
    for at, (kind, data) in enumerate(parts):
        if kind == b"VP8X" and data:
            parts[at] = kind, bytes([data[0] & ~(webp.HAS_EXIF | webp.HAS_XMP) | flags]) + data[1:]
    return webp.join(parts)


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

_GIF_SHOWS = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
_GIF_XMP = b"XMP DataXMP"


def _gif(content: bytes, strip: Strip) -> bytes:
    kept = [block.content for block in gif.blocks(content) if not _gif_drops(block, strip)]
    return b"".join([gif.screen(content), *kept, gif.END])


def _gif_drops(block: gif.Block, strip: Strip) -> bool:
    is_application = block.label == gif.APPLICATION
    if strip == "gps":
        return is_application and block.name == _GIF_XMP
    return block.label == gif.COMMENT or (is_application and block.name not in _GIF_SHOWS)


# -- AVIF --------------------------------------------------------------------------------------------------------------


def _avif(content: bytes, strip: Strip) -> bytes:
    """Orientation is not EXIF's here but a property of the picture, so nothing of it is needed."""
    if strip == "gps":
        return bmff.overwritten(content, exif.without_place_in_exif, exif.without_place_in_xmp)
    return bmff.overwritten(content, lambda tiff: exif.nothing(len(tiff)), lambda xmp: b" " * len(xmp))
