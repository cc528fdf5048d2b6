"""What holds for every answer, whichever request it belongs to: headers that tell a browser to be strict, and an end
that is seen by whoever is refused in the middle of an upload.

A client that still sends does not read. So after an early answer what it sends is thrown away for a while, and then the
connection is closed; at once would lose the answer, and not to read would leave the server's reader waiting for ever.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LINGER_S = 2.0

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]


def with_edge(app: App) -> App:
    """The application, as strangers may meet it: HTTP/1 alone."""

    async def edged(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and scope["http_version"].startswith("1"):
            async with trio.open_nursery() as nursery:
                exchange = _Exchange(scope, receive, send, nursery)
                await app(scope, exchange.receive, exchange.send)
                nursery.cancel_scope.cancel()
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 505, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return edged


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, nursery: trio.Nursery) -> None:
        headers = dict(scope["headers"])
        self._receive, self._send, self._nursery = receive, send, nursery
        self._is_read = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        self._thrown_away = trio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(b"connection", b"close")] if not self._is_read else []
            message = {**message, "headers": [*message.get("headers", []), *HEADERS, *own]}
        elif not message.get("more_body", False) and not self._is_read:
            self._nursery.start_soon(self._throw_away)
            await self._send({**message, "more_body": True})
            with trio.move_on_after(LINGER_S):
                await self._thrown_away.wait()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _throw_away(self) -> None:
        while not self._is_read:
            await self.receive()
        self._thrown_away.set()
        # The end of the answer puts one message more into the queue, and waits if that is full.
        while (await self._receive())["type"] != "http.disconnect":
            pass
