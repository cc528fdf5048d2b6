"""A picture after one to four accidents: of its bits, of its lengths and sizes, and of the pieces that it consists of.

All chance comes from the dice, so a number brings a picture back.
"""

import random
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.decoding_fuzz.corpus import Corpus
from tests.decoding_fuzz.structure import STRUCTURES, Pieces, Structure

_BYTES_MAX = 4 * 2**20
_HEADER_BYTES = 16
_SEVERAL = (0.5, 0.75, 0.9)
_BIG_CHANCE = 0.02
_SIZES = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    16,
    100,
    255,
    256,
    1000,
    3000,
    7999,
    8000,
    16_383,
    16_384,
    32_767,
    32_768,
    65_500,
    65_535,
)
_NUMBERS = (*_SIZES, 2**24 - 1, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_ONE_IN_A_PIECE = re.compile(rb"IHDR|fcTL|VP8X|VP8 |VP8L|ANMF|\xff[\xc0-\xc2]..\x08|ispe|av01|,", re.DOTALL)
"""What a width and a height follow soon, in any of the formats."""
_WORDS = re.compile(
    rb"ftyp|meta|pitm|iinf|infe|iloc|iprp|ipco|ipma|ispe|pixi|av1C|hvcC|colr|irot|imir|clap|auxC|iref|dimg|auxl|grid|"
    rb"idat|moov|trak|stsd|stsz|stco|stsc|stts|tkhd|elst|mdat"
)
"""The boxes of AVIF and HEIC, many of which lie within others."""

Dice = random.Random


@dataclass(frozen=True, slots=True)
class Source:
    """What a mutation may draw upon: how pictures of this kind are made, and another one of them."""

    structure: Structure
    other: bytes

    def pieces(self, content: bytes) -> Pieces:
        """At least one. What is shorter than a header has no others."""
        return self.structure.split(content) if len(content) >= _HEADER_BYTES else [content]


Accident = Callable[[bytes, Source, Dice], bytes]


def mutated(corpus: Corpus, dice: Dice) -> tuple[str, bytes]:
    """The media type of the picture that it was, and what it is now."""
    kind = dice.choice(sorted(corpus))
    content = dice.choice(corpus[kind])
    accidents = 1 + sum(dice.random() > chance for chance in _SEVERAL)
    for _ in range(accidents):
        source = Source(STRUCTURES[kind], dice.choice(corpus[kind]))
        content = dice.choice(ACCIDENTS)(content, source, dice)[:_BYTES_MAX]
    return kind, content


# -- Anywhere ----------------------------------------------------------------------------------------------------------


def bits(content: bytes, _source: Source, dice: Dice) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16, 200)) if content else 0):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def number(content: bytes, _source: Source, dice: Dice) -> bytes:
    return _with_number(content, dice.randrange(len(content) + 1), dice)


def truncated(content: bytes, _source: Source, dice: Dice) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def zeroed(content: bytes, _source: Source, dice: Dice) -> bytes:
    """The end did not arrive, but its room is there."""
    kept = dice.randrange(len(content) + 1)
    return content[:kept] + bytes(len(content) - kept)


def spliced(content: bytes, source: Source, dice: Dice) -> bytes:
    return content[: dice.randrange(len(content) + 1)] + source.other[dice.randrange(len(source.other) + 1) :]


def doubled(content: bytes, _source: Source, dice: Dice) -> bytes:
    """A run of bytes comes twice, or many times, or not at all."""
    start = dice.randrange(len(content) + 1)
    end = min(len(content), start + dice.choice((1, 4, 64, 1000)))
    return content[:start] + content[start:end] * _times(dice) + content[end:]


def sizes(content: bytes, _source: Source, dice: Dice) -> bytes:
    """The header claims another size: few pixels, none, or more than anybody has."""
    places = [match.end() for match in _ONE_IN_A_PIECE.finditer(content[:100_000])]
    if content.startswith(b"GIF"):
        places.append(6)
    if not places:
        return content
    return _mend_png(_with_number(content, dice.choice(places[:8]) + dice.randrange(12), dice))


def box(content: bytes, _source: Source, dice: Dice) -> bytes:
    """A number, or bits, in a box however deep."""
    places = [match.end() for match in _WORDS.finditer(content)]
    if not places:
        return content
    at = dice.choice(places) + dice.randrange(-8, 24)
    return _with_number(content, max(0, at), dice)


