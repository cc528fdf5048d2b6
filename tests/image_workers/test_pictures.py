"""Thumbnails of real pictures, and of files that only claim to be pictures."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageStat
from PIL.JpegImagePlugin import JpegImageFile

from image_workers.errors import Refused
from image_workers.pictures import LeftAsIs, check_jpeg, compressible, content_type
from tests.image_workers.made import thumbnail

MAX_PIXELS = 64_000_000
Picture = Callable[[str], bytes]


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def thumb(content: bytes, width: int = 192, quality: int = 95, max_pixels: int = MAX_PIXELS) -> Image.Image:
    image = opened(thumbnail(content, width=width, quality=quality, max_pixels=max_pixels))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """Of the worst channel, as a mean over all pixels, of 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "orientation-6.jpg",
        "cmyk.jpg",
        "icc-swapped-primaries.jpg",
        "polyglot.jpg",
        "rgb-16bit.png",
        "photo.webp",
        "photo.avif",
    ],
)
def test_every_form_of_one_photograph_gives_the_same_thumbnail(picture: Picture, name: str) -> None:
    expected = thumb(picture("progressive-444.jpg"))
    shown = thumb(picture(name))
    assert shown.size == expected.size == (192, 108)
    assert difference(shown, expected) < 4


def test_a_gray_photograph_keeps_its_grays(picture: Picture) -> None:
    expected = thumb(picture("progressive-444.jpg")).convert("L").convert("RGB")
    assert difference(thumb(picture("gray.jpg")), expected) < 4


def test_16_bits_of_gray_are_a_ramp_and_not_white(picture: Picture) -> None:
    shown = thumb(picture("gray-16bit.png"), width=256).convert("L")
    ramp = [shown.getpixel((x, 8)) for x in (0, 64, 128, 192, 255)]
    assert ramp == pytest.approx([0, 64, 128, 192, 255], abs=4)


@pytest.mark.parametrize("name", ["alpha.png", "palette-transparent.png"])
def test_what_lies_under_transparency_does_not_show(picture: Picture, name: str) -> None:
    red, green, blue = thumb(picture(name), width=160).getpixel((1, 1))  # type: ignore[misc]
    assert min(red, green, blue) > 245, "the corner is transparent, so it must be white"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_colour_declared_transparent_becomes_white(mode: str) -> None:
    colour: int | tuple[int, ...] = 7 if mode == "L" else (7, 8, 9)
    content = saved(Image.new(mode, (40, 40), colour), "PNG", transparency=colour)
    assert thumb(content).getpixel((20, 20)) == (255, 255, 255)


def test_gray_with_transparency_stays_gray() -> None:
    content = saved(Image.new("LA", (40, 40), (100, 128)), "PNG")
    assert thumb(content).getpixel((20, 20)) == pytest.approx((177, 177, 177), abs=2)


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp"])
def test_an_animation_gives_its_first_frame(picture: Picture, name: str) -> None:
    whole = thumb(picture("progressive-444.jpg"), width=480)
    first = whole.crop((0, 0, 240, 270)).resize((160, 180))
    assert difference(thumb(picture(name), width=160), first) < 8


def test_only_the_first_picture_of_a_phone_s_jpeg_counts(picture: Picture) -> None:
    first = opened(picture("progressive-444.jpg"))
    content = saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (99, 99))], quality=95)
    assert difference(thumb(content), thumb(picture("progressive-444.jpg"))) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int) -> None:
    upright = Image.new("RGB", (80, 40), "white")
    upright.paste("red", (0, 0, 40, 20))
    upright.paste("blue", (40, 20, 80, 40))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = thumb(saved(stored, "JPEG", quality=95, subsampling=0, exif=exif), width=80)
    assert shown.size == (80, 40)
    assert difference(shown, upright) < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_broken_exif_does_not_spoil_a_picture(exif: bytes) -> None:
    assert thumb(saved(Image.new("RGB", (80, 40)), "JPEG", exif=exif)).size == (80, 40)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_broken_or_unfit_colour_profile_is_ignored(picture: Picture, mode: str) -> None:
    of_rgb = opened(picture("icc-swapped-primaries.jpg")).info["icc_profile"]
    plain = Image.new(mode, (80, 40))
    for profile in (b"nonsense", *([] if mode == "RGB" else [of_rgb])):
        with_profile = thumb(saved(plain, "JPEG", icc_profile=profile))
        assert difference(with_profile, thumb(saved(plain, "JPEG"))) == 0


