"""JPEGs that were cut: whether all rows are there decides, and not the end marker."""

import io
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms

from image_workers import formats, metadata
from image_workers.config import Strip
from image_workers.errors import Refused
from image_workers.formats.jpeg import _scans
from image_workers.pictures import check_jpeg, compressible
from tests.image_workers.conftest import PICTURES
from tests.image_workers.made import thumbnail

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "full colour": ("RGB", {"subsampling": "4:4:4"}),
    "gray": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive gray": ("L", {"progressive": True}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "many restart markers": ("RGB", {"restart_marker_blocks": 3}),
    "progressive with restart markers": ("RGB", {"restart_marker_rows": 1, "progressive": True}),
}
END = b"\xff\xd9"


@cache
def jpeg(kind: str) -> bytes:
    mode, options = KINDS[kind]
    with Image.open(PICTURES / "photo.webp") as photo:
        output = io.BytesIO()
        photo.convert(mode).resize((240, 135)).save(output, "JPEG", quality=80, **options)
    return output.getvalue()


def pixels(content: bytes) -> Image.Image:
    picture = formats.opened(content)
    return picture.decode(picture.size)


def start_of_scans(content: bytes) -> int:
    return content.index(b"\xff\xda")


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_marker_alone_may_be_missing(kind: str) -> None:
    content = jpeg(kind)
    with Image.open(io.BytesIO(content)) as image:
        for whole in (content, content[:-1], content[:-2], content[:-2] + bytes(500), content + b"<html>" + END):
            assert pixels(whole).tobytes() == image.tobytes()


@pytest.mark.parametrize("strip", ["gps", "all"])
def test_a_missing_end_marker_is_given_to_what_is_stripped_or_compressed(strip: Strip) -> None:
    content = jpeg("baseline")
    assert metadata.stripped(content[:-2], strip) == metadata.stripped(content, strip)
    assert metadata.compressible(content[:-2], 10**6) == metadata.compressible(content, 10**6)


@pytest.mark.parametrize("behind", [b"", END, bytes(500)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_rows_is_refused_whatever_stands_behind_the_cut(kind: str, behind: bytes) -> None:
    content = jpeg(kind)
    cuts = random.Random(kind)
    # Of the last bytes, those that are read ahead, less than two blocks can be made: see the next test.
    for _ in range(60):
        cut = cuts.randrange(2, len(content) - 12)
        with pytest.raises(Refused, match=r"the JPEG (is damaged|ends)"):
            pixels(content[:cut] + behind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_passes_without_its_last_bytes_lacks_no_more_than_the_last_blocks(kind: str) -> None:
    content = jpeg(kind)
    whole = pixels(content)
    passed = 0
    for cut in range(3, 14):
        try:
            shown = pixels(content[:-cut] + END)
        except Refused:
            continue
        passed += 1
        box = ImageChops.difference(shown.convert("RGB"), whole.convert("RGB")).getbbox()
        assert box is None or (box[0] >= 240 - 17 and box[1] >= 135 - 9), (cut, box)
    assert passed < 11


@pytest.mark.parametrize("kind", ["progressive", "progressive with restart markers", "progressive gray"])
def test_a_scan_that_is_missing_or_cut_is_refused_though_all_the_others_are_there(kind: str) -> None:
    content = jpeg(kind)
    scans = list(_scans(content, start_of_scans(content), 0))
    assert len(scans) > 5
    for scan, following in pairwise(scans):
        with pytest.raises(Refused, match="scans are missing"):
            pixels(content[: scan.end] + END)
        half = (scan.data + scan.end) // 2
        with pytest.raises(Refused, match=r"a scan ends before its last row|rows are missing"):
            pixels(content[:half] + content[following.start :])


def test_rows_that_went_with_their_restart_marker_are_missed() -> None:
    content = jpeg("restart markers")
    second, third = content.index(b"\xff\xd1"), content.index(b"\xff\xd2")
    with pytest.raises(Refused, match="rows are missing between its restart markers"):
        pixels(content[:second] + content[third:])


def test_a_cut_jpeg_goes_nowhere() -> None:
    cut = jpeg("baseline")[:-900] + END
    for use in (
        lambda: thumbnail(cut, width=60, quality=80, max_pixels=10**6),
        lambda: compressible(cut, 10**6),
        lambda: check_jpeg(cut, 240, 135),
    ):
        with pytest.raises(Refused, match="it ends before its last row"):
            use()


def test_a_jpeg_of_many_scans_is_refused() -> None:
    content = jpeg("progressive")
    last = list(_scans(content, start_of_scans(content), 0))[-1]
    with pytest.raises(Refused, match="more than 100 scans"):
        pixels(content[: last.end] + content[last.start : last.end] * 100 + END)


@pytest.mark.parametrize(("marker", "kind"), [(0xC9, "arithmetic coding"), (0xC3, "lossless")])
def test_a_kind_that_browsers_do_not_show_is_refused_in_words(marker: int, kind: str) -> None:
    content = bytearray(jpeg("baseline"))
    content[content.index(b"\xff\xc0") + 1] = marker
    with pytest.raises(Refused, match=f"a JPEG of this kind \\({kind}\\) is not opened"):
        pixels(bytes(content))


@pytest.mark.parametrize("width", [30, 60, 120, 240])
def test_a_smaller_scale_is_checked_too(picture: Callable[[str], bytes], width: int) -> None:
    for content in (jpeg("baseline"), jpeg("progressive")):
        assert thumbnail(content, width=width, quality=80, max_pixels=10**6)
        with pytest.raises(Refused, match="is damaged"):
            thumbnail(content[:-200] + END, width=width, quality=80, max_pixels=10**6)


def test_what_stands_between_two_segments_and_is_none_is_skipped() -> None:
    content = jpeg("baseline")
    at = content.index(b"\xff\xdb")
    assert pixels(content[:at] + b"\0rubbish\xff\0\xff\xff" + content[at:]).tobytes() == pixels(content).tobytes()


def test_a_profile_in_pieces_is_put_together_or_not_there() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = jpeg("baseline")
    at = content.index(b"\xff\xdb")
    half = len(profile) // 2
    first, second = (
        b"\xff\xe2" + (len(part) + 16).to_bytes(2, "big") + b"ICC_PROFILE\0" + bytes((number, 2)) + part
        for number, part in enumerate((profile[:half], profile[half:]), 1)
    )
    assert formats.opened(content[:at] + first + second + content[at:]).profile == profile
    assert formats.opened(content[:at] + second + first + content[at:]).profile == profile
    for missing in (first, second, first + first):
        assert formats.opened(content[:at] + missing + content[at:]).profile is None
