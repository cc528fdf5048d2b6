"""PNGs made bit by bit, each compared with the colours that it must have, and damaged ones, which must not pass."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from PIL import Image

from image_workers import formats
from image_workers.errors import Refused
from image_workers.pictures import LeftAsIs, compressible
from tests.image_workers.made import thumbnail

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
KINDS = [
    *((GRAY, bits) for bits in (1, 2, 4, 8, 16)),
    *((PALETTE, bits) for bits in (1, 2, 4, 8)),
    *((kind, bits) for kind in (RGB, GRAY_ALPHA, RGB_ALPHA) for bits in (8, 16)),
]
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
WIDTH, HEIGHT = 19, 13

Pixel = tuple[int, ...]
Pixels = Callable[[int, int], Pixel]


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def rows(pixels: Pixels, bits: int, interlaced: bool) -> Iterator[bytes]:
    for column, row, columns, lines in PASSES if interlaced else [(0, 0, 1, 1)]:
        for y in range(row, HEIGHT, lines):
            samples = [sample for x in range(column, WIDTH, columns) for sample in pixels(x, y)]
            if samples:
                line = "".join(f"{sample:0{bits}b}" for sample in samples)
                line += "0" * (-len(line) % 8)
                yield b"\0" + int(line, 2).to_bytes(len(line) // 8, "big")


def made(
    kind: int, bits: int, pixels: Pixels, extra: bytes = b"", *, interlaced: bool = False, data: bytes | None = None
) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, int(interlaced))
    if data is None:
        data = zlib.compress(b"".join(rows(pixels, bits, interlaced)))
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def noise(kind: int, bits: int) -> Pixels:
    values = random.Random(kind * 100 + bits)
    at = {
        (x, y): tuple(values.randrange(2**bits) for _ in range(SAMPLES[kind]))
        for x in range(WIDTH)
        for y in range(HEIGHT)
    }
    return lambda x, y: at[x, y]


def on_white(content: bytes) -> Image.Image:
    picture = formats.opened(content)
    image = picture.decode(picture.size).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def assert_shows(content: bytes, colour: Callable[[Pixel], tuple[float, ...]], pixels: Pixels) -> None:
    """`colour` is red, green, blue and opacity, each up to 1."""
    image = on_white(content)
    assert image.size == (WIDTH, HEIGHT)
    for x, y in product(range(WIDTH), range(HEIGHT)):
        red, green, blue, opacity = colour(pixels(x, y))
        expected = [255 * (value * opacity + 1 - opacity) for value in (red, green, blue)]
        assert image.getpixel((x, y)) == pytest.approx(expected, abs=2), (x, y, pixels(x, y))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits", "transparent"),
    [(*each, False) for each in KINDS] + [(*each, True) for each in KINDS if each[0] in (GRAY, RGB, PALETTE)],
)
def test_every_kind_of_png_shows_its_colours(kind: int, bits: int, transparent: bool, interlaced: bool) -> None:
    most, pixels, extra = 2**bits - 1, noise(kind, bits), b""
    key: Pixel = pixels(3, 2)
    palette = random.Random(bits).randbytes(3 * (most + 1))
    opacities = random.Random(bits + 1).randbytes((most + 1) // 2)  # of the first entries; the others are opaque
    if kind == PALETTE:
        extra += chunk(b"PLTE", palette)
    if transparent:
        extra += chunk(b"tRNS", opacities if kind == PALETTE else struct.pack(f">{len(key)}H", *key))

    def colour(pixel: Pixel) -> tuple[float, ...]:
        if kind == PALETTE:
            at = pixel[0]
            opacity = opacities[at] / 255 if transparent and at < len(opacities) else 1
            return (*(value / 255 for value in palette[3 * at : 3 * at + 3]), opacity)
        values = [value / most for value in pixel]
        opacity = values.pop() if kind in (GRAY_ALPHA, RGB_ALPHA) else float(not transparent or pixel != key)
        return (*(values if len(values) == 3 else values * 3), opacity)

    assert_shows(made(kind, bits, pixels, extra, interlaced=interlaced), colour, pixels)


@pytest.mark.parametrize(("kind", "bits"), [(GRAY, 8), (GRAY, 16), (RGB, 16)])
def test_only_the_whole_colour_is_transparent_and_not_one_that_is_close(kind: int, bits: int) -> None:
    key = (0x1234 >> 16 - bits,) * SAMPLES[kind]
    close = (*key[:-1], key[-1] ^ 1)
    transparency = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    image = on_white(made(kind, bits, lambda x, _: key if x < 9 else close, transparency))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((18, 0)) == pytest.approx((0x12,) * 3, abs=1)


def test_transparency_of_16_bit_gray_shows_white_and_keeps_guetzli_away() -> None:
    content = made(GRAY, 16, lambda x, _: (0,) if x < 9 else (40000,), chunk(b"tRNS", b"\0\0"))
    shown = Image.open(io.BytesIO(thumbnail(content, width=19, quality=100, max_pixels=1000)))
    assert shown.getpixel((2, 5)) == pytest.approx((255, 255, 255), abs=2)
    assert shown.getpixel((16, 5)) == pytest.approx((156, 156, 156), abs=2)
    with pytest.raises(LeftAsIs, match="transparency"):
        compressible(content, 1000)


# -- Damage ------------------------------------------------------------------------------------------------------------


def orange(_x: int, _y: int) -> Pixel:
    return (230, 120, 20)


RAW = b"".join(rows(orange, 8, interlaced=False))
ROW = len(RAW) // HEIGHT


def synced(raw: bytes) -> bytes:
    """A stream that was not ended, only brought to a whole byte."""
    deflate = zlib.compressobj()
    return deflate.compress(raw) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (synced(RAW[: 6 * ROW]) + b"\x07", "broken data stream"),  # a block of the kind that does not exist
        (zlib.compress(RAW)[:-4] + b"\0\0\0\0", "broken data stream.*incorrect data check"),
        (zlib.compress(RAW[: 6 * ROW]), "its data end too early"),
        (zlib.compress(RAW[:-1]), "its data end too early"),
        (zlib.compress(RAW)[:-4], "its data end too early"),
        (synced(RAW), "its data end too early"),
        (zlib.compress(b"\x05" + RAW[1:]), "its data cannot be decoded"),  # a filter that does not exist
        (b"", "its data end too early"),
    ],
)
def test_data_that_are_broken_or_too_few_are_no_picture(data: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=f"the (PNG|picture) is damaged: {reason}"):
        thumbnail(made(RGB, 8, orange, data=data), width=19, quality=80, max_pixels=1000)


def test_data_of_more_rows_than_there_are_is_a_picture() -> None:
    for data in (
        zlib.compress(RAW + RAW),
        zlib.compress(RAW + bytes(200_000)),
        zlib.compress(RAW + bytes(200_000))[:-9],
    ):
        assert on_white(made(RGB, 8, orange, data=data)).getpixel((18, 12)) == orange(0, 0)


def test_no_flipped_bit_in_the_data_passes() -> None:
    pixels = noise(RGB, 8)
    content = made(RGB, 8, pixels)
    start, end = content.index(b"IDAT"), content.index(b"IEND") - 4
    flips = random.Random(1)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[flips.randrange(start + 4, end)] ^= 1 << flips.randrange(8)
        with pytest.raises(Refused, match="the checksum of IDAT is wrong"):
            on_white(bytes(damaged))
        # And with the chunk's checksum made right: the stream has its own.
        data = bytes(damaged[start + 4 : end - 4])
        if data != content[start + 4 : end - 4]:
            with pytest.raises(Refused, match=r"the (PNG|picture) is damaged"):
                on_white(made(RGB, 8, pixels, data=data))


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_png_that_lacks_only_its_end_is_whole(cut: int) -> None:
    content = made(RGB, 8, orange)
    if cut <= 12:
        assert on_white(content[:-cut]).getpixel((18, 12)) == orange(0, 0)
    else:
        with pytest.raises(Refused, match="its data end too early"):
            on_white(content[:-cut])


@pytest.mark.parametrize("kind", [b"PLTE", b"tRNS"])
def test_a_damaged_palette_is_damage(kind: bytes) -> None:
    chunks = {b"PLTE": bytes(range(48)), b"tRNS": bytes(16)}
    extra = b"".join(chunk(each, data, 7 if each == kind else None) for each, data in chunks.items())
    with pytest.raises(Refused, match=f"the checksum of {kind.decode()} is wrong"):
        on_white(made(PALETTE, 4, noise(PALETTE, 4), extra))


def test_a_palette_that_is_missing_is_damage() -> None:
    with pytest.raises(Refused, match="it has no palette"):
        on_white(made(PALETTE, 4, noise(PALETTE, 4)))
