"""Colours that a file tells otherwise than by an ICC profile, each compared with the sRGB that it must become."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, ImageCms

from image_workers import colour, metadata
from image_workers.config import Strip
from image_workers.errors import Refused
from image_workers.pictures import compressible
from tests.image_workers.made import thumbnail

PQ, HLG, LINEAR, SRGB_CURVE, BT709_CURVE = 16, 18, 8, 13, 1
BT709, BT2020, P3 = 1, 9, 12
Colour = tuple[int, int, int]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour: Colour | int, *sides: bytes) -> bytes:
    output = io.BytesIO()
    Image.new("L" if isinstance(colour, int) else "RGB", (16, 16), colour).save(output, "PNG")
    content = output.getvalue()
    return content[:33] + b"".join(sides) + content[33:]


def cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, matrix, full_range)))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", round(100_000 / gamma).to_bytes(4, "big"))


def chrm(*points: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(point * 100_000) for point in points)))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))


def avif(colour: Colour, primaries: int, transfer: int, **options: object) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(output, "AVIF", quality=100, subsampling="4:4:4", **options)
    content = bytearray(output.getvalue())
    at = content.index(b"nclx") + 4
    content[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(content)


def shown(content: bytes) -> Colour:
    image = Image.open(io.BytesIO(thumbnail(content, width=16, quality=100, max_pixels=10_000)))
    red, green, blue = image.getpixel((8, 8))  # type: ignore[misc]
    return red, green, blue


P3_POINTS = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE_POINTS = (0.3127, 0.3290, 0.640, 0.330, 0.210, 0.710, 0.150, 0.060)
ROSE = (200, 80, 60)
# Linear light in these colours to linear light in sRGB's, as published.
FROM_P3 = ((1.22494, -0.22494, 0), (-0.04206, 1.04206, 0), (-0.01964, -0.07864, 1.09828))
FROM_BT2020 = ((1.66049, -0.58764, -0.07285), (-0.12455, 1.13290, -0.00835), (-0.01815, -0.10058, 1.11873))
FROM_ADOBE = ((1.39836, -0.39836, 0), (0, 1, 0), (0, -0.04293, 1.04293))
SAME = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def by_hand(value: Colour, gamma: float | None, to_srgb: tuple[tuple[float, float, float], ...]) -> list[float]:
    linear = [
        (v / 255) ** gamma if gamma else (v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4)
        for v in value
    ]
    light = [min(1, max(0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in to_srgb]
    return [255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in light]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(ROSE, cicp(P3, SRGB_CURVE)), by_hand(ROSE, None, FROM_P3)),
        (png(ROSE, cicp(BT2020, SRGB_CURVE)), by_hand(ROSE, None, FROM_BT2020)),
        (png(ROSE, cicp(BT709, LINEAR)), by_hand(ROSE, 1, SAME)),
        (png(55, cicp(BT709, LINEAR)), [128] * 3),
        (png(ROSE, gama(1)), by_hand(ROSE, 1, SAME)),
        (png(55, gama(1)), [128] * 3),
        (png(ROSE, gama(1.8), chrm(*P3_POINTS)), by_hand(ROSE, 1.8, FROM_P3)),
        (png(ROSE, gama(2.2), chrm(*P3_POINTS)), by_hand(ROSE, None, FROM_P3)),
        (png(ROSE, gama(563 / 256), chrm(*ADOBE_POINTS)), by_hand(ROSE, 563 / 256, FROM_ADOBE)),
        (avif(ROSE, P3, SRGB_CURVE), by_hand(ROSE, None, FROM_P3)),
        (avif(ROSE, BT709, LINEAR), by_hand(ROSE, 1, SAME)),
    ],
)
def test_colours_come_out_as_reckoned_by_hand(content: bytes, expected: list[float]) -> None:
    assert shown(content) == pytest.approx(expected, abs=2.5)


@pytest.mark.parametrize(
    "sides",
    [
        (),
        (gama(2.2),),
        (cicp(BT709, SRGB_CURVE),),
        (cicp(BT709, BT709_CURVE),),  # a camera's curve, to be looked at as it is
        (cicp(2, 2),),  # unspecified
        (cicp(250, 250),),
        (chrm(*P3_POINTS),),  # without gAMA it counts for nothing
        (chunk(b"sRGB", b"\0"), gama(1), chrm(*P3_POINTS)),
        (chunk(b"gAMA", b"\0\0\0\0"),),
        (chunk(b"gAMA", b"\0\1"),),
        (gama(1)[:-1] + b"!",),  # its checksum is wrong
        (chunk(b"cICP", b"\x0c"),),
        (cicp(P3, SRGB_CURVE, matrix=1),),  # a PNG is never YCbCr
        (gama(2.2), chrm(0, 0, 0, 0, 0, 0, 0, 0)),
        (gama(2.2), chrm(0.3, 0.3, 0.6, 0.3, 0.6, 0.3, 0.6, 0.3)),
        (chunk(b"iCCP", b"name\0\0nonsense"),),
    ],
)
def test_what_says_srgb_nothing_or_nonsense_is_srgb(sides: tuple[bytes, ...]) -> None:
    assert shown(png(ROSE, *sides)) == pytest.approx(ROSE, abs=2)


@pytest.mark.parametrize("kind_of_colour", [0, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_gray_of_every_kind_follows_its_gamma(kind_of_colour: int, bits: int) -> None:
    samples = [55 * 257, 0xFFFF][: 1 + kind_of_colour // 4]
    pixel = b"".join(struct.pack(">H", sample)[: bits // 8] for sample in samples)
    header = struct.pack(">IIBBBBB", 16, 16, bits, kind_of_colour, 0, 0, 0)
    data = zlib.compress((b"\0" + pixel * 16) * 16)
    parts = chunk(b"IHDR", header), gama(1), chunk(b"IDAT", data), chunk(b"IEND", b"")
    assert shown(b"\x89PNG\r\n\x1a\n" + b"".join(parts)) == pytest.approx((128, 128, 128), abs=1)


def test_what_is_said_best_counts() -> None:
    p3 = colour.from_codes(P3, SRGB_CURVE, gray=False)
    assert p3
    expected = pytest.approx(by_hand(ROSE, None, FROM_P3), abs=2.5)
    assert shown(png(ROSE, iccp(p3), gama(1), chunk(b"sRGB", b"\0"))) == expected
    assert shown(png(ROSE, cicp(BT2020, SRGB_CURVE), iccp(p3))) == pytest.approx(
        by_hand(ROSE, None, FROM_BT2020), abs=2.5
    )
    assert shown(png(ROSE, chunk(b"iCCP", b"name\0\0nonsense"), gama(1.8), chrm(*P3_POINTS))) == pytest.approx(
        by_hand(ROSE, 1.8, FROM_P3), abs=2.5
    )


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_a_high_dynamic_range_is_refused_in_words(transfer: int, name: str) -> None:
    for content in (png(ROSE, cicp(BT2020, transfer)), avif(ROSE, BT2020, transfer)):
        with pytest.raises(Refused, match=rf"the picture has a high dynamic range \({name}\).* save it in sRGB"):
            shown(content)


def test_the_levels_of_video_are_refused_in_words() -> None:
    with pytest.raises(Refused, match="the levels of video"):
        shown(png(ROSE, cicp(BT709, SRGB_CURVE, full_range=0)))


def test_an_avif_s_own_profile_comes_before_its_code_points() -> None:
    profile = colour.from_codes(P3, SRGB_CURVE, gray=False)
    output = io.BytesIO()
    Image.new("RGB", (64, 64), ROSE).save(output, "AVIF", quality=100, subsampling="4:4:4", icc_profile=profile)
    assert shown(output.getvalue()) == pytest.approx(by_hand(ROSE, None, FROM_P3), abs=2.5)


def test_an_avif_that_says_nothing_of_its_colours_is_srgb() -> None:
    content = avif(ROSE, P3, SRGB_CURVE).replace(b"colrnclx", b"freenclx")
    assert shown(content) == pytest.approx(ROSE, abs=3)


def with_profile(kind: str, profile: bytes | None) -> bytes:
    output = io.BytesIO()
    options = {"subsampling": "4:4:4"} if kind in ("JPEG", "AVIF") else {"lossless": True}
    Image.new("RGB", (64, 64), ROSE).save(output, kind, quality=100, icc_profile=profile, **options)
    return output.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_profile_is_heeded_in_every_format_that_can_carry_one(kind: str) -> None:
    content = with_profile(kind, colour.from_codes(P3, SRGB_CURVE, gray=False))
    assert shown(content) == pytest.approx(by_hand(ROSE, None, FROM_P3), abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_profile_of_a_high_dynamic_range_is_refused_in_words(kind: str) -> None:
    codes = b"cicp" + bytes(4) + bytes((BT2020, PQ, 0, 1))
    profile = (
        struct.pack(">I", 156) + bytes(32) + b"acsp" + bytes(88) + struct.pack(">I4sII", 1, b"cicp", 144, 12) + codes
    )
    with pytest.raises(Refused, match=r"a high dynamic range \(PQ\)"):
        shown(with_profile(kind, profile))


def camera_jpeg(interoperability: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: interoperability}
    output = io.BytesIO()
    Image.new("RGB", (64, 64), ROSE).save(output, "JPEG", quality=100, subsampling="4:4:4", exif=exif)
    return output.getvalue()


def test_a_camera_s_adobe_rgb_is_told_by_exif() -> None:
    assert shown(camera_jpeg("R03")) == pytest.approx(by_hand(ROSE, 563 / 256, FROM_ADOBE), abs=2.5)
    assert shown(camera_jpeg("R98")) == pytest.approx(ROSE, abs=2)


@pytest.mark.parametrize("strip", ["gps", "all"])
def test_a_camera_s_adobe_rgb_shows_so_it_is_not_stripped(strip: Strip) -> None:
    content = camera_jpeg("R03")
    stripped = metadata.stripped(content, strip)
    assert shown(stripped) == shown(content)
    assert Image.open(io.BytesIO(stripped)).getexif().get_ifd(0xA005)[1] == "R03"


def test_colours_that_guetzli_would_lose_are_rendered_for_it() -> None:
    rendered = compressible(camera_jpeg("R03"), 10_000).content
    assert Image.open(io.BytesIO(rendered)).getpixel((8, 8)) == pytest.approx(
        by_hand(ROSE, 563 / 256, FROM_ADOBE), abs=2.5
    )


@pytest.mark.parametrize("make", [lambda: colour.from_gamma(1.8, gray=True), colour.adobe_rgb])
def test_a_profile_that_is_made_is_one_for_others_too(make: Callable[[], bytes]) -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(make()))
    assert profile.profile.version == pytest.approx(4.3, abs=0.05)
    assert profile.profile.media_white_point_temperature == pytest.approx(5000, abs=10)