def test_nothing_of_the_metadata_survives(picture: Picture) -> None:
    for name in ("orientation-6.jpg", "icc-swapped-primaries.jpg", "polyglot.jpg"):
        content = thumbnail(picture(name), width=192, quality=95, max_pixels=MAX_PIXELS)
        assert not set(opened(content).info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive"}
        assert b"<html>" not in content
    commented = saved(Image.new("RGB", (80, 40)), "JPEG", comment=b"private")
    assert b"private" not in thumbnail(commented, width=40, quality=95, max_pixels=MAX_PIXELS)


def test_a_height_that_rounds_to_nothing_is_one(picture: Picture) -> None:
    assert thumb(picture("very-wide-4000x3.png"), width=64).size == (64, 1)


def test_a_picture_is_never_enlarged(picture: Picture) -> None:
    assert thumb(picture("one-pixel.png"), width=500).size == (1, 1)
    assert thumb(picture("orientation-6.jpg"), width=5000).size == (960, 540)


@pytest.mark.parametrize("width", [64, 500, 1024])
def test_a_photograph_of_a_camera(picture: Picture, width: int) -> None:
    shown = thumb(picture("extreme-desert-hike.jpg"), width=width)
    assert shown.size == (width, round(width * 2 / 3))
    whole = opened(picture("extreme-desert-hike.jpg")).resize(shown.size, Image.Resampling.LANCZOS)
    assert difference(shown, whole) < 3
    assert bool(shown.info.get("progressive")) == (width >= 500)


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_wide_enough(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def noting_draft(image: JpegImageFile, mode: str | None, size: tuple[int, int]) -> object:
        done = draft(image, mode, size)
        decoded.append(image.size)
        return done

    monkeypatch.setattr(JpegImageFile, "draft", noting_draft)
    thumb(picture("extreme-desert-hike.jpg"), width=64)
    thumb(picture("orientation-6.jpg"), width=240)  # lies on its side
    thumb(saved(Image.new("RGB", (512, 379)), "JPEG"), width=128)  # 95 high: a little more than a quarter
    assert decoded == [(480, 320), (135, 240), (128, 95)]


def test_more_quality_is_more_bytes_and_full_colour_from_90_on(picture: Picture) -> None:
    contents = [
        thumbnail(picture("photo.webp"), width=192, quality=quality, max_pixels=MAX_PIXELS)
        for quality in (1, 80, 89, 90, 100)
    ]
    assert contents == sorted(contents, key=len)
    red_on_green = saved(
        Image.frombytes("RGB", (32, 32), bytes((255, 0, 0, 0, 255, 0) * 512)), "PNG"
    )  # a column each, which 4:2:0 mixes
    assert difference(thumb(red_on_green, quality=90), opened(red_on_green)) < 10
    assert difference(thumb(red_on_green, quality=89), opened(red_on_green)) > 50


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.jpg", "the JPEG is damaged: it ends before its last row"),
        ("bomb-900mp.png", "30000 x 30000 pixels are more than the 64000000 allowed"),
        ("bomb-header.png", "2147483647 x 2147483647 pixels are more"),
        ("not-an-image.jpg", "not a JPEG, PNG, WebP, GIF or AVIF"),
        ("svg-script.jpg", "not a JPEG, PNG, WebP, GIF or AVIF"),
        ("empty.jpg", "not a JPEG, PNG, WebP, GIF or AVIF"),
    ],
)
def test_what_is_no_picture_is_refused_for_good(picture: Picture, name: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        thumb(picture(name))


def test_the_pixels_are_counted_before_draft_makes_them_fewer(picture: Picture) -> None:
    # At width 64 the decoder would make an eighth of each side, which is far below this limit.
    with pytest.raises(Refused, match="960 x 540 pixels are more than the 500000 allowed"):
        thumb(picture("progressive-444.jpg"), width=64, max_pixels=500_000)


def test_a_thumbnail_too_high_for_a_jpeg_is_refused() -> None:
    with pytest.raises(Refused, match="1 x 66000 pixels; JPEG has 65500 a side at most"):
        thumb(saved(Image.new("1", (1, 66_000)), "PNG"))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_of_pillow_are_not_opened(kind: str) -> None:
    with pytest.raises(Refused, match="not a JPEG"):
        thumb(saved(Image.new("RGB", (16, 16)), kind))


def test_a_text_that_is_a_bomb_is_not_looked_at() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    png = saved(Image.new("RGB", (8, 8)), "PNG")
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000)))
    assert thumb(png[:33] + bomb + png[33:]).size == (8, 8)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_pictures_are_refused_or_shown_and_nothing_else(picture: Picture, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["one-pixel.png", "palette-transparent.png", "photo.avif", "animated.webp"]))
    content = bytearray(picture(name))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(400, len(content) - 1)))] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        thumb(bytes(content), max_pixels=1_000_000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gray.jpg", "image/jpeg"),
        ("alpha.png", "image/png"),
        ("animated.gif", "image/gif"),
        ("photo.webp", "image/webp"),
        ("photo.avif", "image/avif"),
        ("svg-script.jpg", "application/octet-stream"),
        ("empty.jpg", "application/octet-stream"),
    ],
)
def test_the_content_type_is_told_by_the_content(picture: Picture, name: str, expected: str) -> None:
    assert content_type(picture(name)[:16]) == expected


