"""From the bytes of a picture to a thumbnail, and to what guetzli can read. Pure: no files, no network, no settings.

The bytes come from strangers. What decides is the content, never the name: five formats are opened, and the number of
pixels is checked before anything is decoded (also before `draft`, which changes the size that Pillow tells). Every
error in decoding is `Refused`: the bytes are in memory, so trying again would end the same. `MemoryError` is not.

A result is what a viewer would show: turned upright, in sRGB, transparency on white, the first frame of an animation,
and without any metadata.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

from PIL import Image, ImageChops, ImageCms, ImageStat, JpegImagePlugin, UnidentifiedImageError

from image_workers.errors import Refused

# Pillow's own guard is for the whole process and only warns at first; here each picture is checked by itself.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
_JPEGS = ("JPEG", "MPO")
"""MPO is Pillow's word for a JPEG with more pictures after the first, as many phones write them."""

_MAX_JPEG_SIDE = 65_500
_FULL_COLOUR_QUALITY = 90
"""From here on colours are kept at full resolution (4:4:4): who asks for such quality wants to see it, and guetzli,
which compresses what it is given, saves several times as much of such a picture."""
_PROGRESSIVE_WIDTH = 500
_ORIENTATION_TAG = 0x0112
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
    """The media type of a file by its first bytes (16 suffice)."""
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return "application/octet-stream"


def thumbnail(content: bytes, *, width: int, quality: int, max_pixels: int) -> bytes:
    """A JPEG of the picture, `width` pixels wide, or as wide as the picture if that is less; `quality` is 1 to 100.

    Raises `Refused` if the content is not a picture that can be decoded, or has more than `max_pixels` pixels.
    """
    with _decoding(content, max_pixels) as image:
        shown_width, shown_height = _shown_size(image)
        width = min(width, shown_width)
        height = max(1, round(shown_height * width / shown_width))
        if height > _MAX_JPEG_SIDE:
            raise Refused(f"the thumbnail would be {height} pixels high; a JPEG has {_MAX_JPEG_SIDE} at most")
        shown = _rendered(image, (width, height))
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
    with _decoding(content, None) as image:
        if image.format not in (*_JPEGS, "PNG"):
            raise LeftAsIs(f"{image.format} is not compressed, only JPEG and PNG are")
        if image.width * image.height > max_pixels:
            raise LeftAsIs(f"{image.width} x {image.height} pixels are more than the {max_pixels} to be compressed")
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise LeftAsIs("an animation is not compressed")
        if image.format in _JPEGS and _readable_by_guetzli(image):
            return Compressible(content, image.width, image.height)
        if _has_transparency(image):
            raise LeftAsIs("a picture with transparency is not compressed")
        shown = _rendered(image, _shown_size(image))
        output = io.BytesIO()
        shown.save(output, "PNG", compress_level=1)
        return Compressible(output.getvalue(), shown.width, shown.height)


def check_jpeg(content: bytes, width: int, height: int) -> None:
    """Raise `Refused` unless the content is a whole JPEG of this size."""
    with _decoding(content, width * height) as image:
        if image.format != "JPEG" or image.size != (width, height):
            raise Refused(f"it is a {image.format} of {image.width} x {image.height} pixels")
        image.load()


@contextmanager
def _decoding(content: bytes, max_pixels: int | None) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise Refused(f"{image.width} x {image.height} pixels are more than the {max_pixels} allowed")
            yield image
    except (Refused, LeftAsIs, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Refused("the content is not a JPEG, PNG, WebP, GIF or AVIF picture") from None
    except Exception as error:
        # Decoders raise many kinds of errors on hostile bytes: OSError, SyntaxError, ValueError, struct.error, ...
        raise Refused(f"the picture cannot be decoded: {error}") from error


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF, of which there are many kinds, does not spoil a picture
        return 1
    return orientation if orientation in _TRANSPOSITIONS else 1


def _shown_size(image: Image.Image) -> tuple[int, int]:
    lying = _orientation(image) >= 5
    return (image.height, image.width) if lying else image.size


def _rendered(image: Image.Image, shown_size: tuple[int, int]) -> Image.Image:
    """The picture as it is shown, in RGB, without metadata."""
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    lying = orientation >= 5
    size = shown_size[::-1] if lying else shown_size
    if image.format in _JPEGS:
        # Decodes at 1/2, 1/4 or 1/8. 1 for the other side: rounding there must not forbid a scale that fits the width.
        image.draft(None, (1, size[1]) if lying else (size[0], 1))
    shown = _plain(image)
    if shown.size != size:
        shown = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if orientation != 1:
        shown = shown.transpose(_TRANSPOSITIONS[orientation])
    shown = _in_srgb(_opaque(shown), profile)
    shown.info.clear()
    return shown


def _plain(image: Image.Image) -> Image.Image:
    """The decoded picture in a mode that can be resized: L, LA, RGB, RGBA or CMYK."""
    image.load()
    if image.mode.startswith("I"):  # 16 bits of gray; a plain conversion cuts off at 255 and so turns it white
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("1", "L"):
        return image.convert("LA" if image.has_transparency_data else "L")
    if image.mode in ("LA", "RGBA", "CMYK"):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    background = Image.new(image.mode.removesuffix("A"), image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for another kind of picture: viewers ignore it too
        else:
            assert converted is not None  # only None when asked to change the picture in place
            return converted
    return image.convert("RGB")


def _has_transparency(image: Image.Image) -> bool:
    plain = _plain(image)
    return plain.mode in ("LA", "RGBA") and plain.getchannel("A").getextrema() != (255, 255)


def _readable_by_guetzli(image: Image.Image) -> bool:
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode != "RGB":
        return False
    stored_as_rgb = image.info.get("adobe_transform") == 0 or [layer[0] for layer in image.layer] == [*b"RGB"]
    full_or_half_colour = JpegImagePlugin.get_sampling(image) in (0, 2)  # 4:4:4, 4:2:0
    looks_the_same = _orientation(image) == 1 and _is_srgb(image.info.get("icc_profile"))
    return full_or_half_colour and not stored_as_rgb and looks_the_same


def _is_srgb(profile: bytes | None) -> bool:
    """By what it does: no profile, a broken one, or one that changes colours by less than can be seen."""
    levels = (0, 85, 170, 255)
    colours = Image.frombytes("RGB", (64, 1), bytes(level for colour in product(levels, repeat=3) for level in colour))
    change = ImageStat.Stat(ImageChops.difference(colours, _in_srgb(colours, profile)))
    return max(most for _, most in change.extrema) <= 3
