"""A HEIC, the photograph of an iPhone, if the package pillow-heif is installed (`periodicd[heic]`).

Its boxes and its colours are an AVIF's; its pixels are another codec's. libheif turns them upright itself.
"""

import io
from importlib.util import find_spec

from PIL import Image

from image_workers.errors import Refused
from image_workers.formats import avif, bmff
from image_workers.formats.picture import Picture

_PIXELS = frozenset({b"hvc1", b"grid", b"iden"})
"""Kinds of items; a gain map's recipe (tmap), EXIF (Exif) and XMP (mime) are others."""
_THREADS = 4


def is_installed() -> bool:
    return find_spec("pillow_heif") is not None


def opened(content: bytes) -> Picture:
    if not is_installed():
        raise Refused("the content is a HEIC picture, which needs one package more: pip install 'periodicd[heic]'")
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = _THREADS
    essence = bmff.essence(content, _PIXELS, avif.DROPPED)
    avif.check_ends(essence)
    file = pillow_heif.open_heif(io.BytesIO(essence.content), convert_hdr_to_8bit=True)
    image = file[file.primary_index]
    return Picture("HEIC", image.size, 1, avif.profile(essence.properties), lambda _wanted: _decoded(image))


def _decoded(image: "pillow_heif.HeifImage") -> Image.Image:  # type: ignore[name-defined]  # noqa: F821
    pixels: Image.Image = image.to_pillow()
    if pixels.mode == "RGBa":
        pixels = pixels.convert("RGBA")
    return pixels if pixels.mode in ("L", "LA", "RGB", "RGBA") else pixels.convert("RGB")
