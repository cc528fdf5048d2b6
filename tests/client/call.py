"""A call of a client that goes on while the test plays the daemon's part."""

from collections.abc import Awaitable
from typing import Any

import trio


class Call:
    """A call of the client under way in a task of its own."""

    def __init__(self, nursery: trio.Nursery, call: Awaitable[Any]) -> None:
        self._done = trio.Event()
        self._result: Any = None
        self._error: Exception | None = None
        nursery.start_soon(self._run, call)

    async def _run(self, call: Awaitable[Any]) -> None:
        try:
            self._result = await call
        except Exception as error:
            self._error = error
        self._done.set()

    async def result(self) -> Any:
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result
