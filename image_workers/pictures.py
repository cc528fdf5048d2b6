"""From the bytes of a picture to thumbnails, and to what guetzli can read. Pure: no files, no network, no settings.

The bytes come from strangers. What decides is the content, never the name, and of the content the pixels: all of them
must be there and undamaged, as far as a format can tell, and nothing else spoils a picture. The number of pixels is
checked before anything is decoded. Every error in decoding is `Refused`: the bytes are in memory, so trying again would
end the same. `MemoryError` is not.

A result is what a viewer would show: turned upright, in sRGB, the first frame of an animation, and without any
metadata; transparent where the format can be, else on a background.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from image_workers import colour, formats
from image_workers.errors import Refused
from image_workers.formats.picture import Picture
from image_workers.making import encoders, scaling
from image_workers.making.forms import WHITE, Recipe
from image_workers.making.scaling import Linear, Pixels, Plain

# Pillow's own guard is for the whole process and only warns at first; here each picture is checked by itself.
Image.MAX_IMAGE_PIXELS = None

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


def content_type(start: bytes) -> str:
    """The media type of a file by its first bytes: 4096 suffice."""
    return formats.media_type(start)


def can_open(kind: str) -> bool:
    """Whether pictures of this media type are opened; those of HEIC only if its package is installed."""
    return formats.can_open(kind)


def thumbnails(content: bytes, recipe: Recipe, max_pixels: int) -> list[bytes]:
    """A file for each of the recipe's forms, all of them from one decoding.

    Raises `Refused` if the content is not a picture that can be decoded, or has more than `max_pixels` pixels.
    """
    with _decoding(content, max_pixels) as picture:
        made = {
            number: encoders.encoded(image, recipe.forms[number], recipe)
            for number, image in scaling.thumbnails(_upright(picture, recipe), _shown_size(picture), recipe)
        }
        return [made[number] for number in range(len(recipe.forms))]


def thumbnail_pixels(
    content: bytes, recipe: Recipe, number: int, max_pixels: int, max_made_pixels: int
) -> Compressible:
    """The pixels of the thumbnail of that number, as they were before an encoder made them fewer bytes.

    Raises `LeftAsIs` if they are more than `max_made_pixels`; `Refused` as `thumbnails` does.
    """
    with _decoding(content, max_pixels) as picture:
        size = _shown_size(picture)
        width, height = recipe.forms[number].made(size)
        if width * height > max_made_pixels:
            raise LeftAsIs(f"{width} x {height} pixels are more than the {max_made_pixels} to be compressed")
        image = dict(scaling.thumbnails(_upright(picture, recipe), size, recipe))[number]
        return Compressible(encoders.lossless(image, recipe.background), width, height)


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
        shown = _in_srgb(pixels, picture)
        if picture.orientation != 1:
            shown = shown.transpose(_TRANSPOSITIONS[picture.orientation])
        return Compressible(encoders.lossless(shown, WHITE), shown.width, shown.height)


def check_jpeg(content: bytes, width: int, height: int) -> None:
    """Raise `Refused` unless the content is a whole JPEG of this size."""
    with _decoding(content, width * height) as picture:
        if picture.kind != "JPEG" or picture.size != (width, height):
            raise Refused(f"it is a {picture.kind} of {picture.size[0]} x {picture.size[1]} pixels")
        picture.decode(picture.size)


def decoded_jpeg(content: bytes) -> Image.Image:
    """All pixels of a JPEG, as they are stored. Raises `Refused` unless it is a whole one."""
    with _decoding(content, None) as picture:
        if picture.kind != "JPEG":
            raise Refused(f"it is a {picture.kind}")
        return picture.decode(picture.size)


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


def _upright(picture: Picture, recipe: Recipe) -> Pixels:
    """The picture as it is shown, in RGB or RGBA, at the scale of the largest form."""
    lying = picture.orientation >= 5
    shown = recipe.largest(_shown_size(picture))
    size = shown[::-1] if lying else shown
    pixels: Pixels
    if recipe.linear:
        pixels = Linear.small(_in_srgb(picture.decode(picture.size), picture), size)
    else:
        # 1 for the other side: rounding there must not forbid a scale of decoding that fits the width.
        small = Plain(picture.decode((1, size[1]) if lying else (size[0], 1))).resized(size)
        pixels = Plain(_in_srgb(small.image, picture))
    return pixels if picture.orientation == 1 else pixels.transposed(_TRANSPOSITIONS[picture.orientation])


def _in_srgb(image: Image.Image, picture: Picture) -> Image.Image:
    """In RGB, or RGBA if something of it is transparent."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.convert(image.mode.removesuffix("A"))
    shown = colour.to_srgb(image, picture.profile)
    shown.info.clear()
    if alpha is not None and alpha.getextrema() != (255, 255):
        shown.putalpha(alpha)
    return shown
