"""The daemon's side of the wire, spoken by hand: each test says what the daemon does, message by message."""

from collections.abc import Callable
from typing import Any

import trio
from trio.testing import memory_stream_pair

from periodic_client import CannotConnect
from periodic_client.wire import (
    Decoder,
    Message,
    Request,
    Response,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)

HELLO = {
    "protocol": 1, "server": "scripted", "boot": 1, "now_at_ms": 0, "durability": "full", "features": [],
    "limits": {"message_bytes": 32 * 1024 * 1024, "batch_jobs": 1000}, "a_later_version": "knows more",
}  # fmt: skip
EXTENDED = {"lease_until_at_ms": 600_000}

StreamPair = Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]


class Peer:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._decoder = Decoder()
        self._received: list[Message] = []
        self._next_msgid = 0

    async def receive(self) -> Message | None:
        """The next message, or None when the other side has closed."""
        while not self._received:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._received += self._decoder.feed(bytes(data))
        return self._received.pop(0)

    async def expect_any(self) -> Request:
        message = await self.receive()
        assert isinstance(message, Request), message
        return message

    async def expect(self, method: str, *params: Any) -> Request:
        """The next message must be this request; with params given, these."""
        message = await self.expect_any()
        assert message.method == method
        if params:
            assert message.params == list(params)
        return message

    async def expect_response(self) -> Response:
        message = await self.receive()
        assert isinstance(message, Response), message
        return message

    async def expect_silence(self, silence_s: float = 1) -> None:
        """For tests with a clock that jumps."""
        with trio.move_on_after(silence_s):
            message = await self.receive()
            raise AssertionError(message)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, request: Request, result: Any) -> None:
        await self.send(encode_response(request.msgid, result))

    async def refuse(self, request: Request, error: str) -> None:
        await self.send(encode_error(request.msgid, error))

    async def serve(self, method: str, result: Any, *params: Any) -> Request:
        request = await self.expect(method, *params)
        await self.answer(request, result)
        return request

    async def serve_worker(self, *subscriptions: tuple[str, int]) -> dict[str, Any]:
        """Take a worker in; returns its hello."""
        hello = await self.serve("hello", HELLO)
        for func, limit in subscriptions:
            await self.serve("subscribe", {}, func, {"limit": limit})
        options: dict[str, Any] = hello.params[0]
        return options

    async def perform(self, **fields: Any) -> int:
        """Give a job out; returns the msgid."""
        job = {
            "handle": f"1-{self._next_msgid}-1", "run": self._next_msgid, "func": "f", "name": "n", "workload": b"w",
            "headers": {}, "due_at_ms": 5, "priority": 0, "lease_ms": 600_000, "attempt": 1, "failures": 0,
            "crashes": 0,
        }  # fmt: skip
        msgid = self._next_msgid
        self._next_msgid += 1
        await self.send(encode_request(msgid, "perform", [job | fields]))
        return msgid

    async def run_job(self, **fields: Any) -> Any:
        """Give a job out and return its outcome."""
        msgid = await self.perform(**fields)
        response = await self.expect_response()
        assert response.msgid == msgid
        assert response.error is None
        return response.result

    async def notice(self, handle: str, kind: str, text: str = "for people") -> None:
        await self.send(encode_notification("notice", [handle, kind, text]))

    async def close(self) -> None:
        await self.stream.aclose()


class Daemon:
    """Where clients and workers connect in memory: ``Client(open_stream=daemon.open_stream)``."""

    def __init__(self) -> None:
        self.is_down = False
        self.dialled: list[str] = []
        self.pair: StreamPair = memory_stream_pair
        self._connections, self._accepted = trio.open_memory_channel[Peer](100)

    async def open_stream(self, url: str) -> trio.abc.Stream:
        self.dialled.append(url)
        if self.is_down:
            raise CannotConnect(f"cannot connect to {url}: it is down")
        ours, theirs = self.pair()
        self._connections.send_nowait(Peer(theirs))
        return ours

    async def accept(self) -> Peer:
        return await self._accepted.receive()
