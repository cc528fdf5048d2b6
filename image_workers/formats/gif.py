"""A GIF as what it is made of: a screen, then blocks."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import GifImagePlugin, Image

from image_workers.errors import Refused
from image_workers.formats.picture import Picture

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
COMMENT, APPLICATION = 0xFE, 0xFF
_GRAPHIC_CONTROL = 0xF9
END = bytes([_END])


@dataclass(frozen=True, slots=True)
class Block:
    """`label` is the kind of an extension, 0 for an image; `name` is what an application's extension calls itself."""

    label: int
    name: bytes
    content: bytes


def screen(content: bytes) -> bytes:
    """What stands before the first block."""
    return content[: 13 + _colours(content[10])]


def blocks(content: bytes) -> Iterator[Block]:
    """Up to the end mark. Raises `Refused` if that, or a part of a block, is missing."""
    try:
        at = len(screen(content))
        while content[at] != _END:
            start = at
            if content[at] == _EXTENSION:
                label, at = content[at + 1], at + 2
            elif content[at] == _IMAGE:
                label, at = 0, at + 11 + _colours(content[at + 9])
            else:
                raise Refused(f"the GIF is broken: a block of kind {content[at]}")
            name = content[at + 1 : at + 12]
            while content[at]:
                at += 1 + content[at]
            at += 1
            yield Block(label, name, content[start:at])
    except IndexError:
        raise Refused("the GIF ends before its end mark") from None


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# -- Pixels ------------------------------------------------------------------------------------------------------------

_GRAPHIC_CONTROL_BYTES = 8
_ENDING = b"\0" + END
"""Of an image, and of a file; both may be missing if only the pixels are there."""


def opened(content: bytes) -> Picture:
    """What Pillow is given is the screen and the first image, with what is said of its transparency."""
    control, images = b"", 0
    parts: list[bytes] = []
    try:
        for block in blocks(content + _ENDING):
            if block.label == 0:
                images += 1
                parts = parts or [screen(content), control, block.content, END]
            elif block.label == _GRAPHIC_CONTROL and len(block.content) == _GRAPHIC_CONTROL_BYTES:
                control = block.content
            if images > 1:
                break
    except Refused:
        if not images:
            raise
    if not parts:
        raise Refused("the GIF holds no image")
    image = GifImagePlugin.GifImageFile(io.BytesIO(b"".join(parts)))
    return Picture("GIF", image.size, 1, None, lambda _wanted: _decoded(image), images > 1)


def _decoded(image: GifImagePlugin.GifImageFile) -> Image.Image:
    image.load()
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
