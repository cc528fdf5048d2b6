"""Accepts connections and hands each to Hypercorn's trio worker. Knows neither pictures nor requests.

Hypercorn's own `serve` has no limit of connections and waits without end for a peer that reads nothing, so the
listeners are ours and its worker for one connection is all that is taken of it. That is not its public face, which is
why pyproject.toml names one version.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from image_workers.web.admission import Crowd, neighbourhood
from image_workers.web.edge import App

HEAD_S = 10
"""For the head of a request, from its first byte or from the end of the one before."""
SEND_S = 30.0
"""For a peer to take some bytes of an answer."""
_GRACE_S = 3.0
_H2_PREFACE = b"PRI * HTTP/2"

_log = logging.getLogger(__name__)


def hypercorn_config() -> HypercornConfig:
    config = HypercornConfig()
    config.keep_alive_timeout = HEAD_S
    config.include_server_header = False
    config.h2_max_concurrent_streams = 4
    config.websocket_max_message_size = 1024
    config.errorlog = logging.getLogger("hypercorn")
    return config


class Connections:
    """Serves `app` on listeners, to at most `limit` connections at once. `is_shared`: a proxy's address is all's."""

    def __init__(self, app: App, limit: int, is_shared: bool) -> None:
        self._app = ASGIWrapper(app)  # type: ignore[arg-type]
        self._config = hypercorn_config()
        self._crowd = Crowd(limit)
        self._is_shared = is_shared
        self._context = WorkerContext(None)

    async def serve(self, listeners: list[trio.SocketListener], until: Callable[[], Awaitable[object]]) -> None:
        """Until `until` returns; then requests have some seconds to end."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, self._connected, listeners, handler_nursery=connections)
                )
                await until()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + _GRACE_S

    async def _connected(self, stream: trio.SocketStream) -> None:
        try:
            address = neighbourhood(stream.socket.getpeername()[0])
        except OSError:  # gone already
            await trio.aclose_forcefully(stream)
            return
        if not self._crowd.has_room(None if self._is_shared else address):
            await trio.aclose_forcefully(stream)
            return
        with self._crowd.member(address), trio.CancelScope() as scope:
            try:
                await _Server(self._app, self._config, self._context, ConnectionState({}), _Patient(stream, scope))  # type: ignore[arg-type]
            except Exception:  # one connection's trouble is not another's
                _log.exception("a connection from %s", address)
            finally:
                await trio.aclose_forcefully(stream)


class _Server(TCPServer):
    """Hypercorn's, but that it does not keep for a while what the peer has closed."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class _Patient:
    """A stream whose peer may be slow to read, but not for ever, and that speaks HTTP/1. Else the connection ends."""

    def __init__(self, stream: trio.SocketStream, connection: trio.CancelScope) -> None:
        self._stream = stream
        self._connection = connection
        self._is_new = True
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        if self._is_new and data.startswith(_H2_PREFACE[: len(data)]) and data:
            raise trio.BrokenResourceError("HTTP/2")
        self._is_new = False
        return data

    async def send_all(self, data: bytes) -> None:
        # What calls this is shielded, so nothing but this ends it.
        with trio.move_on_after(SEND_S) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._connection.cancel()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self._stream.aclose()
