"""The pictures that mutations begin from: one of each kind, made here; those of the tests; and a folder of others."""

import io
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image

from image_workers import formats
from tests.image_workers.hostile import WEBP_OF_64_MEGAPIXELS, gif_that_understates, progressive
from tests.side_data.mutations import FORMATS

pillow_heif.register_heif_opener()  # so that Pillow saves them
OURS = Path(__file__).parent.parent / "pictures"
_BYTES_MAX = 200_000
"""Larger ones are slow, and a change in them seldom hits what matters."""
_WITH_SIDES = 5
"""Of each format, with texts, profiles and places."""

Corpus = dict[str, list[bytes]]
"""By media type."""

_MADE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": "4:4:4"}),
    ("JPEG", "RGB", {"subsampling": "4:2:2", "restart_marker_rows": 1}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("PNG", "1", {}),
    ("PNG", "L", {}),
    ("PNG", "I;16", {}),
    ("PNG", "P", {"transparency": 0}),
    ("PNG", "P", {"bits": 2}),
    ("PNG", "LA", {}),
    ("PNG", "RGB", {"transparency": (0, 0, 0)}),
    ("PNG", "RGBA", {}),
    ("PNG", "RGB", {"save_all": True}),
    ("GIF", "L", {"interlace": 1}),
    ("GIF", "P", {"transparency": 0}),
    ("GIF", "P", {"save_all": True}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("WEBP", "RGBA", {"save_all": True}),
    ("AVIF", "RGB", {"subsampling": "4:4:4"}),
    ("AVIF", "RGBA", {}),
    ("AVIF", "L", {}),
    ("AVIF", "RGB", {"save_all": True}),
    ("HEIF", "RGB", {}),
    ("HEIF", "RGBA", {}),
    ("HEIF", "L", {}),
)  # fmt: skip


def corpus(folder: Path | None = None) -> Corpus:
    """All pictures of formats that are opened, told by their content."""
    found: Corpus = {}
    for content in _contents(folder):
        kind = formats.media_type(content)
        if formats.can_open(kind) and len(content) <= _BYTES_MAX:
            found.setdefault(kind, []).append(content)
    return found


def _contents(folder: Path | None) -> Iterator[bytes]:
    yield from (_made(*each) for each in _MADE)
    yield from (with_sides(random.Random(number)) for with_sides in FORMATS.values() for number in range(_WITH_SIDES))
    yield from (WEBP_OF_64_MEGAPIXELS, gif_that_understates(64, 64), progressive(64, 64, 20))
    for files in (OURS, folder):
        if files is not None:
            yield from _files(files.rglob("*"))


def _files(paths: Iterable[Path]) -> Iterator[bytes]:
    return (path.read_bytes() for path in sorted(paths) if path.is_file())


def _made(kind: str, mode: str, options: dict[str, Any]) -> bytes:
    with Image.open(OURS / "photo.webp") as photo:
        image = photo.convert("RGB").resize((48, 36))
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    output = io.BytesIO()
    if "save_all" in options:
        image.save(output, kind, append_images=[image.rotate(90), image.rotate(180)], **options)
    else:
        tags = Image.Exif()
        tags[0x0112] = 6
        image.save(output, kind, exif=tags, **options)
    return output.getvalue()
