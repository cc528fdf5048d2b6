"""A JPEG as what it is made of: segments, then scans. Bytes only: nothing is decoded here.

Written for metadata: which segments an original has, which of them guetzli's result is to have again, and whether
anything follows the picture, such as a phone's second picture or video.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from image_workers.errors import Refused

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
APP0, APP1, APP2, APP14, APP15, COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
JFIF = b"JFIF\0"
ADOBE = b"Adobe"
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
MORE_PICTURES = b"MPF\0"
ICC = b"ICC_PROFILE\0"

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""In the data of a scan; FF00 and the restart markers belong to it."""


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
    """Take the JPEG apart. Raises `Refused` if it is not whole; one that lacks its end marker alone is."""
    segments = []
    at = 2
    while True:
        while content[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(content) or content[at] != 0xFF:
            raise Refused("the JPEG ends, or is broken, before its first scan")
        if (marker := content[at + 1]) == SOS:
            break
        segment = Segment(marker, _payload(content, at))
        segments.append(segment)
        at += 4 + len(segment.payload)
    end = _end(content, at)
    return Jpeg(tuple(segments), content[at:end], content[end:])


def _payload(content: bytes, at: int) -> bytes:
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    if length < 2 or at + 2 + length > len(content):
        raise Refused("the JPEG ends in the middle of a segment")
    return content[at + 4 : at + 2 + length]


def _end(content: bytes, at: int) -> int:
    """Where the picture ends whose first scan is at `at`."""
    while match := _MARKER.search(content, at):
        if match[1][0] == EOI:
            return match.end()
        at = match.end() - 2
        at += 4 + len(_payload(content, at))
    return len(content)
