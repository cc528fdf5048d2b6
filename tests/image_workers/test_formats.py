"""WebP, GIF, AVIF and HEIC, cut and turned; and which format a file is, by its brands."""

import io
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_workers import formats, metadata, pictures
from image_workers.declared import declared
from image_workers.errors import Refused
from image_workers.formats import gif, webp
from image_workers.pictures import content_type
from tests.image_workers.conftest import PICTURES
from tests.image_workers.made import thumbnail

Picture = Callable[[str], bytes]

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "WebP": ("WEBP", "RGB", {}),
    "lossless WebP": ("WEBP", "RGB", {"lossless": True}),
    "WebP with alpha": ("WEBP", "RGBA", {}),
    "GIF": ("GIF", "P", {}),
    "AVIF": ("AVIF", "RGB", {}),
    "AVIF with alpha": ("AVIF", "RGBA", {}),
}


@cache
def made(kind: str) -> bytes:
    saved_as, mode, options = KINDS[kind]
    output = io.BytesIO()
    with Image.open(PICTURES / "photo.webp") as photo:
        image = photo.convert("RGB").resize((120, 68))
        if mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.convert(mode).save(output, saved_as, **options)
    return output.getvalue()


def pixels(content: bytes) -> bytes:
    picture = formats.opened(content)
    return picture.decode(picture.size).tobytes()


def end_of_pixels(content: bytes) -> int:
    """Where what the last pixels are made of ends: before GIF's end code, its terminator and its end mark."""
    return len(content) - (5 if content.startswith(b"GIF") else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_was_cut_is_refused(kind: str) -> None:
    content = made(kind)
    cuts = random.Random(kind)
    for _ in range(60):
        cut = cuts.randrange(12, end_of_pixels(content) - 3)
        with pytest.raises(Refused):
            thumbnail(content[:cut], width=60, quality=80, max_pixels=10**6)


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "AVIF with alpha"])
def test_a_picture_that_was_filled_up_with_zeros_is_refused(kind: str) -> None:
    content = made(kind)
    for part in (1, 2, 3):
        cut = len(content) * part // 4
        with pytest.raises(Refused):
            thumbnail(content[:cut] + bytes(len(content) - cut), width=60, quality=80, max_pixels=10**6)


@pytest.mark.parametrize("options", [{"quality": 80}, {"quality": 100, "method": 0}])
@pytest.mark.parametrize("saved_as", ["WEBP", "AVIF", "JPEG", "GIF"])
def test_white_below_a_photograph_is_no_damage(saved_as: str, options: dict[str, Any]) -> None:
    image = Image.new("RGB", (1000, 1500), "white")
    with Image.open(PICTURES / "photo.webp") as photo:
        image.paste(photo.resize((1000, 560)))
    output = io.BytesIO()
    image.save(output, saved_as, **options)
    assert thumbnail(output.getvalue(), width=60, quality=80, max_pixels=10**7)


def test_a_gif_that_lacks_only_its_end_is_whole() -> None:
    content = made("GIF")
    for missing in (1, 2):
        assert pixels(content[:-missing]) == pixels(content)


def test_a_gif_whose_rows_end_before_its_blocks_do_is_refused() -> None:
    content = made("GIF")
    (image,) = [block.content for block in gif.blocks(content) if block.label == 0]
    start = content.index(image)
    at = start + 11
    while at < start + len(image) // 2:
        at += 1 + content[at]
    for tail in (b"\0;", b"\0" + image + b";"):  # the next image's data are not taken for this one's
        with pytest.raises(Refused, match="truncated"):
            thumbnail(content[:at] + tail, width=60, quality=80, max_pixels=10**6)


def test_a_webp_whose_sizes_are_wrong_but_whose_picture_is_whole_is_shown() -> None:
    content = made("WebP")
    assert pixels(content[:4] + b"\xff\xff\xff\x7f" + content[8:]) == pixels(content)
    canvas = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + (119).to_bytes(3, "little") + (67).to_bytes(3, "little")
    cut_text = b"XMP \xff\xff\0\0not all of it"
    parts = canvas + content[12:] + cut_text
    assert pixels(b"RIFF" + (len(parts) + 4).to_bytes(4, "little") + b"WEBP" + parts) == pixels(content)


def test_a_webp_s_size_is_known_before_room_is_made_for_it() -> None:
    output = io.BytesIO()
    Image.new("RGB", (2000, 3000)).save(output, "WEBP", lossless=True)
    for content in (output.getvalue(), made("WebP"), made("WebP with alpha")):
        with Image.open(io.BytesIO(content)) as image:
            assert formats.opened(content).size == image.size
        with pytest.raises(Refused, match=f"{image.width} x {image.height} pixels are more than the 99 allowed"):
            thumbnail(content, width=10, quality=80, max_pixels=99)
    kinds = [kind for kind, _ in webp.chunks(made("WebP with alpha"))]
    assert kinds[0] == b"VP8X", "each way of telling the size was there"


