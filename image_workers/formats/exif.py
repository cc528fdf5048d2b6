"""EXIF and XMP as bytes: the orientation and colours that they tell, and the place, which can be taken out.

The place where a picture was made is blanked byte by byte: nothing else changes or moves. What cannot be understood is
blanked as a whole: who asks for this wants the place gone, whatever else goes with it.
"""

import re
import struct

_GPS_TAG = 0x8825
_ORIENTATION_TAG = 0x0112
_EXIF_TAG, _INTEROPERABILITY_TAG, _INTEROPERABILITY_INDEX_TAG = 0x8769, 0xA005, 1
_ASCII, _SHORT, _LONG = 2, 3, 4
_ADOBE_RGB = b"R03\0"
_EXIF_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY_BYTES = 12
_DIRECTORIES_MAX = 100
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each type."""

_XMP_PLACES = (
    re.compile(rb"""exif:GPS\w*\s*=\s*("[^"]*"|'[^']*')"""),
    re.compile(rb"<exif:(GPS\w*)\b[^<>]*/>"),
    re.compile(rb"<exif:(GPS\w*)\b[^<>]*>[^<]*</exif:\1\s*>"),
)
"""None looks beyond the next tag: a text of many tags that are not closed would take hours."""


def orientation(exif: bytes) -> int:
    """1 to 8; 1, which is upright, if the data, with or without its prefix, does not tell."""
    number, _ = _at(exif, ()).get(_ORIENTATION_TAG, (1, b""))
    return number if 1 <= number <= 8 else 1


def is_adobe_rgb(exif: bytes) -> bool:
    """Whether a camera says so in the one way that it has without a profile: DCF's interoperability index "R03"."""
    _, letters = _at(exif, (_EXIF_TAG, _INTEROPERABILITY_TAG)).get(_INTEROPERABILITY_INDEX_TAG, (0, b""))
    return letters == _ADOBE_RGB


def _at(exif: bytes, path: tuple[int, ...]) -> dict[int, tuple[int, bytes]]:
    """The first directory, or the one that the tags of `path` lead to: by tag, the value as a number and its 4 bytes.

    What is broken, or not there, is left out.
    """
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return {}
    entries: dict[int, tuple[int, bytes]] = {}
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    for tag in (*path, None):
        entries = _directory(tiff, order, start)
        if tag is not None:
            start, _ = entries.get(tag, (len(tiff), b""))
    return entries


def _directory(tiff: bytes, order: str, start: int) -> dict[int, tuple[int, bytes]]:
    entries: dict[int, tuple[int, bytes]] = {}
    try:
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHI4s", tiff, start + 2 + index * _ENTRY_BYTES)
            entries.setdefault(tag, (*struct.unpack_from(order + ("H" if kind == _SHORT else "I"), value), value))
    except struct.error:
        pass
    return entries


def telling_only(orientation: int, *, adobe_rgb: bool = False) -> bytes:
    """EXIF data without its prefix."""
    entries = [struct.pack("<HHIHxx", _ORIENTATION_TAG, _SHORT, 1, orientation)]
    if not adobe_rgb:
        return b"II*\0" + struct.pack("<I", 8) + _directory_of(entries)
    first = 8 + len(_directory_of([*entries, bytes(_ENTRY_BYTES)]))
    second = first + len(_directory_of([bytes(_ENTRY_BYTES)]))
    return b"".join(
        [
            b"II*\0",
            struct.pack("<I", 8),
            _directory_of([*entries, struct.pack("<HHII", _EXIF_TAG, _LONG, 1, first)]),
            _directory_of([struct.pack("<HHII", _INTEROPERABILITY_TAG, _LONG, 1, second)]),
            _directory_of([struct.pack("<HHI4s", _INTEROPERABILITY_INDEX_TAG, _ASCII, 4, _ADOBE_RGB)]),
        ]
    )


def _directory_of(entries: list[bytes]) -> bytes:
    """A directory that no other follows."""
    return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def nothing(size: int) -> bytes:
    """EXIF data of so many bytes, without its prefix, that tell nothing. Zeros alone are an error to AVIF's decoder."""
    empty = b"II*\0" + struct.pack("<IHI", 8, 0, 0)
    return (empty + bytes(size))[:size] if size >= len(empty) else bytes(size)


def without_place_in_exif(exif: bytes) -> bytes:
    """The EXIF data, with or without its prefix, in as many bytes."""
    prefix = _EXIF_PREFIX if exif.startswith(_EXIF_PREFIX) else b""
    tiff = bytearray(exif[len(prefix) :])
    try:
        _blank(tiff)
    except (struct.error, IndexError, ValueError):
        return prefix + nothing(len(tiff))
    return prefix + bytes(tiff)


def without_place_in_xmp(xmp: bytes) -> bytes:
    """The XMP text, in as many bytes."""
    for place in _XMP_PLACES:
        xmp = place.sub(lambda match: b" " * len(match[0]), xmp)
    # Under another prefix, in parts, or in UTF-16: the text is not understood here, so none of it stays.
    if b"GPS" in xmp or b"G\0P\0S" in xmp:
        return b" " * len(xmp)
    return xmp


def _blank(tiff: bytearray) -> None:
    order = _ORDERS.get(bytes(tiff[:4]))
    if order is None:
        raise ValueError("not TIFF")
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    for _ in range(_DIRECTORIES_MAX):
        if not at:
            return
        at = _blank_in_directory(tiff, order, at)
    raise ValueError("too many directories")


def _blank_in_directory(tiff: bytearray, order: str, at: int) -> int:
    """Returns where the next directory is, or 0."""
    (count,) = struct.unpack_from(order + "H", tiff, at)
    end = at + 2 + count * _ENTRY_BYTES
    (following,) = struct.unpack_from(order + "I", tiff, end) if end + 4 <= len(tiff) else (0,)
    for index in reversed(range(count)):
        entry = at + 2 + index * _ENTRY_BYTES
        tag, _, _, value = struct.unpack_from(order + "HHII", tiff, entry)
        if tag == _GPS_TAG:
            _blank_values(tiff, order, value)
            count -= 1
            # The entries after it move up, and the offset of the next directory with them.
            moved = tiff[entry + _ENTRY_BYTES : end + 4]
            tiff[entry : entry + len(moved)] = moved
            tiff[entry + len(moved) : end + 4] = bytes(len(tiff[entry + len(moved) : end + 4]))
            end -= _ENTRY_BYTES
    struct.pack_into(order + "H", tiff, at, count)
    return int(following)


def _blank_values(tiff: bytearray, order: str, at: int) -> None:
    (count,) = struct.unpack_from(order + "H", tiff, at)
    left = len(tiff)
    for index in range(count):
        _, kind, number, value = struct.unpack_from(order + "HHII", tiff, at + 2 + index * _ENTRY_BYTES)
        size = _SIZES[kind] * number if kind in _SIZES else len(tiff)
        if size > 4:
            left -= size
            if value + size > len(tiff) or left < 0:
                raise ValueError("a value lies outside, or where others lie")
            tiff[value : value + size] = bytes(size)
    size = 2 + count * _ENTRY_BYTES
    tiff[at : at + size] = bytes(len(tiff[at : at + size]))
