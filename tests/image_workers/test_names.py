"""Names are taken or refused, never changed; and no two pictures share a file or an object."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from image_workers.errors import ConfigError, Refused
from image_workers.names import MAX_NAME_BYTES, Layout, check_name

LAYOUT = Layout(
    "guetzli",
    {"_fw1024.jpg": "resize-image", "_fw64.jpg": "resize-image", "-s": "small/square", "_fw64.webp": "resize-image"},
)

HOSTILE = {
    "": "empty",
    "/etc/passwd": "absolute",
    "..": "'..'",
    "../x.jpg": "'..'",
    "a/../../x.jpg": "'..'",
    "a/..": "'..'",
    ".": "'.'",
    "a/./x.jpg": "'.'",
    "a//x.jpg": "''",
    "a/": "''",
    "//x": "absolute",
    "..\\x.jpg": "backslash",
    "C:\\x.jpg": "backslash",
    "a\0.jpg": "control",
    "a\n.jpg": "control",
    "a\x7f.jpg": "control",
    "a\x85.jpg": "control",
    "\ud800.jpg": "Unicode",
    "é" * 128: "256 bytes",
    ".incoming/x": "unfinished",
    "a/.incoming": "unfinished",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(Refused, match=HOSTILE[name].replace(".", r"\.")):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["x.jpg", "2024/11/x.jpg", ".hidden", "...", "..x", "x..", "%2e%2e/x", "日本/照片.jpg", "a b", "~", "-rf"]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "thumbnail"),
    [
        ("x.jpg", "x_fw64.jpg"),
        ("2024/x.jpg", "2024/x_fw64.jpg"),
        ("x.png", "x.png~_fw64.jpg"),
        ("x.JPG", "x_fw64.JPG"),
        ("x.jpeg", "x_fw64.jpeg"),
        ("x.JPEG", "x_fw64.JPEG"),
        ("x~.JPG", "x~.JPG~_fw64.jpg"),
        ("x", "x~_fw64.jpg"),
        ("x~.jpg", "x~.jpg~_fw64.jpg"),
        ("x.png.jpg", "x.png_fw64.jpg"),
        ("a/x.jpg", "a/x_fw64.jpg"),
        ("b/x.jpg", "b/x_fw64.jpg"),
    ],
)
def test_the_files_and_keys_of_a_picture(name: str, thumbnail: str) -> None:
    file = LAYOUT.thumbnail(name, "_fw64.jpg")
    assert file == f"resize-image/{thumbnail}"
    assert LAYOUT.key(name) == name
    assert LAYOUT.key(file) == thumbnail
    assert LAYOUT.compressed(name) == f"guetzli/{name}"
    assert LAYOUT.compressed(file) == f"guetzli/{thumbnail}"
    assert LAYOUT.original(file) == (name, "_fw64.jpg")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("guetzli/x.jpg", "results only"),
        ("guetzli", "results only"),
        ("resize-image/x.jpg", "results only"),
        ("small/square/x.jpg", "results only"),
        ("x_fw64.jpg", "marks a thumbnail"),
        ("a/x-s", "marks a thumbnail"),
        ("x_fw64.JPG", "marks a thumbnail"),
        ("x_fw64.jpeg", "marks a thumbnail"),
        ("x" * 232 + ".jpg", "is 236 bytes long; 235 are allowed, its folders included"),
        ("照" * 77 + ".png", "is 235 bytes long; 230 are allowed"),
        ("照" * 100 + ".jpg", "is 304 bytes long; 235 are allowed, its folders included"),
    ],
)
def test_a_name_that_belongs_to_results_is_no_original(name: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        LAYOUT.check_original(name)


def test_the_longest_name_leaves_room_for_all_results() -> None:
    longest = "x" * 231 + ".jpg"
    LAYOUT.check_original(longest)
    assert len(LAYOUT.thumbnail(longest, "_fw1024.jpg")) == MAX_NAME_BYTES


def test_room_is_needed_for_the_compressed_forms_too() -> None:
    of_original = Layout("g" * 50, {})
    of_thumbnail = Layout("g" * 50, {"_fw64.jpg": "r"})
    of_original.check_original("x" * 204)
    of_thumbnail.check_original("x" * 195 + ".jpg")
    for layout, name, size in [(of_original, "x" * 205, 204), (of_thumbnail, "x" * 196 + ".jpg", 199)]:
        with pytest.raises(Refused, match=f"{size + 1} bytes long; {size} are allowed"):
            layout.check_original(name)


@pytest.mark.parametrize(
    "name",
    [
        "x_fw64.jpg",
        "resize-image/x.jpg",
        "resize-image",
        "guetzli",
        "small/square/x_fw64.jpg",
        "guetzli/guetzli/x.jpg",
        "guetzli/resize-image/x_fw64.jpg",
        "../x.jpg",
    ],
)
def test_a_file_that_no_picture_has_has_no_key(name: str) -> None:
    with pytest.raises(Refused):
        LAYOUT.key(name)


def test_what_is_compressed_is_not_compressed_again_and_only_that_has_a_source() -> None:
    with pytest.raises(Refused, match="compressed already"):
        LAYOUT.compressed("guetzli/x.jpg")
    with pytest.raises(Refused, match="not compressed"):
        LAYOUT.source("x.jpg")


def test_a_suffix_that_is_not_a_jpeg_s_leaves_the_other_spellings_whole() -> None:
    thumbnails = [LAYOUT.thumbnail(name, "-s") for name in ("x.jpg", "x.JPG", "x.jpeg", "x.png")]
    assert thumbnails == [f"small/square/{name}" for name in ("x-s", "x.JPG~-s", "x.jpeg~-s", "x.png~-s")]


names = st.text(st.sampled_from("ax/.~_-sjpgfw1024é\0"), max_size=24).flatmap(
    lambda name: st.sampled_from([".jpg", ".JPG", ".jpeg"]).map(lambda ending: name + ending)
) | st.text(st.sampled_from("ab/.~jpg"), max_size=8)


@given(st.lists(names, min_size=2, max_size=8, unique=True))
@example(["x.jpg", "x.JPG", "x.jpeg", "x.JPEG", "x~.JPG", "x.JPG~", "x~.jpeg", "x.jpeg.jpg", "x.jpg.jpeg"])
@example(["x.png", "x.jpg", "x", "x~", "x~.jpg", "x~~.jpg", "x.jpg~", "x.jpg.jpg", "x~.jpg~"])
def test_no_two_results_share_a_file_or_a_key(candidates: list[str]) -> None:
    originals = []
    for name in candidates:
        try:
            LAYOUT.check_original(name)
        except Refused:
            continue
        originals.append(name)
    assume(originals)
    uncompressed = originals + [LAYOUT.thumbnail(name, s) for name in originals for s in LAYOUT.thumbnail_folders]
    compressed = [LAYOUT.compressed(name) for name in uncompressed]
    assert len({*uncompressed, *compressed}) == 2 * len(uncompressed)
    assert len({LAYOUT.key(name) for name in uncompressed}) == len(uncompressed)
    assert [LAYOUT.key(name) for name in compressed] == [LAYOUT.key(name) for name in uncompressed]
    assert [LAYOUT.source(name) for name in compressed] == uncompressed
    for name in originals:
        for suffix in LAYOUT.thumbnail_folders:
            assert LAYOUT.original(LAYOUT.thumbnail(name, suffix)) == (name, suffix)
            assert LAYOUT.picture(LAYOUT.compressed(LAYOUT.thumbnail(name, suffix))) == name
    for name in uncompressed + compressed:
        check_name(name)


@pytest.mark.parametrize(
    "name",
    ["x.jpg", "guetzli/x_fw64.jpg", "resize-image/x.jpg", "resize-image/x~_fw64.JPG", "resize-image/x.jpg~_fw64.webp"],
)
def test_what_is_no_thumbnail_was_made_of_nothing(name: str) -> None:
    with pytest.raises(Refused):
        LAYOUT.original(name)


@pytest.mark.parametrize(
    ("compressed", "thumbnails", "reason"),
    [
        ("out", {"_1.jpg": "out/thumbs"}, "'out/thumbs' is inside the output 'out'"),
        ("out/guetzli", {"_1.jpg": "out"}, "'out/guetzli' is inside the output 'out'"),
        ("out", {"_1.jpg": "out"}, "'out' is inside the output 'out'"),
        ("g", {"_1.jpg": "a", "_2.jpg": "a/b"}, "inside"),
        ("g", {"_fw1.jpg": "a", "1.jpg": "b"}, "'_fw1.jpg' ends with the suffix '1.jpg'"),
        ("g", {"_1.jpeg": "a", "_1.jpg": "b"}, "'_1.jpeg' ends with the suffix '_1.jpg'"),
        ("g", {"_1.jpg": "a", "peg": "b"}, "'_1.jpg' ends with the suffix 'peg'"),
    ],
)
def test_a_layout_in_which_results_could_collide_is_refused(
    compressed: str, thumbnails: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        Layout(compressed, thumbnails)
