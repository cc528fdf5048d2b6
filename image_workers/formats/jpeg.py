"""A JPEG as what it is made of: segments, then scans; and its pixels, if they are all there.

A JPEG has no checksums, and libjpeg fills what is missing with gray and says nothing that Pillow would pass on. So each
scan is fed by itself, without the marker that ends it, and must be decoded to its end by then. Whether the file's own
end marker is there does not matter.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin

from image_workers import colour
from image_workers.errors import Refused
from image_workers.formats import exif
from image_workers.formats.codec import Codec
from image_workers.formats.picture import Picture

SOI, EOI, SOS, DRI = 0xD8, 0xD9, 0xDA, 0xDD
APP0, APP1, APP2, APP14, APP15, COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
JFIF = b"JFIF\0"
ADOBE = b"Adobe"
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
MORE_PICTURES = b"MPF\0"
ICC = b"ICC_PROFILE\0"

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""In the data of a scan; FF00 and the restart markers belong to it."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = bytes((0xFF, EOI))
_SEGMENTS_MAX = 10_000
_SCANS_MAX = 100
"""A picture of three colours has about ten; each costs the time of all pixels, however few its bytes."""


@dataclass(frozen=True, slots=True)
class Segment:
    marker: int
    payload: bytes

    def is_metadata(self) -> bool:
        return APP0 <= self.marker <= APP15 or self.marker == COMMENT

    def to_bytes(self) -> bytes:
        return bytes((0xFF, self.marker)) + (len(self.payload) + 2).to_bytes(2, "big") + self.payload


@dataclass(frozen=True, slots=True)
class Jpeg:
    """`segments` stand before the first scan; `scans` is all from there to the end marker; `rest` what follows it."""

    segments: tuple[Segment, ...]
    scans: bytes
    rest: bytes

    def to_bytes(self) -> bytes:
        return join(self.segments, self.scans) + self.rest


def join(segments: Iterable[Segment], scans: bytes) -> bytes:
    return b"".join([bytes((0xFF, SOI)), *(segment.to_bytes() for segment in segments), scans])


def parse(content: bytes) -> Jpeg:
    """Take the JPEG apart. Raises `Refused` if it is not whole; one that lacks its end marker alone is, and gets it.

    What stands between two segments and is none, which decoders skip, is left out.
    """
    segments, start = _head(content)
    *_, last = _scans(content, start, 0)
    end = last.end + len(_END) * content.startswith(_END, last.end)
    return Jpeg(segments, content[start : last.end] + _END, content[end:])


def _head(content: bytes) -> tuple[tuple[Segment, ...], int]:
    """The segments before the first scan, and where that begins."""
    segments: list[Segment] = []
    at = 2
    while len(segments) <= _SEGMENTS_MAX:
        match = _MARKER.search(content, at)
        if match is None or (marker := content[match.start() + 1]) == EOI:
            raise Refused("the JPEG ends before its first scan")
        if marker == SOS:
            return tuple(segments), match.start()
        at = _segment_end(content, match.start())
        segments.append(Segment(marker, content[match.start() + 4 : at]))
    raise Refused(f"the JPEG has more than {_SEGMENTS_MAX} segments")


def _segment_end(content: bytes, at: int) -> int:
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    if length < 2 or at + 2 + length > len(content):
        raise Refused("the JPEG ends in the middle of a segment")
    return at + 2 + length


@dataclass(frozen=True, slots=True)
class _Scan:
    """`header` is the content of its SOS segment; its coded data go from `data` to `end`.

    From `start` on there may be tables ahead of it.
    """

    start: int
    header: bytes
    data: int
    end: int
    restart_interval: int
    """MCUs between two restart markers, or 0."""


def _scans(content: bytes, at: int, restart_interval: int) -> Iterator[_Scan]:
    """The scans from `at` on, where the marker of the first one is."""
    scans, start = 0, at
    for _ in range(_SEGMENTS_MAX):
        marker, end = content[at + 1], _segment_end(content, at)
        payload = content[at + 4 : end]
        match = _MARKER.search(content, end)
        # Without an end marker, zeros at the end are no data: a file is filled up with them if not all of it arrived.
        at = match.start() if match else max(end, len(content.rstrip(b"\0")))
        if marker == DRI:
            restart_interval = int.from_bytes(payload, "big")
        elif marker == SOS:
            scans += 1
            yield _Scan(start, payload, end, at, restart_interval)
            start = at
        if scans > _SCANS_MAX:
            raise Refused(f"the JPEG has more than {_SCANS_MAX} scans")
        if match is None or content[at + 1] == EOI:
            return
    raise Refused(f"the JPEG has more than {_SEGMENTS_MAX} segments between its scans")


def tells_colours(segment: Segment) -> bool:
    """Whether a decoder needs it: JFIF and Adobe's segment tell YCbCr from RGB, and CMYK from YCCK."""
    return not segment.is_metadata() or segment.payload.startswith((JFIF, ADOBE))


