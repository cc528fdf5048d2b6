"""What the numbers of a picture mean as colours, as an ICC profile, and the way from there to sRGB.

A file may tell its colours by a profile of its own, by code points (H.273, in PNG's cICP and AVIF's nclx), or by gamma
and chromaticities (PNG's gAMA and cHRM). The latter two become a profile here too, so that there is one way to sRGB.
"""

import io
import struct
from itertools import product

from PIL import Image, ImageChops, ImageCms, ImageStat

from image_workers.errors import Refused

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue, CIE 1931."""

_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
SRGB: Chromaticities = (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_ADOBE_RGB: Chromaticities = (*_D65, 0.640, 0.330, 0.210, 0.710, 0.150, 0.060)
_ADOBE_GAMMA = 563 / 256

_PRIMARIES: dict[int, Chromaticities] = {
    # H.273, table 2.
    1: SRGB,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1, 0, 0, 1, 0, 0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_UNSPECIFIED = 2
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
"""H.273, table 3, where the curve is a power. All others but those below are cameras' curves close to sRGB's, and such
pictures are made to be looked at on an sRGB screen as they are; so are those with a number that is not known."""
_HIGH_RANGE = {9: "logarithmic", 10: "logarithmic", 16: "PQ", 18: "HLG"}

_ICC_TABLE, _ICC_TAGS_MAX = 128, 100
"""Where an ICC profile lists its tags."""

_SRGB_GAMMA = 2.2
"""What encoders write for sRGB, in place of its curve, where only a power can be told."""
_SRGB_GAMMA_ROUNDING = 0.0002
"""Adobe RGB's is not far away."""


def from_codes(primaries: int, transfer: int, *, gray: bool) -> bytes | None:
    """The profile for H.273's code points, None for sRGB. Raises `Refused` for a high dynamic range."""
    if kind := _HIGH_RANGE.get(transfer):
        raise Refused(
            f"the picture has a high dynamic range ({kind}), for which there is no one right look on an ordinary "
            "screen; save it in sRGB"
        )
    return _profile(_PRIMARIES.get(primaries, SRGB), _GAMMAS.get(transfer), gray=gray)


def from_gamma(gamma: float, chromaticities: Chromaticities | None = None, *, gray: bool) -> bytes | None:
    """The profile for light that is the `gamma`th power of the number, and for these primaries (sRGB's if None)."""
    curve = None if abs(gamma - _SRGB_GAMMA) < _SRGB_GAMMA_ROUNDING else gamma
    return _profile(chromaticities or SRGB, curve, gray=gray)


def adobe_rgb() -> bytes | None:
    """The profile of Adobe RGB (1998), which some cameras use and tell without a profile."""
    return _profile(_ADOBE_RGB, _ADOBE_GAMMA, gray=False)


def check_range(profile: bytes | None) -> None:
    """Raise `Refused` if the profile says that it is one of a high dynamic range (ICC.1:2022, the tag cicp)."""
    if not profile or len(profile) < _ICC_TABLE + 4:
        return
    (count,) = struct.unpack_from(">I", profile, _ICC_TABLE)
    for at in range(_ICC_TABLE + 4, min(len(profile) - 11, _ICC_TABLE + 4 + 12 * min(count, _ICC_TAGS_MAX)), 12):
        kind, start = struct.unpack_from(">4sI", profile, at)
        if kind == b"cicp" and len(codes := profile[start + 8 : start + 12]) == 4:
            from_codes(codes[0], codes[1], gray=False)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK picture in sRGB. A profile that is broken or for another kind is ignored, as by viewers."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
        else:
            assert converted is not None  # only None when asked to change the picture in place
            return converted
    return image.convert("RGB")


def is_srgb(profile: bytes | None) -> bool:
    """By what it does: no profile, a broken one, or one that changes colours by less than can be seen."""
    levels = (0, 85, 170, 255)
    colours = Image.frombytes("RGB", (64, 1), bytes(level for colour in product(levels, repeat=3) for level in colour))
    change = ImageStat.Stat(ImageChops.difference(colours, to_srgb(colours, profile)))
    return max(most for _, most in change.extrema) <= 3


