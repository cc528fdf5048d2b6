"""Pages of names: those that begin with a prefix, in their order. Whose names they are is not known here."""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

from sortedcontainers import SortedDict


def names_of(known: SortedDict[str, Any], prefix: str, after: str, last: str | None = None) -> Iterator[str]:
    """Those that come after ``after``, to ``last``."""
    begin = max(prefix, after)
    return takewhile(lambda name: name.startswith(prefix), known.irange(begin, last, inclusive=(begin != after, True)))


def page_of(known: SortedDict[str, Any], prefix: str, after: str, limit: int) -> tuple[tuple[str, ...], str | None]:
    """So many at the most, and after which the next page begins, if there is one."""
    page = tuple(islice(names_of(known, prefix, after), limit + 1))
    return page[:limit], page[limit - 1] if len(page) > limit else None
