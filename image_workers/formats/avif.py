"""An AVIF: what turns it and what its colours are, which here are properties of the picture and no EXIF's."""

import io

from PIL import AvifImagePlugin, Image

from image_workers import colour
from image_workers.errors import Refused
from image_workers.formats import bmff
from image_workers.formats.picture import Picture

_PIXELS = frozenset({b"av01", b"grid", b"sato"})
"""Kinds of items; a tone map (tmap), EXIF (Exif) and XMP (mime) are others."""
DROPPED = frozenset({b"pasp", b"clli", b"mdcv", b"cclv", b"amve", b"reve"})
_PROFILES = (b"prof", b"rICC")
_TURNED = {0: 1, 1: 8, 2: 3, 3: 6}
"""EXIF's orientation for a turn by so many quarters against the clock (irot)."""
_MIRRORED = {(0, 0): 4, (0, 1): 2, (1, 0): 5, (1, 1): 7, (2, 0): 2, (2, 1): 4, (3, 0): 7, (3, 1): 5}
"""The same, mirrored after it: top and bottom exchanged (0), or left and right (1) (imir)."""


def opened(content: bytes) -> Picture:
    essence = bmff.essence(content, _PIXELS, DROPPED)
    check_ends(essence)
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(essence.content))
    properties = dict(essence.properties)
    return Picture(
        "AVIF",
        image.size,
        _orientation(properties),
        profile(essence.properties),
        lambda _wanted: _decoded(image),
        animated=image.n_frames > 1,
    )


def check_ends(essence: bmff.Essence) -> None:
    """Raise `Refused` if an item ends in zeros, of which a sender or the file system only kept the place.

    The data of AV1, and of HEVC, close with a one. (Those of a WebP may well end so: white below a photograph.)
    """
    if any(len(end) == bmff.END_BYTES and not any(end) for end in essence.ends):
        raise Refused("the picture is damaged: its data end in zeros, so not all of it arrived")


def _orientation(properties: dict[bytes, bytes]) -> int:
    quarters = properties.get(b"irot", b"\0")[0] & 3
    if b"imir" in properties:
        return _MIRRORED[quarters, properties[b"imir"][0] & 1]
    return _TURNED[quarters]


def profile(properties: tuple[tuple[bytes, bytes], ...]) -> bytes | None:
    """An ICC profile comes first. A picture that says nothing is sRGB: ISO/IEC 23000-22, 7.3.6.4.

    Raises `Refused` for a high dynamic range.
    """
    colours = {data[:4]: data[4:] for kind, data in properties if kind == b"colr"}
    for kind in _PROFILES:
        if colours.get(kind):
            return colours[kind]
    codes = colours.get(b"nclx", b"")
    if len(codes) < 4:
        return None
    return colour.from_codes(int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:4], "big"), gray=False)


def _decoded(image: AvifImagePlugin.AvifImageFile) -> Image.Image:
    image.load()
    return image
