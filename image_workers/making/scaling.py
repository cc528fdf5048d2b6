"""All sizes of a picture, each made of the next larger one (Lanczos), so that most of the work is done once.

In linear light, where half the light is half the number, small bright things keep their brightness: the numbers of an
sRGB picture are taken through its curve and back. That is slower by far, and needs the picture at its full size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

from PIL import Image, ImageMath

from image_workers.making.forms import Colour, Form, Recipe, Size

_REDUCING_GAP = 3.0
"""Pillow takes the mean of whole blocks first where three times the size is left of it: quicker, and not to be seen."""

Box = tuple[float, float, float, float]


class Pixels(Protocol):
    """A picture that can be made smaller."""

    @property
    def size(self) -> Size: ...

    def resized(self, size: Size, box: Box | None = None) -> Self: ...

    def transposed(self, how: Image.Transpose) -> Self: ...

    def shown(self) -> Image.Image:
        """As RGB or RGBA."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """The pixels as they are numbered. Pillow itself weighs colours by their alpha."""

    image: Image.Image

    @property
    def size(self) -> Size:
        return self.image.size

    def resized(self, size: Size, box: Box | None = None) -> "Plain":
        if size == self.size and box is None:
            return self
        return Plain(self.image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=_REDUCING_GAP))

    def transposed(self, how: Image.Transpose) -> "Plain":
        return Plain(self.image.transpose(how))

    def shown(self) -> Image.Image:
        return self.image


def _to_light(number: float) -> float:
    """IEC 61966-2-1, 5.2."""
    return number / 12.92 if number <= 0.04045 else ((number + 0.055) / 1.055) ** 2.4


def _to_number(light: float) -> float:
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


_STEPS = 65_535
_LIGHT = [_to_light(number / 255) * _STEPS for number in range(256)]
_NUMBERS = [round(255 * _to_number(step / _STEPS)) for step in range(_STEPS + 1)]


@dataclass(frozen=True, slots=True)
class Linear:
    """Light, one picture of floating point numbers a colour, each weighed by `alpha`, 0 to 1, if there is one."""

    bands: tuple[Image.Image, ...]
    alpha: Image.Image | None

    @classmethod
    def small(cls, image: Image.Image, size: Size) -> "Linear":
        """An sRGB picture, RGB or RGBA, in this size; one colour at a time, since they are large."""
        alpha = image.getchannel("A").point([step / 255 for step in range(256)], "F") if image.mode == "RGBA" else None
        bands = []
        for name in "RGB":
            band = image.getchannel(name).point(_LIGHT, "F")
            bands.append(_small(band if alpha is None else _product(band, alpha), size))
        return cls(tuple(bands), None if alpha is None else _small(alpha, size))

    @property
    def size(self) -> Size:
        return self.bands[0].size

    def resized(self, size: Size, box: Box | None = None) -> "Linear":
        if size == self.size and box is None:
            return self
        return Linear(
            tuple(_small(band, size, box) for band in self.bands),
            None if self.alpha is None else _small(self.alpha, size, box),
        )

    def transposed(self, how: Image.Transpose) -> "Linear":
        alpha = None if self.alpha is None else self.alpha.transpose(how)
        return Linear(tuple(band.transpose(how) for band in self.bands), alpha)

    def shown(self) -> Image.Image:
        bands = self.bands if self.alpha is None else tuple(_quotient(band, self.alpha) for band in self.bands)
        image = Image.merge("RGB", [_rounded(band, 1).point(_NUMBERS, "L") for band in bands])
        if self.alpha is not None:
            image.putalpha(_rounded(self.alpha, 255).convert("L"))
        return image


def _small(band: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    return band.resize(size, Image.Resampling.LANCZOS, box=box)


def _rounded(band: Image.Image, scale: float) -> Image.Image:
    return band.point(lambda value: value * scale + 0.5).convert("I")


def _product(band: Image.Image, alpha: Image.Image) -> Image.Image:
    return ImageMath.lambda_eval(lambda given: given["band"] * given["alpha"], band=band, alpha=alpha)  # type: ignore[no-any-return]


def _quotient(band: Image.Image, alpha: Image.Image) -> Image.Image:
    return ImageMath.lambda_eval(lambda given: given["band"] / given["alpha"], band=band, alpha=alpha)  # type: ignore[no-any-return]


def thumbnails(pixels: Pixels, picture: Size, recipe: Recipe) -> Iterator[tuple[int, Image.Image]]:
    """The number of each form and its thumbnail, RGB or RGBA, the largest first.

    `pixels` is the whole picture, upright, at the scale of the largest form; `picture` is the size that it had.
    """
    for number in sorted(range(len(recipe.forms)), key=lambda at: recipe.forms[at].whole(picture), reverse=True):
        form = recipe.forms[number]
        if form.fit == "crop":
            yield number, _cropped(pixels, form, picture).shown()
        else:
            pixels = pixels.resized(form.whole(picture))
            yield number, _filled(pixels.shown(), form.made(picture), recipe.background)


def _cropped(pixels: Pixels, form: Form, picture: Size) -> Pixels:
    """The middle of the picture, in the form's proportions."""
    made, whole = form.made(picture), form.whole(picture)
    across, down = pixels.size[0] * made[0] / whole[0], pixels.size[1] * made[1] / whole[1]
    left, top = (pixels.size[0] - across) / 2, (pixels.size[1] - down) / 2
    return pixels.resized(made, (left, top, left + across, top + down))


def _filled(image: Image.Image, size: Size, background: Colour) -> Image.Image:
    if image.size == size:
        return image
    # Transparent all around; a format that cannot be gets the background there with all else that is.
    filled = Image.new("RGBA", size, (*background, 0))
    filled.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return filled
