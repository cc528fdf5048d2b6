"""What a thumbnail is to be, and how large it comes out. Arithmetic alone: no pixels, no settings.

No picture is enlarged: where a form asks for more than there is, it gets what there is.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Fit = Literal["fit", "fill", "crop"]
Format = Literal["jpeg", "webp", "avif", "png"]
Size = tuple[int, int]
Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Form:
    """One thumbnail, at most `width` pixels wide, and at most `height` high if that is given.

    `fit` shows the whole picture. So does `fill`, whose rest of `width` times `height` is filled with the background;
    `crop` cuts off what would stand over on two sides. Both need a height. `quality` is the encoder's, 1 to 100.
    """

    width: int
    height: int | None = None
    fit: Fit = "fit"
    format: Format = "jpeg"
    quality: int = 80

    def whole(self, picture: Size) -> Size:
        """The size of the whole picture at the scale of this form, before anything is cut off or filled up."""
        if self.fit == "crop":
            width, height = self.made(picture)
            scale = max(width / picture[0], height / picture[1])
            return max(width, round(picture[0] * scale)), max(height, round(picture[1] * scale))
        width = min(self.width, picture[0])
        height = max(1, round(picture[1] * width / picture[0]))
        if self.height is not None and height > self.height:
            height = self.height
            width = max(1, round(picture[0] * height / picture[1]))
        return width, height

    def made(self, picture: Size) -> Size:
        """The size of the thumbnail."""
        if self.fit == "fit" or self.height is None:
            return self.whole(picture)
        if self.fit == "fill":
            return self.width, self.height
        scale = min(1.0, picture[0] / self.width, picture[1] / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


@dataclass(frozen=True, slots=True)
class Recipe:
    """The thumbnails of one picture, and what they have in common.

    `encoder` makes the JPEGs. `background` takes the place of transparency where the format has none, and is what
    `fill` fills up with. `linear` makes them small in linear light.
    """

    forms: tuple[Form, ...]
    encoder: Literal["jpegli", "pillow"] = "pillow"
    background: Colour = WHITE
    linear: bool = False

    def largest(self, picture: Size) -> Size:
        """The size of the whole picture for the largest of the forms."""
        return max(form.whole(picture) for form in self.forms)

    def plain(self) -> dict[str, Any]:
        """As plain values, for another process."""
        return asdict(self)

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        forms = tuple(Form(**form) for form in values["forms"])
        return cls(forms, values["encoder"], tuple(values["background"]), values["linear"])
