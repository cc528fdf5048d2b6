"""Pictures with side data of every kind, broken in every way: whatever it is, the pixels stay, and the picture opens.

What surrounds the side data (lengths, the order of chunks) is in order; what is in them is not. The one thing that side
data may do is to change how the pixels are shown: turned, or in other colours, or refused for their dynamic range.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

from image_workers import formats
from image_workers.errors import Refused
from tests.image_workers.made import thumbnail

PHOTO = Path(__file__).parent.parent / "pictures" / "photo.webp"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><exif:GPSLatitude>52</exif:GPSLatitude></x:xmpmeta>"
SHOWN_OTHERWISE = ("high dynamic range", "levels of video")

Mutate = Callable[[random.Random], bytes]


@cache
def photo() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize((48, 36))


@cache
def exif(orientation: int | None = 6) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Somebody"
    if orientation:
        tags[0x0112] = orientation
    tags.get_ifd(0x8825)[2] = (52.0, 31.0, 12.5)
    tags.get_ifd(0x8769)[0xA005] = {1: "R03"}
    return tags.tobytes()


@cache
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def plain(kind: str) -> bytes:
    output = io.BytesIO()
    by_kind: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 90},
        "PNG": {},
        "WEBP": {"lossless": True},
        "GIF": {},
        "AVIF": {"quality": 90},
    }
    options = by_kind[kind]
    if kind == "AVIF":
        options |= {"exif": exif(None), "xmp": XMP, "icc_profile": profile()}
    photo().save(output, kind, **options)
    return output.getvalue()


def broken(data: bytes, dice: random.Random) -> bytes:
    """The data after one of many accidents, perhaps as they were."""
    damaged = bytearray(data)
    match dice.randrange(8):
        case 0:
            return b""
        case 1:
            return data[: dice.randrange(len(data) + 1)]
        case 2:
            return data + dice.randbytes(dice.randrange(200))
        case 3:
            return dice.randbytes(dice.randrange(200))
        case 4:
            return data * dice.randrange(2, 5)
        case 5 if data:
            at = dice.randrange(len(data))
            damaged[at : at + 4] = dice.choice([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"])
        case _:
            for _ in range(dice.randint(1, 8) if data else 0):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


# -- Formats -----------------------------------------------------------------------------------------------------------

PNG_SIDES: dict[bytes, bytes] = {
    b"tEXt": b"Title\0Text",
    b"zTXt": b"Title\0\0" + zlib.compress(b"Text" * 100),
    b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + XMP,
    b"iCCP": b"sRGB\0\0" + zlib.compress(bytes(500)),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\0",
    b"cICP": b"\x01\x0d\0\1",
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
    b"sBIT": b"\x08\x08\x08",
    b"bKGD": bytes(6),
    b"hIST": bytes(6),
    b"sPLT": b"name\0\x08" + bytes(12),
    b"pHYs": struct.pack(">IIB", 3000, 3000, 1),
    b"tIME": bytes((7, 224, 1, 1, 1, 1, 1)),
    b"eXIf": b"II*\0",
    b"acTL": struct.pack(">II", 1, 0),
    b"fcTL": struct.pack(">5IHHBB", 0, 48, 36, 0, 0, 1, 10, 0, 0),
    b"fdAT": bytes(40),
    b"prIv": b"whatever",
}


def png(dice: random.Random) -> bytes:
    content = plain("PNG")
    end = content.index(b"IEND") - 4
    for _ in range(dice.randint(1, 4)):
        kind = dice.choice(list(PNG_SIDES))
        data = broken(
            {b"eXIf": exif()[6:], b"iCCP": b"name\0\0" + zlib.compress(profile())}.get(kind, PNG_SIDES[kind]), dice
        )
        checksum = zlib.crc32(kind + data) if dice.random() < 0.7 else dice.randrange(2**32)
        chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
        at = 33 if dice.random() < 0.7 else end
        content = content[:at] + chunk + content[at:]
        end += len(chunk)
    return content


def jpeg(dice: random.Random) -> bytes:
    content = plain("JPEG")
    sides = [
        (0xE0, b"JFXX\0\x10" + plain("JPEG")),
        (0xE1, b"Exif\0\0" + exif().removeprefix(b"Exif\0\0")),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        (0xE2, b"ICC_PROFILE\0\1\1" + profile()),
        (0xE2, b"MPF\0II*\0\x08\0\0\0" + bytes(40)),
        (0xED, b"Photoshop 3.0\x008BIM" + bytes(20)),
        (0xEB, b"HDR_RI"),
        (0xFE, b"a comment"),
    ]
    at = content.index(b"\xff\xdb")
    for _ in range(dice.randint(1, 4)):
        marker, data = dice.choice(sides)
        data = broken(data, dice)[:65_000]
        content = content[:at] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + content[at:]
    return content + (broken(content, dice) if dice.random() < 0.2 else b"")


def webp(dice: random.Random) -> bytes:
    picture = plain("WEBP")[12:]
    sides = [(b"EXIF", exif()), (b"XMP ", XMP), (b"ICCP", profile()), (b"priv", b"whatever")]
    before, after = b"", b""
    for _ in range(dice.randint(1, 4)):
        kind, data = dice.choice(sides)
        data = broken(data, dice)
        chunk = kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
        if dice.random() < 0.5:
            before += chunk
        else:
            after += chunk
    flags = dice.choice([0x00, 0x04, 0x08, 0x0C, 0x20, 0x2C])
    canvas = b"VP8X" + struct.pack("<IB3x", 10, flags) + (47).to_bytes(3, "little") + (35).to_bytes(3, "little")
    body = b"WEBP" + canvas + before + picture + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(dice: random.Random) -> bytes:
    content = plain("GIF")
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    sides = [
        (0xFE, b"a comment"),
        (0xFF, b"NETSCAPE2.0\x01\0\0"),
        (0xFF, b"XMP DataXMP" + XMP),
        (0xFF, b"ICCRGBG1012" + profile()),
        (0x01, bytes(12) + b"plain text"),
        (0xF0, b"whatever"),
    ]
    for _ in range(dice.randint(1, 4)):
        label, data = dice.choice(sides)
        data = broken(data, dice)
        blocks = b"".join(bytes((len(data[i : i + 255]),)) + data[i : i + 255] for i in range(0, len(data), 255))
        extension = bytes((0x21, label)) + blocks + b"\0"
        where = at if dice.random() < 0.7 else len(content) - 1
        content = content[:where] + extension + content[where:]
    return content


def avif(dice: random.Random) -> bytes:
    """Offsets in the file point at the side data, so they are broken in their place."""
    content = bytearray(plain("AVIF"))
    sides = (XMP, exif(None).removeprefix(b"Exif\0\0"), profile(), b"Exif\0", b"application/rdf+xml\0")
    for _ in range(dice.randint(1, 4)):
        side = dice.choice(sides)
        at, start = plain("AVIF").index(side), dice.randrange(len(side))
        data = broken(side[start:], dice)[: len(side) - start]
        content[at + start : at + start + len(data)] = data
    if dice.random() < 0.2:  # where the file says that its EXIF (the second item) or XMP (the third) is
        entry = content.index(b"iloc") + 12 + 14 * dice.randint(1, 2)
        content[entry + 6 : entry + 14] = dice.choice([bytes(8), b"\xff" * 8, dice.randbytes(8)])
    if dice.random() < 0.5:
        data = broken(bytes(16) + XMP, dice)
        content += struct.pack(">I4s", len(data) + 8, dice.choice([b"uuid", b"free", b"udta"])) + data
    if dice.random() < 0.2:
        content += dice.randbytes(dice.randrange(20))
    return bytes(content)


FORMATS: dict[str, Mutate] = {"JPEG": jpeg, "PNG": png, "WEBP": webp, "GIF": gif, "AVIF": avif}


# -- The check ---------------------------------------------------------------------------------------------------------


@cache
def expected(kind: str) -> bytes:
    picture = formats.opened(plain(kind))
    return picture.decode(picture.size).tobytes()


def fault(kind: str, seed: int) -> str | None:
    """What is wrong with how this one is opened."""
    content = FORMATS[kind](random.Random(f"{kind} {seed}"))
    try:
        picture = formats.opened(content)
        if picture.decode(picture.size).tobytes() != expected(kind):
            return "other pixels"
        thumbnail(content, width=48, quality=80, max_pixels=10_000)
    except Refused as error:
        return None if any(words in str(error) for words in SHOWN_OTHERWISE) else f"refused: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
