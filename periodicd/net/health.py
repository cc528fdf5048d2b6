"""A port for those who watch the daemon, over HTTP: ``/metrics``, ``/healthz``, ``/readyz``. It changes nothing.

What ``status`` knows is asked of the daemon as anybody would, on a connection inside; what is measured beside it is
looked at where it is counted, on the same loop. h11 speaks HTTP; here is only what may be asked, and for how long.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import trio

from periodic_client.wire import Decoder, Response, encode_request
from periodicd.engine import Engine
from periodicd.net.accept import accept
from periodicd.net.exposition import CONTENT_TYPE, exposition

log = logging.getLogger("periodicd.health")

ANSWER_S = 5
"""A request takes no longer, nor does an answer of the daemon: then it is not ready."""
REQUEST_BYTES_MAX = 16 * 1024
CONNECTIONS_MAX = 20
PAGE = 1_000
LAG_LOOK_S = 0.5
LAG_KEPT = 120
"""The loop's lag is the longest of so many looks: a minute's."""

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
TEXT = "text/plain; charset=utf-8"


class Health:
    """``connect`` opens a connection to the daemon, inside this process."""

    def __init__(self, engine: Engine, connect: Callable[[], trio.SocketStream]) -> None:
        self._engine = engine
        self._connect = connect
        self._lags_s = [0.0]
        self._free = trio.CapacityLimiter(CONNECTIONS_MAX)
        self._answers: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz,
        }  # fmt: skip

    async def run(self, listening: list[socket.socket]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_at_the_loop)
            for each in listening:
                nursery.start_soon(accept, each, self._serve, nursery)

    async def _look_at_the_loop(self) -> None:
        while True:
            wanted_s = trio.current_time() + LAG_LOOK_S
            await trio.sleep_until(wanted_s)
            self._lags_s = [*self._lags_s[1 - LAG_KEPT :], max(0.0, trio.current_time() - wanted_s)]

    async def _serve(self, sock: socket.socket) -> None:
        """One request; then the connection is closed."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        try:
            self._free.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            await trio.aclose_forcefully(stream)
            return
        try:
            with trio.move_on_after(2 * ANSWER_S):
                await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a connection broke")
        except Exception:
            # Whoever looks must not end the daemon.
            log.exception("a request for metrics or health failed")
        finally:
            self._free.release_on_behalf_of(stream)
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES_MAX)
        try:
            request = await _next_request(http, stream)
        except h11.RemoteProtocolError as error:
            answer = error.error_status_hint, TEXT, f"{error}\n".encode()
        else:
            if request is None:
                return
            answer = await self._answer_to(request)
        status, kind, body = answer
        headers = [("content-type", kind), ("content-length", str(len(body))), ("connection", "close")]
        events = h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()
        await stream.send_all(b"".join(http.send(event) or b"" for event in events))

    async def _answer_to(self, request: h11.Request) -> Answer:
        path = request.target.split(b"?")[0].decode("ascii", "replace")
        answer = self._answers.get(path)
        if answer is None:
            return 404, TEXT, f"there is no {path}; there are {', '.join(self._answers)}\n".encode()
        if request.method != b"GET":
            return 405, TEXT, b"only GET\n"
        with trio.move_on_after(ANSWER_S):
            return await answer()
        return 503, TEXT, f"the daemon did not answer for {ANSWER_S} s: its disk may be slow\n".encode()

    async def _healthz(self) -> Answer:
        """That this is answered shows that the loop turns."""
        return 200, TEXT, b"ok\n"

    async def _readyz(self) -> Answer:
        """A ping is answered behind the commit under way, and a store that has failed ends the daemon."""
        if self._engine.scheduler.draining:
            return 503, TEXT, b"the daemon is stopping\n"
        async with Inside(self._connect()) as inside:
            await inside.ask("ping")
        return 200, TEXT, b"ok\n"

    async def _metrics(self) -> Answer:
        functions: list[dict[str, Any]] = []
        after: str | None = ""
        status: dict[str, Any] = {}
        async with Inside(self._connect()) as inside:
            while after is not None:
                status = await inside.ask("status", {"limit": PAGE, "after": after or None})
                functions += status["functions"]
                after = status["next"]
        measured = self._engine.scheduler.figures.measured or {}
        return 200, CONTENT_TYPE, exposition(status, functions, measured, max(self._lags_s))


class Inside:
    """One request after the other, over a connection of this process to its own daemon."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._decoder = Decoder()
        self._msgid = 0

    async def __aenter__(self) -> "Inside":
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self._stream)

    async def ask(self, method: str, *params: Any) -> dict[str, Any]:
        """Raises trio.BrokenResourceError if the daemon has closed, and refuses nothing that is asked here."""
        self._msgid += 1
        await self._stream.send_all(encode_request(self._msgid, method, list(params)))
        while True:
            data = await self._stream.receive_some(65_536)
            if not data:
                raise trio.BrokenResourceError("the daemon closed the connection inside")
            for message in self._decoder.feed(bytes(data)):
                if isinstance(message, Response) and message.error is None:
                    answer: dict[str, Any] = message.result
                    return answer
                raise trio.BrokenResourceError(f"{method}: {message}")


async def _next_request(http: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """None if there is none. Raises h11.RemoteProtocolError."""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(REQUEST_BYTES_MAX)))
        elif isinstance(event, h11.Request):
            return event
        else:
            return None
