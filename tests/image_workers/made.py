"""One thumbnail, a JPEG, as most tests want it."""

from image_workers import pictures
from image_workers.making.forms import Form, Recipe


def recipe(width: int, quality: int = 80) -> Recipe:
    return Recipe((Form(width, quality=quality),))


def thumbnail(content: bytes, *, width: int, quality: int, max_pixels: int) -> bytes:
    (made,) = pictures.thumbnails(content, recipe(width, quality), max_pixels)
    return made
