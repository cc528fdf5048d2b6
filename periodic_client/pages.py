"""Listings that the daemon answers a page at a time, gone through as one. How a page is asked for is not known here."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self


class Pages:
    """An iterator and not a generator: those want to be closed by whoever stops early, and complain if they are not."""

    def __init__(self, fetch: Callable[[str | None], Awaitable[tuple[list[dict[str, Any]], str | None]]]) -> None:
        self._fetch = fetch
        self._page: deque[dict[str, Any]] = deque()
        self._after: str | None = None
        self._is_last = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._page:
            if self._is_last:
                raise StopAsyncIteration
            page, self._after = await self._fetch(self._after)
            self._page.extend(page)
            self._is_last = self._after is None
        return self._page.popleft()