def test_only_the_first_frame_is_looked_at(picture: Callable[[str], bytes]) -> None:
    for name in ("animated.gif", "animated.webp"):
        content = picture(name)
        assert formats.opened(content).animated
        cut = content[: len(content) - len(content) // 4]
        first = formats.opened(cut)
        with Image.open(io.BytesIO(content)) as image:
            assert first.decode(first.size).convert("RGB").tobytes() == image.convert("RGB").tobytes()


def shown(content: bytes) -> Image.Image:
    picture = formats.opened(content)
    return Image.open(io.BytesIO(thumbnail(content, width=picture.size[0], quality=100, max_pixels=10**6)))


def test_where_a_gif_s_first_image_does_not_cover_the_screen_it_is_transparent() -> None:
    output = io.BytesIO()
    Image.new("P", (20, 10), 0).save(output, "GIF", palette=bytes((200, 0, 0)) + bytes(9))
    content = bytearray(output.getvalue())
    at = content.index(b",\0\0\0\0\x14\0\x0a\0")
    content[6:10] = bytes((40, 0, 30, 0))
    content[at + 1 : at + 5] = bytes((8, 0, 8, 0))
    image = shown(bytes(content))
    assert image.size == (40, 30)
    assert image.getpixel((1, 1)) == image.getpixel((36, 26)) == (255, 255, 255)
    assert image.getpixel((18, 13)) == pytest.approx((200, 0, 0), abs=4)


@pytest.mark.parametrize("flags", [0x02, 0x12])
def test_where_a_webp_s_first_frame_does_not_cover_the_canvas_it_is_transparent(flags: int) -> None:
    output = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 0, 0)).save(output, "WEBP", lossless=True)
    three = [number.to_bytes(3, "little") for number in (4, 4, 19, 9, 100)]  # a half of left and top; sizes less one
    frame = b"".join(three) + b"\0" + output.getvalue()[12:]
    canvas = bytes((flags, 0, 0, 0)) + (39).to_bytes(3, "little") + (29).to_bytes(3, "little")
    image = shown(webp.join([(b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame), (b"ANMF", frame)]))
    assert image.size == (40, 30)
    assert image.getpixel((1, 1)) == image.getpixel((36, 26)) == (255, 255, 255)
    assert image.getpixel((18, 13)) == pytest.approx((200, 0, 0), abs=4)


# -- AVIF --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_own_properties(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    output = io.BytesIO()
    Image.new("RGB", (64, 48)).save(output, "AVIF", exif=exif)
    assert formats.opened(output.getvalue()).orientation == orientation


def branded(major: bytes, *others: bytes) -> bytes:
    content = made("AVIF")
    old = int.from_bytes(content[:4], "big")
    brands = major + bytes(4) + b"".join(others)
    assert old == 8 + len(brands), "so that no offset in the file changes"
    return content[:4] + b"ftyp" + brands + content[old:]


@pytest.mark.parametrize(
    "brands",
    [
        (b"avif", b"mif1", b"miaf", b"MA1B", b"avif"),
        (b"mif1", b"miaf", b"MA1B", b"avif", b"mif1"),
        (b"miaf", b"mif1", b"MA1B", b"avif", b"miaf"),
        (b"MA1B", b"mif1", b"avif", b"miaf", b"MA1B"),
    ],
)
def test_any_brand_makes_an_avif_and_not_the_major_one_alone(brands: tuple[bytes, ...]) -> None:
    content = branded(*brands)
    assert content_type(content[:4096]) == "image/avif"
    assert pixels(content) == pixels(made("AVIF"))


