"""What every client is made of: one connection, made when a request needs it, and made again after it was lost.

It never sends a request twice by itself, and knows no message of the protocol.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import TracebackType
from typing import Any, Self

import trio

from periodic_client.reconnect import Backoff
from periodic_client.session import (
    MAYBE,
    Asked,
    CannotConnect,
    Session,
    StreamOpener,
    TimedOut,
    check_trio,
    open_stream,
)
from periodic_client.url import default_url, parse_url


class Connected:
    """A connection to a daemon, for any number of tasks at once; Client says what its options mean."""

    def __init__(
        self, url: str | None = None, *, timeout_s: float = 30.0, open_stream: StreamOpener = open_stream
    ) -> None:
        self.url = url or default_url()
        parse_url(self.url)
        self.timeout_s = timeout_s
        self._open_stream = open_stream
        self._connecting = trio.Lock()
        self._returning = trio.Lock()
        self.rng = Random()
        self._session: Session | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        check_trio("a client", "your_function")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The nursery is not told of the caller's error: it would come out wrapped in an ExceptionGroup.
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        self._nursery = self._session = None
        await self._nursery_manager.__aexit__(None, None, None)

    async def request(self, method: str, *params: Any) -> Any:
        """Any request, by the words of protocol.md; its result."""
        with self._time_limit(method):
            session = await self._connected()
            return await session.request(method, *params)

    async def ready(self, method: str) -> Session:
        """The connection, made if there is none, when it has room for a request."""
        with self._time_limit(method):
            session = await self._connected()
            await session.room()
            return session

    async def poll(
        self,
        method: str,
        *params: Any,
        wait_s: float,
        on_sent: Callable[[], None] | None = None,
        on_late: Callable[[Any], None] | None = None,
    ) -> Any:
        """A long poll that the daemon answers after ``wait_s`` at the latest; its result.

        Who is cancelled meanwhile has the daemon answer at once; ``on_late`` is given the result that nobody took then.
        ``on_sent`` is called when the request is on its way.
        """
        asked = (await self.ready(method)).ask(method, *params)
        if on_sent is not None:
            on_sent()
        try:
            return await self.answer_in(wait_s, method, asked)
        except (trio.Cancelled, TimedOut):
            asked.leave(on_late)
            raise

    def tell(self, method: str, *params: Any) -> None:
        """A request whose answer interests nobody, over the connection that there is, if there is one."""
        if self._session is not None and self._session.lost is None:
            self._session.ask(method, *params)

    async def answer_in(self, wait_s: float, method: str, asked: Asked) -> Any:
        """What was asked for is answered after ``wait_s`` at the latest, unless the daemon is slow or lost."""
        with self._time_limit(method, wait_s):
            return await asked.result()

    async def come_back(self) -> None:
        """Connect again, for ever. One task of all that were disconnected does so for the others."""
        async with self._returning:
            backoff = Backoff(self.rng)
            while True:
                try:
                    with self._time_limit("connect"):
                        await self._connected()
                except (CannotConnect, TimedOut):
                    await trio.sleep(backoff.next_s())
                else:
                    return

    async def _connected(self) -> Session:
        if self._session is not None:
            await self._session.catch_up()
        if self._session is not None and self._session.lost is None:
            return self._session
        async with self._connecting:
            if self._session is None or self._session.lost is not None:
                if self._nursery is None:
                    raise RuntimeError("this client is not open; use it as: async with Client() as client")
                self._session = None
                self._session = Session(await self._open_stream(self.url))
                self._nursery.start_soon(self._session.run)
        return self._session

    @contextmanager
    def _time_limit(self, method: str, wait_s: float = 0) -> Iterator[None]:
        limit_s = wait_s + self.timeout_s
        try:
            with trio.fail_after(limit_s):
                yield
        except trio.TooSlowError:
            session = self._session
            if session is None:
                raise CannotConnect(f"cannot connect to {self.url}: no answer in {self.timeout_s:g} s") from None
            if session.last_received_s + limit_s <= trio.current_time():
                # Nothing at all came: the connection may be dead without anyone having said so.
                session.close(f"the daemon was silent for {limit_s:g} s")
            raise TimedOut(f"{self.url} did not answer {method} in {limit_s:g} s; {MAYBE}") from None
