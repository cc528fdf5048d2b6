"""What people write on command lines and into configurations: one grammar of durations, one guess at what was meant."""

import difflib
import re
from collections.abc import Iterable
from fractions import Fraction

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(ms|s|m|h|d)")
_DURATION = re.compile(rf"{_PART.pattern}(?: ?{_PART.pattern})*")


def duration_ms(text: str) -> int:
    """``500ms``, ``5m``, ``1h30m``, ``1.5 d``, in milliseconds. Raises ValueError, which says how one is written."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r:.200} is not a duration such as 500ms, 5m, 1h30m or 2d")
    return round(sum(Fraction(count) * UNITS_MS[unit] for count, unit in _PART.findall(text)))


def duration_text(ms: int) -> str:
    """As ``duration_ms`` reads it, in as few words as there are."""
    parts = []
    for unit, unit_ms in reversed(UNITS_MS.items()):
        count, ms = divmod(ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses ``word``: what was meant, or all that there is."""
    known = list(known)
    near = difflib.get_close_matches(word[:64], known, 1, 0.5)
    near = near or [each for each in known if word and each.startswith(word)]
    return f"; did you mean {near[0]}?" if near else f"; they are {', '.join(known)}"
