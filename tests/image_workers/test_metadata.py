"""What is taken out of originals and what stays: the pixels always, and what Pillow and a plain search then find."""

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import mozjpeg_lossless_optimization
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from image_workers import metadata
from image_workers.decoder import Decoder
from image_workers.errors import Refused
from image_workers.formats import exif, jpeg
from image_workers.guetzli import Guetzli
from image_workers.pictures import LeftAsIs
from tests.image_workers.hostile import out_of_range

LATITUDE, COPYRIGHT = (52.0, 31.0, 12.5), "Copyright Somebody"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description exif:GPSLatitude="52,31.2N" dc:title="Title">'
    b"<exif:GPSLongitude>13,24.3E</exif:GPSLongitude></rdf:Description></rdf:RDF></x:xmpmeta>"
)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")


def photo(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.merge("RGB", [Image.radial_gradient("L").resize(size), *[Image.linear_gradient("L").resize(size)] * 2])


def its_exif() -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Copyright] = COPYRIGHT
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = LATITUDE
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:01:02 03:04:05"
    return tags


@cache
def profile() -> bytes:
    """Made once: it tells the second in which it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(kind: str, **options: Any) -> bytes:
    output = io.BytesIO()
    options = {"exif": its_exif(), "icc_profile": profile(), "xmp": XMP, **options}
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        texts.add_text("exif:GPSLatitude", "52/1")
        texts.add_text("Title", "Title")
        options["pnginfo"] = texts
    photo().save(output, kind, **options)
    return output.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("kind", FORMATS)
def test_gps_takes_the_place_and_nothing_else(kind: str) -> None:
    content = saved(kind)
    assert opened(content).getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == LATITUDE
    stripped = metadata.stripped(content, "gps")
    image, before = opened(stripped), opened(content)
    tags = image.getexif()
    assert image.tobytes() == before.tobytes()
    assert not tags.get_ifd(ExifTags.IFD.GPSInfo)
    assert ExifTags.IFD.GPSInfo not in tags
    assert (tags[ExifTags.Base.Orientation], tags[ExifTags.Base.Copyright]) == (6, COPYRIGHT)
    assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2024:01:02 03:04:05"
    assert image.info["icc_profile"] == profile()
    for trace in (b"GPS", b"52,31", b"13,24", struct.pack("<2I", 52, 1), struct.pack(">2I", 52, 1)):
        assert trace not in stripped
    assert b"Title" in stripped
    if kind in ("JPEG", "AVIF"):
        assert len(stripped) == len(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_all_leaves_what_shows(kind: str) -> None:
    content = saved(kind)
    image = opened(stripped := metadata.stripped(content, "all"))
    assert image.tobytes() == opened(content).tobytes()
    # An AVIF's is a property of the picture; Pillow shows it as if it were EXIF's.
    assert dict(image.getexif()) == {ExifTags.Base.Orientation: 6}
    assert image.info["icc_profile"] == profile()
    for trace in (b"GPS", b"Title", b"Copyright Some", b"2024", b"xmpmeta"):
        assert trace not in stripped
    upright = metadata.stripped(saved(kind, exif=Image.Exif()), "all")
    assert not opened(upright).getexif()


@pytest.mark.parametrize("kind", FORMATS)
def test_no_leaves_every_byte(kind: str) -> None:
    assert metadata.stripped(saved(kind), "no") == saved(kind)


@pytest.mark.parametrize("strip", ["gps", "all"])
@pytest.mark.parametrize(
    "name",
    ["progressive-444.jpg", "gray.jpg", "cmyk.jpg", "icc-swapped-primaries.jpg", "orientation-6.jpg", "photo.webp",
     "photo.avif",
     "alpha.png", "palette-transparent.png", "gray-16bit.png", "rgb-16bit.png", "animated.gif", "animated.webp"],
)  # fmt: skip
def test_pixels_profile_and_animation_stay(picture: Callable[[str], bytes], name: str, strip: Any) -> None:
    before, after = opened(picture(name)), opened(metadata.stripped(picture(name), strip))
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert after.info.get("icc_profile") == before.info.get("icc_profile")
    assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
    for frame in range(getattr(before, "n_frames", 1)):
        after.seek(frame)
        before.seek(frame)
        assert after.tobytes() == before.tobytes()
    assert after.getexif().get(ExifTags.Base.Orientation, 1) == before.getexif().get(ExifTags.Base.Orientation, 1)


def test_a_second_picture_loses_its_place_too_and_stays_where_it_was() -> None:
    first, second = saved("JPEG"), saved("JPEG")
    stripped = metadata.stripped(first + second + b"a phone's video", "gps")
    assert stripped[len(first) :] == metadata.stripped(second, "gps")
    assert b"GPS" not in stripped
    assert metadata.stripped(first + second, "all") == metadata.stripped(first, "all")


def test_gif_loses_its_comment_and_keeps_looping() -> None:
    output = io.BytesIO()
    frames = [photo().convert("P"), photo().rotate(180).convert("P")]
    frames[0].save(output, "GIF", save_all=True, append_images=frames[1:], loop=3, duration=50, comment=b"a secret")
    stripped = metadata.stripped(output.getvalue(), "all")
    assert b"a secret" not in stripped
    image = opened(stripped)
    assert (image.info["loop"], image.info["duration"]) == (3, 50)


@pytest.mark.parametrize("cut", [10, 300, 900])
@pytest.mark.parametrize("kind", [*FORMATS, "GIF"])
def test_what_is_cut_off_is_refused(kind: str, cut: int) -> None:
    with pytest.raises(Refused):
        metadata.stripped(saved(kind)[:cut], "gps")


def test_a_format_that_is_not_known_is_refused_and_not_published() -> None:
    with pytest.raises(Refused, match="cannot be taken out of application/octet-stream"):
        metadata.stripped(b"a photograph", "gps")


@pytest.mark.parametrize("strip", ["gps", "all"])
def test_a_heic_loses_its_place_as_an_avif_does(strip: Any) -> None:
    output = io.BytesIO()
    pillow_heif.from_pillow(photo()).save(output, exif=its_exif().tobytes(), xmp=XMP)
    before = output.getvalue()
    assert b"GPSLatitude" in before
    after = metadata.stripped(before, strip)
    assert len(after) == len(before)
    assert b"GPSLatitude" not in after
    image = pillow_heif.open_heif(io.BytesIO(after)).to_pillow()
    assert ExifTags.IFD.GPSInfo not in image.getexif()
    assert image.getexif().get(ExifTags.Base.Copyright) == (COPYRIGHT if strip == "gps" else None)
    assert image.tobytes() == pillow_heif.open_heif(io.BytesIO(before)).to_pillow().tobytes()


@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_whatever_the_bytes_it_is_a_picture_s_bytes_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([*FORMATS, "GIF"]))
    content = bytearray(saved(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        metadata.stripped(bytes(content), data.draw(st.sampled_from(["gps", "all"])))


@given(st.binary(max_size=200).map(lambda tail: b"II*\0\x08\0\0\0" + tail))
def test_blanking_moves_nothing(tiff: bytes) -> None:
    assert len(exif.without_place_in_exif(tiff)) == len(tiff)
    exif.orientation(tiff)


@pytest.mark.parametrize("xmp", ["other:GPSLatitude='1'".encode("utf-16-le"), b"<a:GPSPosition>1"])
def test_a_place_that_is_not_understood_takes_the_rest_along(xmp: bytes) -> None:
    assert exif.without_place_in_xmp(xmp) == b" " * len(xmp)


class TestCompressedOriginals:
    def original(self, **options: Any) -> bytes:
        return saved("JPEG", quality=99, subsampling="4:4:4", comment=b"a comment", dpi=(300, 300), **options)

    async def test_metadata_is_carried_over_byte_by_byte(self, guetzli_program: str, decoder: Decoder) -> None:
        original = self.original()
        result = await Guetzli(guetzli_program).compress(metadata.compressible(original, 1_000_000), decoder.check_jpeg)
        compressed = metadata.carried_over(original, result)
        kept = [segment for segment in jpeg.parse(original).segments if segment.is_metadata()]
        assert [segment for segment in jpeg.parse(compressed).segments if segment.is_metadata()] == kept
        image, before = opened(compressed), opened(original)
        assert len(compressed) < len(original)
        assert image.getexif()[ExifTags.Base.Orientation] == 6
        assert image.getexif()[ExifTags.Base.Copyright] == COPYRIGHT
        assert image.info["icc_profile"] == profile()
        assert (image.info["dpi"], image.info["comment"]) == ((300, 300), b"a comment")
        assert image.size == before.size, "it is not turned twice"
        most = max(abs(a - b) for a, b in zip(image.tobytes(), before.tobytes(), strict=True))
        assert most < 40

    @pytest.mark.parametrize("name", ["gray.jpg", "cmyk.jpg"])
    def test_what_would_have_to_be_converted_stays(self, picture: Callable[[str], bytes], name: str) -> None:
        with pytest.raises(LeftAsIs, match="does not read this kind of JPEG"):
            metadata.compressible(picture(name), 64_000_000)

    @pytest.mark.parametrize("rest", [saved("JPEG"), b"a phone's video"])
    def test_what_follows_the_picture_is_not_lost(self, rest: bytes) -> None:
        with pytest.raises(LeftAsIs, match="more than one picture"):
            metadata.compressible(self.original() + rest, 1_000_000)

    def test_an_mpo_keeps_both_of_its_pictures(self) -> None:
        output = io.BytesIO()
        photo().save(output, "MPO", save_all=True, append_images=[photo()])
        with pytest.raises(LeftAsIs, match="more than one picture"):
            metadata.compressible(output.getvalue(), 1_000_000)

    def test_a_png_stays(self) -> None:
        with pytest.raises(LeftAsIs, match="only JPEGs"):
            metadata.compressible(saved("PNG"), 1_000_000)


class TestRepackedOriginals:
    """The same pixels in fewer bytes."""

    @pytest.mark.parametrize(
        "name",
        [
            "gray.jpg",
            "cmyk.jpg",
            "orientation-6.jpg",
            "progressive-444.jpg",
            "icc-swapped-primaries.jpg",
            "polyglot.jpg",
        ],
    )
    def test_every_kind_of_jpeg_keeps_its_pixels_and_what_goes_with_them(
        self, picture: Callable[[str], bytes], name: str
    ) -> None:
        original = picture(name)
        if name == "polyglot.jpg":  # a page behind the picture
            with pytest.raises(LeftAsIs, match="more than one picture"):
                metadata.repacked(original)
            return
        result = metadata.repacked(original)
        before, after = opened(original), opened(result)
        assert len(result) < 1.02 * len(original), "some were made by the same encoder"
        assert (after.mode, after.tobytes()) == (before.mode, before.tobytes())
        assert after.info.get("exif") == before.info.get("exif")
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert after.info.get("adobe_transform") == before.info.get("adobe_transform")

    def test_one_of_rgb_stays_one(self) -> None:
        original = saved("JPEG", keep_rgb=True)
        assert opened(metadata.repacked(original)).tobytes() == opened(original).tobytes()

    def test_a_damaged_one_is_refused_and_not_mended(self, picture: Callable[[str], bytes]) -> None:
        with pytest.raises(Refused, match="damaged"):
            metadata.repacked(picture("truncated.jpg"))

    def test_one_that_would_show_other_pixels_stays(
        self, picture: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = picture("gray.jpg")
        monkeypatch.setattr(mozjpeg_lossless_optimization, "optimize", lambda _: other)
        with pytest.raises(LeftAsIs, match="not show the same pixels"):
            metadata.repacked(picture("progressive-444.jpg"))

    def test_one_that_the_packing_does_not_read_stays(self) -> None:
        parsed = jpeg.parse(saved("JPEG"))
        with_its_scan_twice = jpeg.join(parsed.segments, parsed.scans.removesuffix(b"\xff\xd9") + parsed.scans)
        with pytest.raises(LeftAsIs, match="cannot be packed better: MozJPEG was not able"):
            metadata.repacked(with_its_scan_twice)

    async def test_one_over_which_the_packing_ends_its_process_stays(self, decoder: Decoder) -> None:
        assert await decoder.repacked(out_of_range(11), 100)
        with pytest.raises(LeftAsIs, match=r"cannot be packed better: the child .* ended: exit status 1"):
            await decoder.repacked(out_of_range(15), 100)

    async def test_in_a_child_it_is_the_same(self, picture: Callable[[str], bytes], decoder: Decoder) -> None:
        assert await decoder.repacked(picture("cmyk.jpg"), 10**6) == metadata.repacked(picture("cmyk.jpg"))
        with pytest.raises(Refused, match="are more than the 1000 allowed"):
            await decoder.repacked(picture("cmyk.jpg"), 1000)


def test_many_pictures_behind_the_first_are_looked_into_one_after_the_other_up_to_a_number() -> None:
    one = metadata.stripped(saved("JPEG"), "gps")
    some = one * 200
    assert metadata.stripped(some, "gps") == some
    with pytest.raises(Refused, match="more than 200 pictures follow the first"):
        metadata.stripped(one * 2_000, "gps")


def avif_with_items(*counts: int) -> bytes:
    """So many XMP items in each of its lists, and each of them is all of the file."""
    content = _box(b"ftyp", b"avif" + bytes(4)) + b"".join(map(_list_of_items, counts))
    return content.replace(b"size", struct.pack(">I", len(content)))


def _list_of_items(count: int) -> bytes:
    entries = b"".join(_box(b"infe", struct.pack(">IHH4s", 2 << 24, at, 0, b"mime")) for at in range(count))
    places = b"".join(struct.pack(">HHHI", at, 0, 1, 0) + b"size" for at in range(count))
    return _box(
        b"meta",
        bytes(4)
        + _box(b"iinf", struct.pack(">IH", 0, count) + entries)
        + _box(b"iloc", struct.pack(">IHH", 0, 0x4400, count) + places),
    )


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


@pytest.mark.parametrize(
    ("counts", "reason"), [((1, 1), "more than one that lists items"), ((3000,), "items are in the same place")]
)
def test_no_item_of_an_avif_is_looked_into_twice(counts: tuple[int, ...], reason: str) -> None:
    """Each look takes the time of all the file."""
    assert metadata.stripped(avif_with_items(1), "gps") == avif_with_items(1)
    with pytest.raises(Refused, match=reason):
        metadata.stripped(avif_with_items(*counts), "gps")


@pytest.mark.parametrize("tag", [b"<exif:GPSLatitude ", b"<exif:GPSLatitude>", b"exif:GPSLatitude='", b"exif:GPS = "])
def test_tags_that_are_not_closed_are_blanked_at_once(tag: bytes) -> None:
    """They took hours, in which the worker did nothing else."""
    xmp = tag * 200_000
    assert exif.without_place_in_xmp(xmp).strip() == b""


def test_values_of_a_place_in_the_same_place_are_blanked_once() -> None:
    size, count = 2**24, 2**16 - 1
    value = struct.pack("<HHII", 2, 1, size, 0)
    place = struct.pack("<H", count) + value * count
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8825, 4, 1, 26, 0) + place
    tiff += bytes(size - len(tiff))
    assert exif.without_place_in_exif(tiff) == exif.nothing(size)
