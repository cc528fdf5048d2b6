"""Pictures that are small as files and large as work. Each is valid, or would be to a decoder that only looks at it."""

import io
import struct

from PIL import Image


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _huffman_table(table_class: int, symbols: bytes) -> bytes:
    """The first symbol has the code 0, the second 10."""
    counts = bytes([1, len(symbols) - 1] + 14 * [0])
    return _segment(0xC4, bytes([table_class << 4]) + counts + symbols)


def _bits(text: str) -> bytes:
    text += "1" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")


def progressive(width: int, height: int, scans: int) -> bytes:
    """A gray JPEG of so many scans, each of which changes nothing and takes its decoder through all of the picture.

    At 8000 x 8000 pixels a scan has 95 bytes and takes some 40 ms.
    """
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    end_of_band, left = "", blocks
    while left >= 2**14:  # the symbol E0: a run of 2**14 blocks without coefficients, and 14 bits more
        run = min(left, 2**15 - 1)
        end_of_band += f"0{run - 2**14:014b}"
        left -= run
    end_of_band += "10" * left
    scan = _bits(end_of_band)
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, bytes([0] + 64 * [16])),
            _segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])),
            _huffman_table(0, b"\0"),
            _huffman_table(1, b"\xe0\0"),
            _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + _bits("0" * blocks),
            _segment(0xDA, bytes([1, 1, 0, 1, 63, 0x01])) + scan,
            (_segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + scan) * scans,
            b"\xff\xd9",
        ]
    )


def out_of_range(bits: int) -> bytes:
    """A gray JPEG of 8 x 8 pixels, whose first coefficient has so many bits: encoders write 11, decoders take 15."""
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, bytes([0] + 64 * [16])),
            _segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 1) + bytes([1, 0x11, 0])),
            _huffman_table(0, bytes([bits])),
            _huffman_table(1, b"\0"),
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + _bits("0" + "1" * bits + "0"),
            b"\xff\xd9",
        ]
    )


def gif_that_understates(width: int, height: int) -> bytes:
    """A GIF that says it is 1 x 1, and has a frame of `width` x `height`."""
    output = io.BytesIO()
    Image.new("P", (width, height)).save(output, "GIF")
    content = bytearray(output.getvalue())
    struct.pack_into("<HH", content, 6, 1, 1)
    return bytes(content)


WEBP_OF_64_MEGAPIXELS = bytes.fromhex("524946461e000000574542505650384c110000002f3fdfcf170750b22257a6808188e87f0000")
"""8000 x 8000 pixels of one colour, without loss."""
