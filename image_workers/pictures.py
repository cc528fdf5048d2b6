"""From the bytes of a picture to a thumbnail, and to what guetzli can read. Pure: no files, no network, no settings.

The bytes come from strangers. What decides is the content, never the name, and of the content the pixels: all of them
must be there and undamaged, as far as a format can tell, and nothing else spoils a picture. The number of pixels is
checked before anything is decoded. Every error in decoding is `Refused`: the bytes are in memory, so trying again would
end the same. `MemoryError` is not.

A result is what a viewer would show: turned upright, in sRGB, transparency on white, the first frame of an animation,
and without any metadata.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from image_workers import colour, formats
from image_workers.errors import Refused
from image_workers.formats.picture import Picture

# Pillow's own guard is for the whole process and only warns at first; here each picture is checked by itself.
Image.MAX_IMAGE_PIXELS = None

_MAX_JPEG_SIDE = 65_500
_FULL_COLOUR_QUALITY = 90
"""From here on colours are kept at full resolution (4:4:4): who asks for such quality wants to see it, and guetzli,
which compresses what it is given, saves several times as much of such a picture."""
_PROGRESSIVE_WIDTH = 500
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class LeftAsIs(Exception):
    """The picture is in order, but it is not to be compressed; the message says why."""


@dataclass(frozen=True, slots=True)
class Compressible:
    """A picture in a form that guetzli reads: `content` is a JPEG or PNG of `width` times `height` pixels."""

    content: bytes
    width: int
    height: int


OPENED = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif"})
"""The media types of what can be opened."""


def content_type(start: bytes) -> str:
    """The media type of a file by its first bytes: 4096 suffice. `image/heic` is told, but not opened."""
    return formats.media_type(start)


def thumbnail(content: bytes, *, width: int, quality: int, max_pixels: int) -> bytes:
    """A JPEG of the picture, `width` pixels wide, or as wide as the picture if that is less; `quality` is 1 to 100.

    Raises `Refused` if the content is not a picture that can be decoded, or has more than `max_pixels` pixels.
    """
    with _decoding(content, max_pixels) as picture:
        shown_width, shown_height = _shown_size(picture)
        width = min(width, shown_width)
        height = max(1, round(shown_height * width / shown_width))
        if height > _MAX_JPEG_SIDE:
            raise Refused(f"the thumbnail would be {height} pixels high; a JPEG has {_MAX_JPEG_SIDE} at most")
        shown = _rendered(picture, (width, height))
        output = io.BytesIO()
        shown.save(
            output,
            "JPEG",
            quality=quality,
            subsampling="4:4:4" if quality >= _FULL_COLOUR_QUALITY else "4:2:0",
            optimize=True,
            progressive=width >= _PROGRESSIVE_WIDTH,
        )
        return output.getvalue()


def compressible(content: bytes, max_pixels: int) -> Compressible:
    """The picture as guetzli needs it: untouched if guetzli can read it and loses nothing that changes how it looks.

    guetzli drops all metadata, so a picture that relies on its orientation or colour profile is rendered first, as one
    is whose kind of JPEG guetzli does not read (gray, CMYK, RGB, 4:2:2). Those become a PNG, which loses nothing more.

    Raises `LeftAsIs` if the picture has more than `max_pixels` pixels, is neither JPEG nor PNG, or has transparency or
    several frames, which a JPEG has not; `Refused` if it cannot be decoded.
    """
    with _decoding(content, None) as picture:
        width, height = picture.size
        if picture.kind not in ("JPEG", "PNG"):
            raise LeftAsIs(f"{picture.kind} is not compressed, only JPEG and PNG are")
        if width * height > max_pixels:
            raise LeftAsIs(f"{width} x {height} pixels are more than the {max_pixels} to be compressed")
        if picture.animated:
            raise LeftAsIs("an animation is not compressed")
        pixels = picture.decode(picture.size)
        if picture.fit_for_guetzli and picture.orientation == 1 and colour.is_srgb(picture.profile):
            return Compressible(content, width, height)
        if pixels.mode in ("LA", "RGBA") and pixels.getchannel("A").getextrema() != (255, 255):
            raise LeftAsIs("a picture with transparency is not compressed")
        shown = _shown(pixels, picture)
        output = io.BytesIO()
        shown.save(output, "PNG", compress_level=1)
        return Compressible(output.getvalue(), shown.width, shown.height)


def check_jpeg(content: bytes, width: int, height: int) -> None:
    """Raise `Refused` unless the content is a whole JPEG of this size."""
    with _decoding(content, width * height) as picture:
        if picture.kind != "JPEG" or picture.size != (width, height):
            raise Refused(f"it is a {picture.kind} of {picture.size[0]} x {picture.size[1]} pixels")
        picture.decode(picture.size)


@contextmanager
def _decoding(content: bytes, max_pixels: int | None) -> Iterator[Picture]:
    try:
        picture = formats.opened(content)
        width, height = picture.size
        if max_pixels is not None and width * height > max_pixels:
            raise Refused(f"{width} x {height} pixels are more than the {max_pixels} allowed")
        colour.check_range(picture.profile)
        yield picture
    except (Refused, LeftAsIs, MemoryError):
        raise
    except Exception as error:
        # Decoders raise many kinds of errors on hostile bytes: OSError, SyntaxError, ValueError, struct.error, ...
        raise Refused(f"the picture cannot be decoded: {str(error) or type(error).__name__}") from error


def _shown_size(picture: Picture) -> tuple[int, int]:
    width, height = picture.size
    return (height, width) if picture.orientation >= 5 else (width, height)


def _rendered(picture: Picture, shown_size: tuple[int, int]) -> Image.Image:
    """The picture as it is shown, in this size, in RGB, without metadata."""
    lying = picture.orientation >= 5
    size = shown_size[::-1] if lying else shown_size
    # 1 for the other side: rounding there must not forbid a scale of decoding that fits the width.
    pixels = picture.decode((1, size[1]) if lying else (size[0], 1))
    if pixels.size != size:
        pixels = pixels.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _shown(pixels, picture)


def _shown(pixels: Image.Image, picture: Picture) -> Image.Image:
    if picture.orientation != 1:
        pixels = pixels.transpose(_TRANSPOSITIONS[picture.orientation])
    shown = colour.to_srgb(_opaque(pixels), picture.profile)
    shown.info.clear()
    return shown


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    background = Image.new(image.mode.removesuffix("A"), image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background
