"""Amounts as people read them at a glance: few digits, and never more than six characters or so. Python alone."""

_SPANS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"))
_COUNTS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_SIZES = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"))


def span(ms: float) -> str:
    """``350ms``, ``4.2s``, ``12m``, ``3h``, ``41d``."""
    for unit_ms, unit in _SPANS:
        if ms >= unit_ms:
            return _few(ms / unit_ms) + unit
    return f"{round(ms)}ms"


def count(number: float) -> str:
    """``7``, ``0.4``, ``950``, ``12.3k``, ``4M``."""
    for unit_count, unit in _COUNTS:
        if number >= unit_count:
            return _few(number / unit_count) + unit
    return _few(number)


def size(bytes_: int) -> str:
    """``512B``, ``24MB``, ``1.5GB``."""
    for unit_bytes, unit in _SIZES:
        if bytes_ >= unit_bytes:
            return f"{_few(bytes_ / unit_bytes)}{unit}"
    return f"{bytes_}B"


def _few(number: float) -> str:
    """With a decimal where it tells something, rounded down: nothing is said to be a unit that it has not reached."""
    if number < 100 and (tenths := int(number * 10) % 10):
        return f"{int(number)}.{tenths}"
    return str(int(number))