def _with_number(content: bytes, at: int, dice: Dice) -> bytes:
    value, order, width = dice.choice(_NUMBERS), dice.choice("<>"), dice.choice("BHI")
    written = struct.pack(order + width, value & (1 << 8 * struct.calcsize(width)) - 1)
    return content[:at] + written + content[at + len(written) :]


def _times(dice: Dice) -> int:
    return dice.choice((10_000, 100_000)) if dice.random() < _BIG_CHANCE else dice.choice((0, 0, 2, 2, 3, 50, 300))


# -- Pieces ------------------------------------------------------------------------------------------------------------


def piece_broken(content: bytes, source: Source, dice: Dice) -> bytes:
    """Bits or a number within one piece, whose checksum is then right."""
    pieces = source.pieces(content)
    at = dice.randrange(len(pieces))
    pieces[at] = _inner(pieces[at], source, dice, dice.choice((bits, number, number, doubled, zeroed)))
    return source.structure.whole(pieces)


def piece_repeated(content: bytes, source: Source, dice: Dice) -> bytes:
    """Frames, scans, tables or texts that come again and again, or are missing."""
    pieces = source.pieces(content)
    at = dice.randrange(len(pieces))
    pieces[at : at + 1] = pieces[at : at + 1] * _times(dice)
    return source.structure.whole(pieces)


def piece_moved(content: bytes, source: Source, dice: Dice) -> bytes:
    pieces = source.pieces(content)
    piece = pieces.pop(dice.randrange(len(pieces)))
    pieces.insert(dice.randrange(len(pieces) + 1), piece)
    return source.structure.whole(pieces)


def piece_exchanged(content: bytes, source: Source, dice: Dice) -> bytes:
    """One piece of another picture, in the place of one of this, or beside it."""
    pieces = source.pieces(content)
    at = dice.randrange(len(pieces))
    pieces[at : at + dice.randrange(2)] = [dice.choice(source.pieces(source.other))]
    return source.structure.whole(pieces)


def piece_cut(content: bytes, source: Source, dice: Dice) -> bytes:
    """A piece ends early, or goes on, and its length says so."""
    pieces = source.pieces(content)
    at = dice.randrange(len(pieces))
    pieces[at] = _inner(pieces[at], source, dice, dice.choice((truncated, spliced)))
    return source.structure.whole(pieces)


def _inner(piece: bytes, source: Source, dice: Dice, accident: Accident) -> bytes:
    structure = source.structure
    if len(piece) <= structure.head + structure.tail:
        return piece
    end = len(piece) - structure.tail
    inner = accident(piece[structure.head : end], source, dice)
    return structure.mended(piece[: structure.head] + inner + piece[end:])


def rows_of_png(content: bytes, source: Source, dice: Dice) -> bytes:
    """Behind the compression: filters and rows as nobody writes them, or far more or less of them than there are."""
    if not content.startswith(b"\x89PNG"):
        return piece_broken(content, source, dice)
    pieces = source.pieces(content)
    places = [at for at, piece in enumerate(pieces) if piece[4:8] == b"IDAT"]
    try:
        rows = zlib.decompress(b"".join(pieces[at][8:-4] for at in places))
    except zlib.error:
        return content
    data = zlib.compress(dice.choice((bits, doubled, truncated, zeroed))(rows, source, dice), 1)
    pieces[places[0]] = source.structure.mended(bytes(4) + b"IDAT" + data + bytes(4))
    return b"".join(piece for at, piece in enumerate(pieces) if at not in places[1:])


def _mend_png(content: bytes) -> bytes:
    """With the checksum that its header has, if it is one."""
    if not content.startswith(b"\x89PNG"):
        return content
    structure = STRUCTURES["image/png"]
    first, *pieces = structure.split(content)
    return b"".join([first, *(structure.mended(each) if each[4:8] in (b"IHDR", b"fcTL") else each for each in pieces)])


ACCIDENTS: tuple[Accident, ...] = (
    bits, number, truncated, zeroed, spliced, doubled, sizes, sizes, box, piece_broken, piece_broken, piece_broken,
    piece_repeated, piece_moved, piece_exchanged, piece_cut, rows_of_png,
)  # fmt: skip
