"""Where to listen: from a url to open listeners, and who may reach them. Knows nothing of what is said there."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

import trio

from periodic_client.url import UnixAddress
from periodic_client.url import parse_address as read

BACKLOG = 1024


class ListenError(Exception):
    """An address cannot be listened on. The message says which, why and what to do."""


class Address(NamedTuple):
    """Where to listen: ``tcp://host:port`` or ``unix:///path``."""

    host: str | None
    port: int
    path: Path | None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host or "").is_loopback
        return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in (self.host or "") else f"tcp://{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Raises ListenError."""
    try:
        found = read(url)
    except ValueError as error:
        raise ListenError(str(error)) from None
    if isinstance(found, UnixAddress):
        return Address(None, 0, Path(found.path))
    return Address(found.host, found.port, None)


async def open_listening(addresses: list[Address]) -> list[socket.socket]:
    """The listening sockets, which do not block. Raises ListenError; then none is left open."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                opened = await listen(address)
            except UnicodeError:
                raise ListenError(f"cannot listen on {address}: {address.host!r} is no name of a host") from None
            except OSError as error:
                # A name that is not found has an error number of its own, which the system has no text for; what Python
                # refuses itself has none.
                known = error.errno is not None and not isinstance(error, socket.gaierror)
                reason = os.strerror(error.errno or 0) if known else str(error.strerror or error)
                hint = "; is another periodicd running?" if error.errno == errno.EADDRINUSE else ""
                raise ListenError(f"cannot listen on {address}: {reason}{hint}") from error
            sockets += [stack.enter_context(each) for each in opened]
        stack.pop_all()
        return sockets


async def listen(address: Address) -> list[socket.socket]:
    """Raises OSError."""
    if address.path is None:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
        return [await _plain(listener) for listener in listeners]
    _clear_stale_socket(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(address.path))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return [sock]


async def _plain(listener: trio.SocketListener) -> socket.socket:
    """Now, and not at the first connection: later there may be no descriptor for it."""
    sock = socket.socket(fileno=os.dup(listener.socket.fileno()))
    sock.setblocking(False)
    await listener.aclose()
    return sock


def file_at(path: Path) -> tuple[int, int] | None:
    """Which file has this name now, if any."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear_stale_socket(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError if somebody does, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file of this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "in use")