class TestHeic:
    """Of pillow-heif, which also makes them here."""

    def heic(self, image: Image.Image | None = None, **options: Any) -> bytes:
        output = io.BytesIO()
        pillow_heif.from_pillow(image or self.flag()).save(output, quality=95, **options)
        return output.getvalue()

    def flag(self) -> Image.Image:
        image = Image.new("RGB", (300, 100), "white")
        image.paste("red", (0, 0, 100, 100))
        image.paste("blue", (200, 0, 300, 100))
        return image

    def shown(self, content: bytes) -> Image.Image:
        return Image.open(io.BytesIO(thumbnail(content, width=300, quality=95, max_pixels=10**6)))

    @pytest.mark.parametrize("brands", [(b"heic", b"mif1", b"heic", b"miaf", b"    "), (b"mif1",) * 4 + (b"heic",)])
    def test_any_brand_makes_one(self, brands: tuple[bytes, ...]) -> None:
        assert content_type(branded(*brands)[:4096]) == "image/heic"

    def test_it_is_shown(self) -> None:
        shown = self.shown(self.heic())
        assert shown.size == (300, 100)
        for at, colour_ in ((50, (255, 0, 0)), (150, (255, 255, 255)), (250, (0, 0, 255))):
            assert shown.getpixel((at, 50)) == pytest.approx(colour_, abs=4)

    def test_it_is_turned_upright_once(self) -> None:
        tags = Image.Exif()
        tags[0x0112] = 6
        shown = self.shown(self.heic(exif=tags.tobytes()))
        assert shown.size == (100, 300)
        assert shown.getpixel((50, 50)) == pytest.approx((255, 0, 0), abs=4), "left is on top"

    def test_its_transparency_and_its_grays_are_known(self) -> None:
        image = self.flag()
        image.putalpha(0)
        assert self.shown(self.heic(image)).getpixel((50, 50)) == pytest.approx((255, 255, 255), abs=2)
        assert self.shown(self.heic(Image.new("L", (300, 100), 99))).getpixel((50, 50)) == pytest.approx(
            (99, 99, 99), abs=3
        )

    def test_its_colour_profile_counts(self, picture: Picture) -> None:
        profile = Image.open(io.BytesIO(picture("icc-swapped-primaries.jpg"))).info["icc_profile"]
        shown = self.shown(self.heic(icc_profile=profile)).getpixel((50, 50))
        assert isinstance(shown, tuple)
        assert shown[0] < 128, "its red is another colour"

    def test_a_high_dynamic_range_is_refused(self) -> None:
        content = self.heic()
        at = content.index(b"nclx")
        with pytest.raises(Refused, match="high dynamic range"):
            self.shown(content[: at + 6] + b"\0\x10" + content[at + 8 :])

    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_one_that_did_not_arrive_whole_is_refused(self, share: float) -> None:
        noise = self.heic(Image.effect_noise((300, 100), 80).convert("RGB"))
        cut = round(len(noise) * share)
        for content in (noise[:cut], noise[:cut] + bytes(len(noise) - cut)):
            with pytest.raises(Refused, match="damaged"):
                self.shown(content)

    def test_its_pixels_are_counted_before_it_is_decoded(self) -> None:
        with pytest.raises(Refused, match="300 x 100 pixels are more than the 1000 allowed"):
            thumbnail(self.heic(), width=10, quality=80, max_pixels=1000)
        said = declared(self.heic())
        assert (said.kind, said.pixels) == ("image/heic", 30_000)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_damage_is_refused_or_shown_and_nothing_else(self, data: st.DataObject) -> None:
        content = bytearray(self.heic())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        with suppress(Refused):
            thumbnail(bytes(content), width=50, quality=80, max_pixels=1_000_000)

    def test_without_its_package_the_words_say_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        content = self.heic()
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        assert not pictures.can_open("image/heic")
        with pytest.raises(Refused, match=r"a HEIC picture, .*: pip install 'periodicd\[heic\]'"):
            self.shown(content)


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x18ftypisom\0\0\0\0isommp42", b"\0\0\0\x08ftyp", b"\xff\xff\xff\xffftypxxxx"]
)
def test_a_video_is_no_picture(start: bytes) -> None:
    assert content_type(start) == "application/octet-stream"


@pytest.mark.parametrize(
    ("pieces", "reason"), [(40, "larger than the file"), (11_000, "more than 10000 items and pieces")]
)
@pytest.mark.parametrize("use", [formats.opened, lambda content: metadata.stripped(content, "gps")])
def test_an_avif_whose_items_are_said_to_be_larger_than_the_file_is_refused_and_not_read(
    use: Callable[[bytes], object], pieces: int, reason: str
) -> None:
    output = io.BytesIO()
    Image.new("RGB", (64, 48)).save(output, "AVIF", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    content = bytearray(output.getvalue()) + bytes(1000)
    whole = bytes(4) + len(content).to_bytes(4, "big")
    entries = b"".join(bytes((0, item, 0, 0)) + pieces.to_bytes(2, "big") + whole * pieces for item in (1, 2))
    at = content.index(b"iloc") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    location = content[at + 4 : at + 14] + (2).to_bytes(2, "big") + entries
    content[at : at + size] = (len(location) + 4).to_bytes(4, "big") + location
    meta = content.index(b"meta") - 4
    grown = int.from_bytes(content[meta : meta + 4], "big") + len(location) + 4 - size
    content[meta : meta + 4] = grown.to_bytes(4, "big")
    with pytest.raises(Refused, match=reason):
        use(bytes(content))