# -- Profiles that are made --------------------------------------------------------------------------------------------

_D50 = (0.9642, 1.0, 0.8249)
"""XYZ of the white that profiles refer to."""
_COLORANT_MAX = 100
"""Far beyond all that is real, and far below what a profile can hold."""
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VERSION_4_3 = 0x0430_0000

_Vector = tuple[float, float, float]
_Matrix = tuple[_Vector, _Vector, _Vector]


def _profile(chromaticities: Chromaticities, gamma: float | None, *, gray: bool) -> bytes | None:
    """The profile for these primaries and this power, or sRGB's curve if None. None if that is sRGB.

    ICC.1:2010: a matrix and curves (or a curve alone for gray), relative to D50.
    """
    if gamma is None and (gray or chromaticities == SRGB):
        return None
    curve = _parametric(3, _SRGB_CURVE) if gamma is None else _parametric(0, (gamma,))
    tags = {b"wtpt": _xyz(_D50)}
    if gray:
        tags[b"kTRC"] = curve
    else:
        if (columns := _colorants(chromaticities)) is None:
            return None
        tags |= {kind: _xyz(column) for kind, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for kind, value in tags.items():
        table += struct.pack(">4sII", kind, start + len(data), len(value))
        data += value
    header = struct.pack(
        ">I4sI4s4s4s12s4s24xI12s4x44x",
        start + len(data), b"", _VERSION_4_3, b"mntr", b"GRAY" if gray else b"RGB ", b"XYZ ", b"", b"acsp", 0,
        _xyz(_D50)[8:],
    )  # fmt: skip
    return header + table + data


def _colorants(chromaticities: Chromaticities) -> _Matrix | None:
    """XYZ of red, green and blue, adapted to D50 (Bradford). None if they cannot be primaries."""
    white_x, white_y, *points = chromaticities
    red, green, blue = ((points[at], points[at + 1], 1 - points[at] - points[at + 1]) for at in (0, 2, 4))
    try:
        white = (white_x / white_y, 1.0, (1 - white_x - white_y) / white_y)
        amounts = _times(_inverse(_transposed((red, green, blue))), white)
        seen, wanted = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
        gains = [to / of for to, of in zip(wanted, seen, strict=True)]
    except ZeroDivisionError:
        return None
    back = _inverse(_BRADFORD)
    columns = []
    for colour, amount in zip((red, green, blue), amounts, strict=True):
        cones = [cone * gain * amount for cone, gain in zip(_times(_BRADFORD, colour), gains, strict=True)]
        columns.append(_times(back, (cones[0], cones[1], cones[2])))
    if max(abs(value) for column in columns for value in column) > _COLORANT_MAX:
        return None
    return columns[0], columns[1], columns[2]


def _times(matrix: _Matrix, vector: _Vector) -> _Vector:
    one, two, three = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return one, two, three


def _transposed(matrix: _Matrix) -> _Matrix:
    one, two, three = zip(*matrix, strict=True)
    return one, two, three


def _inverse(matrix: _Matrix) -> _Matrix:
    """By the rows' cross products. Raises `ZeroDivisionError` if there is none."""
    one, two, three = matrix
    crossed = (_cross(two, three), _cross(three, one), _cross(one, two))
    determinant = sum(a * b for a, b in zip(one, crossed[0], strict=True))
    rows = [(row[0] / determinant, row[1] / determinant, row[2] / determinant) for row in _transposed(crossed)]
    return rows[0], rows[1], rows[2]


def _cross(one: _Vector, other: _Vector) -> _Vector:
    (a, b, c), (x, y, z) = one, other
    return b * z - c * y, c * x - a * z, a * y - b * x


def _xyz(value: _Vector) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(part * 65536) for part in value))


def _parametric(kind: int, numbers: tuple[float, ...]) -> bytes:
    return b"para" + struct.pack(f">4xHxx{len(numbers)}i", kind, *(round(number * 65536) for number in numbers))
