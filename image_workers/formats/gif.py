"""A GIF as what it is made of: a screen, then blocks."""

import io
import struct
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
    """What Pillow is given is the first image alone, with what is said of its transparency.

    Where it does not cover the screen, that is transparent, as in browsers; Pillow would take the first colour.
    """
    control, first, images = b"", b"", 0
    try:
        for block in blocks(content + _ENDING):
            if block.label == 0:
                images += 1
                first = first or block.content
            elif block.label == _GRAPHIC_CONTROL and len(block.content) == _GRAPHIC_CONTROL_BYTES and not images:
                control = block.content
            if images > 1:
                break
    except Refused:
        if not images:
            raise
    if not images:
        raise Refused("the GIF holds no image")
    left, top, width, height = struct.unpack_from("<4H", first, 1)
    if not (width and height):
        raise Refused("the GIF is broken: its first image has no pixels")
    across, down = struct.unpack_from("<2H", content, 6)
    size = max(across, left + width), max(down, top + height)
    start = screen(content)
    alone = (
        start[:6] + struct.pack("<2H", width, height) + start[10:] + control + first[:1] + bytes(4) + first[5:] + END
    )
    return Picture("GIF", size, 1, None, lambda _wanted: _decoded(alone, size, (left, top)), animated=images > 1)


def _decoded(alone: bytes, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    image = GifImagePlugin.GifImageFile(io.BytesIO(alone))
    image.load()
    if image.size == size:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    canvas = Image.new("RGBA", size)
    canvas.paste(image.convert("RGBA"), place)
    return canvas