# -- Pixels ------------------------------------------------------------------------------------------------------------

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
_OTHER_FRAMES = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xC9: "arithmetic coding",
    0xCA: "arithmetic coding", 0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
}  # fmt: skip
_COEFFICIENTS = 64
_TAIL = b"\xff\0" * 8
"""64 bits, which is what libjpeg reads ahead, so a scan that is whole is decoded without a marker after it. No code
consists of ones alone: whatever is missing takes 17 of these bits for each coefficient, so less than two blocks can be
made of them."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """`components` maps the number of each colour to its horizontal and vertical sampling factors."""

    progressive: bool
    width: int
    height: int
    components: dict[int, tuple[int, int]]

    def units(self, of: bytes) -> int:
        """How many MCUs a scan has of these components. ITU-T T.81, A.2."""
        across = max(horizontal for horizontal, _ in self.components.values())
        down = max(vertical for _, vertical in self.components.values())
        if len(of) > 1:
            return -(-self.width // (8 * across)) * -(-self.height // (8 * down))
        horizontal, vertical = self.components[of[0]]
        return -(-self.width * horizontal // (8 * across)) * -(-self.height * vertical // (8 * down))


def opened(content: bytes) -> Picture:
    """Raises `Refused` for a kind of JPEG that browsers do not show either."""
    segments, start = _head(content)
    frame = _frame(segments)
    needed = join((segment for segment in segments if tells_colours(segment)), b"")
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(needed + content[start : _segment_end(content, start)]))
    tags = next((each.payload for each in segments if each.payload.startswith(EXIF)), b"")
    profile = _profile(segments) or (colour.adobe_rgb() if exif.is_adobe_rgb(tags) else None)

    def decode(wanted: tuple[int, int]) -> Image.Image:
        image.draft(None, wanted)
        return _decoded(image, needed, frame, list(_scans(content, start, _restart_interval(segments))), content)

    return Picture(
        "JPEG",
        (frame.width, frame.height),
        exif.orientation(tags),
        profile,
        decode,
        fit_for_guetzli=_fit_for_guetzli(image),
    )


def _frame(segments: Iterable[Segment]) -> _Frame:
    for segment in segments:
        if kind := _OTHER_FRAMES.get(segment.marker):
            raise Refused(f"a JPEG of this kind ({kind}) is not opened, as it is by no browser; save it as usual")
        if segment.marker in (*_SEQUENTIAL, *_PROGRESSIVE):
            fields = segment.payload
            height, width = int.from_bytes(fields[1:3], "big"), int.from_bytes(fields[3:5], "big")
            components = {fields[at]: (fields[at + 1] >> 4, fields[at + 1] & 15) for at in range(6, len(fields) - 2, 3)}
            if not (width and height and components and all(map(all, components.values()))):
                raise Refused("the JPEG is damaged: its header tells no size")
            return _Frame(segment.marker in _PROGRESSIVE, width, height, components)
    raise Refused("the JPEG is damaged: it has no header")


def _profile(segments: Iterable[Segment]) -> bytes | None:
    """The ICC profile, which comes in numbered pieces. None if there is none, or not all of it."""
    start = len(ICC)
    pieces = sorted(each.payload[start:] for each in segments if each.marker == APP2 and each.payload.startswith(ICC))
    if not pieces or any(piece[:2] != bytes((at, len(pieces))) for at, piece in enumerate(pieces, 1)):
        return None
    return b"".join(piece[2:] for piece in pieces)


def _fit_for_guetzli(image: JpegImagePlugin.JpegImageFile) -> bool:
    stored_as_rgb = image.info.get("adobe_transform") == 0 or [layer[0] for layer in image.layer] == [*b"RGB"]
    return image.mode == "RGB" and not stored_as_rgb and JpegImagePlugin.get_sampling(image) in (0, 2)


def _decoded(
    image: JpegImagePlugin.JpegImageFile, needed: bytes, frame: _Frame, scans: list[_Scan], content: bytes
) -> Image.Image:
    kind, _, _, arguments = image.tile[0]
    assert isinstance(arguments, tuple)
    pixels = Image.new(image.mode, image.size, None)
    codec = Codec(pixels, kind, (*arguments, *image.decoderconfig))
    codec.feed(needed)
    view = memoryview(content)
    unfinished = {(component, at) for component in frame.components for at in range(_COEFFICIENTS)}
    for scan in scans:
        components = scan.header[1:-3:2]
        if not components or not frame.components.keys() >= set(components):
            raise Refused("the JPEG is damaged: a scan is of none of its colours")
        _check_restarts(view[scan.data : scan.end], frame.units(components), scan.restart_interval)
        codec.feed(view[scan.start : scan.end])
        waits = codec.feed(_TAIL)
        if not frame.progressive and len(components) == len(frame.components):
            if not codec.done:
                raise Refused("the JPEG is damaged: it ends before its last row")
            return pixels
        # Between two scans, any byte that begins no marker is taken and skipped; within one it has to wait for more.
        if waits or codec.feed(b"\0"):
            raise Refused("the JPEG is damaged: a scan ends before its last row")
        _finish(unfinished, components, scan.header[-3:], progressive=frame.progressive)
    if unfinished:
        raise Refused("the JPEG is damaged: scans are missing")
    codec.feed(_END)
    if not codec.done:
        raise Refused("the JPEG is damaged: it ends before its last row")
    return pixels


def _restart_interval(segments: tuple[Segment, ...]) -> int:
    return next((int.from_bytes(each.payload, "big") for each in segments[::-1] if each.marker == DRI), 0)


def _check_restarts(data: memoryview, units: int, interval: int) -> None:
    """Markers are counted modulo 8, so one that is missing shows, and with it the rows that went with it."""
    if not interval:
        return
    count = (units - 1) // interval
    found = b"".join(_RESTART.findall(data))[1 : 2 * count : 2]
    if found != (bytes(range(0xD0, 0xD8)) * (count // 8 + 1))[:count]:
        raise Refused("the JPEG is damaged: rows are missing between its restart markers")


def _finish(unfinished: set[tuple[int, int]], components: bytes, progress: bytes, *, progressive: bool) -> None:
    """Take note of what a scan brought to its last bit: its last three bytes say from which coefficient to which."""
    first, last, low = (progress[0], progress[1], progress[2] & 15) if progressive else (0, _COEFFICIENTS - 1, 0)
    band = {(component, at) for component in components for at in range(first, last + 1)}
    if low:
        unfinished |= band
    else:
        unfinished -= band
