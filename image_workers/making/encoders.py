"""Pixels to the bytes of a picture without metadata. Which encoder makes the JPEGs is the recipe's choice.

jpegli needs a seventh fewer bytes than libjpeg for the same look, and the lossless pass of MozJPEG, which packs the
same numbers better, another fifteenth; together they take some hundredths of a second. What jpegli makes is decoded
before it counts: it comes from a small package, and a thumbnail that nobody can open is worse than a larger one.
"""

import io
import logging
from importlib.util import find_spec

from PIL import Image

from image_workers.errors import Refused
from image_workers.formats import jpeg
from image_workers.making.forms import Colour, Form, Recipe

_SIDES = {"jpeg": 65_500, "webp": 16_383, "avif": 65_535}
"""The most that a format, or its encoder, can hold."""
_FULL_COLOUR_QUALITY = 90
"""From here on Pillow's JPEGs keep their colours at full resolution (4:4:4): who asks for such quality wants to see it.
jpegli's package has 4:2:0 alone."""
_PROGRESSIVE_WIDTH = 500
_AVIF_SPEED = 6
_WEBP_METHOD = 4

_log = logging.getLogger(__name__)


def missing_for_jpegli() -> list[str]:
    """The packages that jpegli needs here and that are not installed."""
    needed = {"pyjpegli": "pyjpegli", "mozjpeg_lossless_optimization": "mozjpeg-lossless-optimization"}
    return [package for module, package in needed.items() if find_spec(module) is None]


def encoded(image: Image.Image, form: Form, recipe: Recipe) -> bytes:
    """The file, of an RGB or RGBA picture. Raises `Refused` if the format cannot hold it."""
    if max(image.size) > _SIDES.get(form.format, max(image.size)):
        raise Refused(
            f"the thumbnail would have {image.width} x {image.height} pixels; "
            f"{form.format.upper()} has {_SIDES[form.format]} a side at most"
        )
    if form.format == "jpeg":
        image = _opaque(image, recipe.background)
        return _jpegli(image, form.quality) if recipe.encoder == "jpegli" else _pillow(image, form.quality)
    if form.format == "webp":
        return _saved(image, "WEBP", quality=form.quality, method=_WEBP_METHOD)
    if form.format == "avif":
        return _saved(image, "AVIF", quality=form.quality, speed=_AVIF_SPEED)
    return _saved(image, "PNG")


def lossless(image: Image.Image, background: Colour) -> bytes:
    """A PNG, quickly made, of the pixels that a JPEG of this picture would show."""
    return _saved(_opaque(image, background), "PNG", compress_level=1)


def _pillow(image: Image.Image, quality: int) -> bytes:
    return _saved(
        image,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= _FULL_COLOUR_QUALITY else "4:2:0",
        optimize=True,
        progressive=image.width >= _PROGRESSIVE_WIDTH,
    )


def _jpegli(image: Image.Image, quality: int) -> bytes:
    import mozjpeg_lossless_optimization
    import pyjpegli

    try:
        plain: bytes = pyjpegli.encode(image.tobytes(), *image.size, quality)
        packed: bytes = mozjpeg_lossless_optimization.optimize(plain)
        content = min(plain, packed, key=len)
        jpeg.opened(content).decode(image.size)
    except (Refused, RuntimeError, ValueError, OSError) as error:
        _log.warning("jpegli made no JPEG that decodes (%s), so Pillow made it", error)
        return _pillow(image, quality)
    return content


def _opaque(image: Image.Image, background: Colour) -> Image.Image:
    if image.mode != "RGBA":
        return image
    opaque = Image.new("RGB", image.size, background)
    opaque.paste(image, mask=image.getchannel("A"))
    return opaque


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()
