"""Pictures of all kinds, each with a colour of its own, and what the chain must make of each."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import ExifTags, Image, ImageCms

Colour = tuple[int, int, int]
SIZE = (180, 120)
TURNED = 6

_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_JPEG = {"quality": 90, "subsampling": "4:4:4"}


@dataclass(frozen=True)
class Picture:
    name: str
    content: bytes
    colour: Colour
    size: tuple[int, int]
    """As it is shown."""
    published: bool = True
    has_thumbnails: bool = True


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def _turned(image: Image.Image) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = TURNED
    return _saved(image, "JPEG", exif=tags, **_JPEG)


def _transparent(image: Image.Image) -> bytes:
    image.putalpha(255)
    return _saved(image, "PNG")


def _animated(kind: str) -> Callable[[Image.Image], bytes]:
    return lambda image: _saved(image, kind, save_all=True, append_images=[image.rotate(180)], duration=50)


KINDS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "baseline": (".jpg", lambda image: _saved(image, "JPEG", **_JPEG)),
    "progressive": (".JPG", lambda image: _saved(image, "JPEG", progressive=True, **_JPEG)),
    "420": (".jpeg", lambda image: _saved(image, "JPEG", quality=90, subsampling="4:2:0")),
    "cmyk": (".jpg", lambda image: _saved(image.convert("CMYK"), "JPEG", **_JPEG)),
    "icc": (".jpg", lambda image: _saved(image, "JPEG", icc_profile=_PROFILE, **_JPEG)),
    "turned": (".jpg", _turned),
    "png": (".png", lambda image: _saved(image, "PNG")),
    "alpha": (".png", _transparent),
    "palette": (".png", lambda image: _saved(image.quantize(16), "PNG")),
    "webp": (".webp", lambda image: _saved(image, "WEBP", quality=90)),
    "lossless": (".webp", lambda image: _saved(image, "WEBP", lossless=True)),
    "gif": (".gif", lambda image: _saved(image, "GIF")),
    "animated": (".gif", _animated("GIF")),
    "animated-webp": (".webp", _animated("WEBP")),
    "avif": (".avif", lambda image: _saved(image, "AVIF", quality=80)),
}
BROKEN = {
    "truncated": (".jpg", lambda image: _saved(image, "JPEG", **_JPEG)[:-900]),
    "page": (".jpg", lambda _image: b"<html><script>alert(1)</script>"),
}


def picture(number: int, rng: Random) -> Picture:
    """One of the kinds in turn, under a name that is always the same for its number; its colour is the generator's."""
    kinds = {**KINDS, **BROKEN}
    kind = list(kinds)[number % len(kinds)]
    ending, make = kinds[kind]
    colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
    image = Image.new("RGB", SIZE, colour)
    # Something to see besides, in a corner and of little weight: a plain area would hide what is upside down.
    image.paste((255 - colour[0], 255 - colour[1], 255 - colour[2]), (0, 0, 18, 12))
    name = f"{number % 7}/图 {number}{ending}"
    size = SIZE[::-1] if kind == "turned" else SIZE
    return Picture(name, make(image), colour, size, published=kind != "page", has_thumbnails=kind not in BROKEN)