class TestCompressible:
    def test_a_jpeg_that_guetzli_reads_stays_untouched(self, picture: Picture) -> None:
        for name in ("progressive-444.jpg", "polyglot.jpg"):
            found = compressible(picture(name), 2_000_000)
            assert (found.content, found.width, found.height) == (picture(name), 960, 540)

    def test_the_jpeg_of_a_phone_is_a_jpeg(self, picture: Picture) -> None:
        first = opened(picture("progressive-444.jpg"))
        content = saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (99, 99))])
        assert compressible(content, 2_000_000).content == content

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("gray.jpg", (960, 540)),
            ("cmyk.jpg", (480, 270)),
            ("orientation-6.jpg", (960, 540)),
            ("icc-swapped-primaries.jpg", (480, 270)),
        ],
    )
    def test_a_jpeg_that_would_look_different_is_rendered(
        self, picture: Picture, name: str, size: tuple[int, int]
    ) -> None:
        found = compressible(picture(name), 2_000_000)
        assert (found.width, found.height) == size
        rendered = opened(found.content)
        assert (rendered.format, rendered.mode) == ("PNG", "RGB")
        assert difference(thumb(found.content), thumb(picture(name))) < 4

    @pytest.mark.parametrize("options", [{"subsampling": "4:2:2"}, {"keep_rgb": True}])
    def test_a_kind_of_jpeg_that_guetzli_does_not_read_is_rendered(self, options: dict[str, object]) -> None:
        content = saved(Image.new("RGB", (40, 20), "teal"), "JPEG", **options)
        assert opened(compressible(content, 2_000_000).content).format == "PNG"

    def test_an_srgb_profile_changes_nothing(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        content = saved(Image.new("RGB", (40, 20)), "JPEG", icc_profile=profile)
        assert compressible(content, 2_000_000).content == content

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("extreme-desert-hike.jpg", "3840 x 2560 pixels are more than the 2000000"),
            ("photo.webp", "WebP is not"),
            ("animated.gif", "GIF is not"),
            ("photo.avif", "AVIF is not"),
            ("alpha.png", "transparency"),
            ("palette-transparent.png", "transparency"),
        ],
    )
    def test_a_picture_that_would_lose_by_it_is_left_as_it_is(self, picture: Picture, name: str, reason: str) -> None:
        with pytest.raises(LeftAsIs, match=reason):
            compressible(picture(name), 2_000_000)

    @pytest.mark.parametrize("name", ["not-an-image.jpg", "svg-script.jpg", "empty.jpg"])
    def test_what_is_no_picture_is_refused(self, picture: Picture, name: str) -> None:
        with pytest.raises(Refused, match="not a JPEG"):
            compressible(picture(name), 2_000_000)

    def test_a_bomb_is_left_undecoded(self, picture: Picture) -> None:
        for name in ("bomb-900mp.png", "bomb-header.png"):
            with pytest.raises(LeftAsIs, match="pixels are more than"):
                compressible(picture(name), 2_000_000)

    def test_an_animated_png_is_left_and_an_opaque_one_is_not(self) -> None:
        frames = [Image.new("RGB", (40, 20), colour) for colour in ("red", "blue")]
        with pytest.raises(LeftAsIs, match="animation"):
            compressible(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), 2_000_000)
        opaque = saved(Image.new("RGBA", (40, 20), (1, 2, 3, 255)), "PNG")
        assert opened(compressible(opaque, 2_000_000).content).mode == "RGB"


class TestCheckJpeg:
    def test_it_accepts_the_whole_jpeg_only(self, picture: Picture) -> None:
        check_jpeg(picture("polyglot.jpg"), 960, 540)
        for content, width, height in [
            (picture("polyglot.jpg"), 540, 960),
            (picture("truncated.jpg"), 960, 540),
            (picture("photo.webp"), 960, 540),
            (b"", 1, 1),
        ]:
            with pytest.raises(Refused):
                check_jpeg(content, width, height)
