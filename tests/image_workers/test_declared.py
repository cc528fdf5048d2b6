"""What is read in headers, against what Pillow says of the same pictures; and that no bytes are too strange for it."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from image_workers.declared import Declared, declared
from tests.image_workers.hostile import WEBP_OF_64_MEGAPIXELS, gif_that_understates, progressive

PICTURES = Path(__file__).parent.parent / "pictures"
SAMPLES = sorted(path.name for path in PICTURES.iterdir() if path.suffix != ".md")
NONE = ("empty.jpg", "not-an-image.jpg", "svg-script.jpg")


def size(content: bytes) -> tuple[int, int]:
    said = declared(content)
    return said.width, said.height


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in NONE])
def test_the_size_is_the_one_that_pillow_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(PICTURES / name) as image:
        assert size((PICTURES / name).read_bytes()) == image.size


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_picture_declares_nothing(name: str) -> None:
    assert declared((PICTURES / name).read_bytes()).pixels == 0


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    output = io.BytesIO()
    Image.new(mode, (300, 200)).save(output, kind, **options)
    return output.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved("WEBP"),
        saved("WEBP", lossless=True),
        saved("WEBP", "RGBA", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        saved("WEBP", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")]),
        saved("AVIF"),
        saved("AVIF", "RGBA"),
        saved("AVIF", save_all=True, append_images=[Image.new("RGB", (300, 200), "red")]),
        saved("GIF"),
        saved("PNG", "I;16"),
    ],
)
def test_each_kind_of_header_is_read(content: bytes) -> None:
    assert size(content) == (300, 200)


@pytest.mark.parametrize(
    ("mode", "options", "kept"),
    [
        ("RGB", {}, 0),
        ("RGB", {"progressive": True}, 3),
        ("RGB", {"progressive": True, "subsampling": "4:2:2"}, 4),
        ("RGB", {"progressive": True, "subsampling": "4:4:4"}, 6),
        ("L", {"progressive": True}, 2),
        ("CMYK", {"progressive": True}, 8),
        ("CMYK", {}, 0),
    ],
)
def test_a_jpeg_whose_picture_comes_in_several_scans_is_kept_until_the_last(
    mode: str, options: dict[str, object], kept: float
) -> None:
    assert declared(saved("JPEG", mode, **options)) == Declared("image/jpeg", 300, 200, kept)


def test_what_looks_like_a_size_in_the_data_of_an_avif_does_not_count() -> None:
    plain = saved("AVIF")
    data = b"ispe\0\0\0\0\0\1\0\0\0\1\0\0"
    assert size(plain + (8 + len(data)).to_bytes(4, "big") + b"mdat" + data) == (300, 200)


def test_hostile_pictures_are_believed() -> None:
    assert features.check("webp")
    assert size(WEBP_OF_64_MEGAPIXELS) == (8000, 8000)
    assert declared(progressive(640, 480, 3)) == Declared("image/jpeg", 640, 480, 2)
    assert size(gif_that_understates(100, 100)) == (1, 1)


@pytest.mark.parametrize("segment", [b"\xff\xc0\0\x02", b"\xff\xfe\0\x02", b"\xff\xff\xff\xff", b"\xff\0\xff\0"])
def test_a_jpeg_of_millions_of_segments_is_not_looked_through(segment: bytes) -> None:
    """A worker that does so serves nobody else meanwhile; millions of frames took an hour."""
    assert declared(b"\xff\xd8\xff" + segment * 4_000_000).kind == "image/jpeg"


@given(start=st.sampled_from(SAMPLES), cut=st.integers(0, 200), tail=st.binary(max_size=60))
def test_whatever_the_bytes_something_is_declared(start: str, cut: int, tail: bytes) -> None:
    assert declared((PICTURES / start).read_bytes()[:cut] + tail).pixels >= 0
