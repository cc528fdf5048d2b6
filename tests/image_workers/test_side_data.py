"""Side data decide nothing: single cases by name, and a small run of `make sidedata`."""

import io
import struct
import zlib

import pytest
from PIL import Image

from image_workers.errors import Refused
from tests.image_workers.made import thumbnail
from tests.side_data.mutations import FORMATS, fault


@pytest.mark.parametrize("kind", FORMATS)
def test_whatever_is_in_the_side_data_the_picture_opens_and_keeps_its_pixels(kind: str) -> None:
    faults = {seed: what for seed in range(150) if (what := fault(kind, seed))}
    assert not faults, f"run one again: fault({kind!r}, {next(iter(faults))})"


def png_with(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (16, 16), (10, 200, 30)).save(output, "PNG")
    content = output.getvalue()
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return content[:33] + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum) + content[33:]


@pytest.mark.parametrize(
    "content",
    [
        png_with(b"tEXt", b"Title\0Text", 0),
        png_with(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 1_100_000)),
        png_with(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"A" * 1_100_000)),
        png_with(b"iTXt", b"k\0\0\0\0\0" + b"A" * 70_000_000),
        png_with(b"iCCP", b"k\0\0" + zlib.compress(bytes(1_100_000))),
        png_with(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000))),
        *(png_with(kind, b"\0\1") for kind in (b"gAMA", b"cHRM", b"pHYs", b"acTL", b"sRGB", b"fcTL", b"tIME")),
    ],
)
def test_a_png_whose_side_data_are_wrong_or_large_is_shown(content: bytes) -> None:
    shown = Image.open(io.BytesIO(thumbnail(content, width=16, quality=95, max_pixels=1000)))
    assert shown.getpixel((8, 8)) == pytest.approx((10, 200, 30), abs=3)


def test_what_is_really_wrong_is_named() -> None:
    content = png_with(b"tEXt", b"Title\0Text", 0)
    with pytest.raises(Refused, match="the PNG is damaged: the checksum of IDAT is wrong"):
        at = content.index(b"IDAT") + 8
        thumbnail(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], width=16, quality=95, max_pixels=1000)
