"""Forms of thumbnails: their sizes, their formats, their transparency, and who encodes them."""

import io
import logging
from collections.abc import Callable
from typing import Any

import mozjpeg_lossless_optimization
import pyjpegli
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat
from PIL.JpegImagePlugin import JpegImageFile

from image_workers.errors import Refused
from image_workers.making.forms import Fit, Form, Format, Recipe
from image_workers.pictures import thumbnails

MAX_PIXELS = 64_000_000
Picture = Callable[[str], bytes]


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def made(content: bytes, *forms: Form, **common: Any) -> list[Image.Image]:
    images: list[Image.Image] = [
        Image.open(io.BytesIO(each)) for each in thumbnails(content, Recipe(forms, **common), MAX_PIXELS)
    ]
    for image in images:
        image.load()
        assert not {"exif", "icc_profile", "xmp"} & {key for key, value in image.info.items() if value}
    return images


def difference(one: Image.Image, other: Image.Image) -> float:
    """Of the worst channel, as a mean over all pixels, of 255; on white."""
    return max(ImageStat.Stat(ImageChops.difference(on_white(one), on_white(other))).mean)


def on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "picture", "size"),
    [
        (Form(100), (400, 300), (100, 75)),
        (Form(100), (50, 300), (50, 300)),
        (Form(100, 50), (400, 300), (67, 50)),
        (Form(100, 90), (400, 300), (100, 75)),
        (Form(100, 90), (40, 30), (40, 30)),
        (Form(100, 90, "fill"), (400, 300), (100, 90)),
        (Form(100, 90, "fill"), (40, 30), (100, 90)),
        (Form(100, 90, "crop"), (400, 300), (100, 90)),
        (Form(100, 100, "crop"), (400, 50), (50, 50)),
        (Form(100, 50, "crop"), (40, 300), (40, 20)),
        (Form(100), (4000, 3), (100, 1)),
        (Form(1000, 1, "crop"), (3, 4000), (3, 1)),
    ],
)
def test_how_large_a_thumbnail_comes_out(form: Form, picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert form.made(picture) == size


sides = st.integers(1, 3000)


@given(sides, sides, st.sampled_from(["fit", "fill", "crop"]), sides, sides)
def test_no_form_enlarges_a_picture_or_bends_it(width: int, height: int, fit: Fit, across: int, down: int) -> None:
    form, picture = Form(width, height, fit), (across, down)
    size, whole = form.made(picture), form.whole(picture)
    assert min(size) >= 1
    assert size[0] <= width
    assert size[1] <= height
    if fit != "fill":
        assert size[0] <= across
        assert size[1] <= down
    assert whole[0] <= across
    assert whole[1] <= down
    assert (whole[0] >= size[0] and whole[1] >= size[1]) if fit == "crop" else whole[0] <= size[0]
    scales = [whole[0] / across, whole[1] / down]
    assert max(scales) - min(scales) <= 1 / min(across, down) + 1e-9, "each side was rounded once"


# -- what they show ----------------------------------------------------------------------------------------------------


def flag() -> Image.Image:
    """Red, white and blue, of 300 x 100 pixels."""
    image = Image.new("RGB", (300, 100), "white")
    image.paste("red", (0, 0, 100, 100))
    image.paste("blue", (200, 0, 300, 100))
    return image


def test_crop_shows_the_middle_and_fill_the_whole_on_the_background() -> None:
    cropped, filled = made(
        saved(flag()), Form(50, 50, "crop", "png"), Form(60, 60, "fill", quality=95), background=(0, 255, 0)
    )
    assert difference(cropped, Image.new("RGB", (50, 50), "white")) < 3
    assert filled.size == (60, 60)
    assert filled.getpixel((30, 5)) == pytest.approx((0, 255, 0), abs=3)
    assert filled.getpixel((5, 30)) == pytest.approx((255, 0, 0), abs=3)
    assert filled.getpixel((30, 30)) == pytest.approx((255, 255, 255), abs=3)


@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_a_picture_that_lies_on_its_side_is_cut_as_it_is_shown(orientation: int) -> None:
    stored = flag() if orientation == 1 else flag().transpose(Image.Transpose({6: 2, 3: 3}[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(stored, "JPEG", exif=exif, quality=95)
    (left,) = made(content, Form(100, 20, "crop", "png"))
    assert left.size == (100, 20)
    assert left.getpixel((10, 10)) == pytest.approx((255, 0, 0), abs=6)
    assert left.getpixel((90, 10)) == pytest.approx((0, 0, 255), abs=6)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", ["progressive-444.jpg", "orientation-6.jpg", "alpha.png", "photo.avif", "cmyk.jpg"])
def test_all_from_one_decoding_look_as_each_from_its_own(picture: Picture, name: str, linear: bool) -> None:
    forms = [
        Form(48, format="png"),
        Form(300, format="png"),
        Form(100, 100, "crop", "png"),
        Form(120, 200, "fill", "png"),
    ]
    together = made(picture(name), *forms, linear=linear)
    for form, image in zip(forms, together, strict=True):
        (alone,) = made(picture(name), form, linear=linear)
        assert image.size == alone.size
        assert image.mode == alone.mode
        assert difference(image, alone) < 4


def test_a_picture_is_decoded_once_for_all_of_them(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def noting_draft(image: JpegImageFile, mode: str | None, size: tuple[int, int]) -> object:
        done = draft(image, mode, size)
        scales.append(image.size)
        return done

    monkeypatch.setattr(JpegImageFile, "draft", noting_draft)
    made(picture("extreme-desert-hike.jpg"), Form(64), Form(500), Form(100, 100, "crop"), Form(192))
    assert scales == [(960, 640)], "a quarter, which is enough for the widest"


def test_in_linear_light_half_the_light_is_half_the_light() -> None:
    stripes = Image.frombytes("RGB", (256, 256), bytes((255, 255, 255, 0, 0, 0)) * (128 * 256))
    plain, linear = (made(saved(stripes), Form(64, format="png"), linear=linear)[0] for linear in (False, True))
    assert plain.getpixel((32, 32)) == pytest.approx((128, 128, 128), abs=2)
    assert linear.getpixel((32, 32)) == pytest.approx((188, 188, 188), abs=2)


def test_linear_light_changes_no_colour_and_no_transparency() -> None:
    ramp = Image.merge("RGBA", [Image.linear_gradient("L").rotate(angle) for angle in (0, 90, 180, 270)])
    plain, linear = (made(saved(ramp), Form(256, format="png"), linear=linear)[0] for linear in (False, True))
    assert plain.mode == linear.mode == "RGBA"
    assert ImageStat.Stat(ImageChops.difference(plain.getchannel("A"), linear.getchannel("A"))).extrema[0][1] <= 1
    seen = plain.getchannel("A").point(lambda alpha: 255 if alpha > 10 else 0)
    for channel in "RGB":
        change = ImageChops.difference(plain.getchannel(channel), linear.getchannel(channel))
        assert ImageStat.Stat(change, seen).extrema[0][1] <= 1


# -- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["webp", "avif", "png"])
@pytest.mark.parametrize("name", ["alpha.png", "palette-transparent.png"])
def test_transparency_is_kept_where_the_format_can(picture: Picture, name: str, kind: Format) -> None:
    image, on_green = made(picture(name), Form(160, format=kind), Form(150, quality=95), background=(0, 255, 0))
    assert (image.format, image.mode) == (kind.upper(), "RGBA")
    alpha = image.getpixel((1, 1))
    assert isinstance(alpha, tuple)
    assert alpha[3] < 10, "the corner is transparent"
    assert on_green.getpixel((1, 1)) == pytest.approx((0, 255, 0), abs=10)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif", "png"])
def test_an_opaque_picture_has_none(picture: Picture, kind: Format) -> None:
    opaque = Image.new("RGBA", (40, 20), (9, 8, 7, 255))
    (image,) = made(saved(opaque), Form(40, format=kind))
    assert (image.format, image.mode) == (kind.upper(), "RGB")


@pytest.mark.parametrize("encoder", ["jpegli", "pillow"])
@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif", "png"])
def test_every_format_shows_the_picture(picture: Picture, kind: Format, encoder: str) -> None:
    expected, shown = made(picture("photo.webp"), Form(200, format="png"), Form(200, format=kind), encoder=encoder)
    assert difference(shown, expected) < 5


@pytest.mark.parametrize(("kind", "side"), [("jpeg", 65_501), ("webp", 16_384), ("avif", 65_536)])
def test_what_a_format_cannot_hold_is_refused_in_words(kind: Format, side: int) -> None:
    with pytest.raises(Refused, match=rf"1 x {side} pixels; {kind.upper()} has {side - 1} a side at most"):
        thumbnails(saved(Image.new("1", (1, side))), Recipe((Form(1, format=kind),)), MAX_PIXELS)


# -- jpegli ------------------------------------------------------------------------------------------------------------


def test_jpegli_needs_fewer_bytes_than_pillow(picture: Picture) -> None:
    content = picture("extreme-desert-hike.jpg")
    form = Form(500, quality=84)
    ((jpegli,), (pillow,)) = (
        thumbnails(content, Recipe((form,), encoder), MAX_PIXELS) for encoder in ("jpegli", "pillow")
    )
    assert len(jpegli) < 0.9 * len(pillow)
    assert b"\xff\xc2" in jpegli, "the lossless pass makes it progressive"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 33), (1, 65_500)])
@pytest.mark.parametrize("quality", [1, 100])
def test_jpegli_takes_every_size_and_quality(
    size: tuple[int, int], quality: int, caplog: pytest.LogCaptureFixture
) -> None:
    noise = Image.effect_noise(size, 80).convert("RGB")
    with caplog.at_level(logging.WARNING):
        (image,) = made(saved(noise), Form(size[0], quality=quality), encoder="jpegli")
    assert (image.format, image.size) == ("JPEG", size)
    assert not caplog.records


@pytest.mark.parametrize("result", [b"", b"no JPEG", b"\xff\xd8\xff\xd9"])
def test_what_jpegli_spoils_is_made_by_pillow(
    picture: Picture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, result: bytes
) -> None:
    monkeypatch.setattr(pyjpegli, "encode", lambda *_: result)
    (image,) = made(picture("photo.webp"), Form(64), encoder="jpegli")
    assert image.size == (64, 36)
    assert "so Pillow made it" in caplog.text


def test_so_is_what_its_lossless_pass_spoils(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mozjpeg_lossless_optimization, "optimize", lambda content: content[: len(content) // 2])
    (image,) = made(picture("photo.webp"), Form(64), encoder="jpegli")
    assert image.size == (64, 36)
