"""The formats that are opened, one module each: what Pillow needs of a file, checked, and nothing else of it.

The bytes come from strangers, and much of a file is not its picture: texts, thumbnails, profiles, places. None of that
decides whether a picture opens, so Pillow is not shown it. What the pixels or their colours depend on is read here.
"""

from image_workers.errors import Refused
from image_workers.formats import avif, bmff, gif, heic, jpeg, png, webp
from image_workers.formats.picture import Picture

_OPENED = {
    "image/jpeg": jpeg.opened,
    "image/png": png.opened,
    "image/webp": webp.opened,
    "image/gif": gif.opened,
    "image/avif": avif.opened,
    "image/heic": heic.opened,
}
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def can_open(kind: str) -> bool:
    """Whether pictures of this media type are opened here."""
    return kind in _OPENED and (kind != "image/heic" or heic.is_installed())


def media_type(start: bytes) -> str:
    """The media type of a file by its first bytes: 16 suffice, but for AVIF and HEIC, which list their brands first."""
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith(png.SIGNATURE):
        return "image/png"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    for brand in bmff.brands(start):  # the major one first
        if brand in _AVIF:
            return "image/avif"
        if brand in _HEIC:
            return "image/heic"
    return "application/octet-stream"


def opened(content: bytes) -> Picture:
    """The picture, its pixels not yet decoded. Raises `Refused`, or what else a parser raises on hostile bytes."""
    kind = media_type(content)
    if kind not in _OPENED:
        raise Refused("the content is not a JPEG, PNG, WebP, GIF or AVIF picture")
    return _OPENED[kind](content)
