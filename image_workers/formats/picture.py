"""What every format makes of its bytes: a picture whose side data were read, and whose pixels wait to be decoded."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Picture:
    """`size` is width and height as stored, before `orientation` (EXIF's 1 to 8) turns it.

    `profile` is an ICC profile, None for sRGB. It is the file's own or made of what else the file tells of its colours,
    and may be broken.

    `decode` returns the pixels as L, LA, RGB, RGBA or CMYK: of the first frame, if there are more. It is given the
    least width and height of use (as stored), and a JPEG may come out at a half, a quarter or an eighth of its size, no
    smaller than one of both. It raises `Refused` if the data are damaged or not all there, whatever else it raises
    means the same, but for `MemoryError`.
    """

    kind: str
    size: tuple[int, int]
    orientation: int
    profile: bytes | None
    decode: Callable[[tuple[int, int]], Image.Image]
    animated: bool = False
    fit_for_guetzli: bool = False
    """Whether it is a JPEG of a kind that guetzli reads: YCbCr with full colour (4:4:4) or a quarter of it (4:2:0)."""
