"""Connections, one after the other, from a socket that listens. Knows nothing of what they are for."""

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger("periodicd.accept")

PAUSE_S = 0.1
"""When there is no descriptor or memory for another connection, until one may have become free."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ENDED_BEFORE = frozenset({errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EINTR, errno.ENETDOWN, errno.EHOSTDOWN,
                           errno.EHOSTUNREACH, errno.ENETUNREACH})  # fmt: skip
"""accept(2): errors of the connection that was to be, not of the listening."""

Serve = Callable[[socket.socket], Awaitable[None]]


async def accept(listening: socket.socket, serve: Serve, nursery: trio.Nursery) -> None:
    """Start ``serve`` in the nursery for each connection, for ever. No socket here, or given there, blocks."""
    with listening:
        while True:
            await trio.lowlevel.wait_readable(listening)
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("there is no room for another connection: %s", os.strerror(error.errno or 0))
                    await trio.sleep(PAUSE_S)
                elif error.errno not in _ENDED_BEFORE:
                    raise
                continue
            sock.setblocking(False)
            nursery.start_soon(serve, sock)
