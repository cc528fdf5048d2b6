"""Where a daemon is: ``tcp://host:port`` or ``unix:///path``. Pure parsing; connecting and listening are others'."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PORT = 5000
DEFAULT_URL = f"tcp://127.0.0.1:{DEFAULT_PORT}"
URL_VARIABLE = "PERIODIC_URL"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: str


def default_url() -> str:
    """The url in the environment variable PERIODIC_URL, or DEFAULT_URL if that is unset or empty."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def parse_url(url: str) -> TcpAddress | UnixAddress:
    """Where to connect. Raises ValueError, which quotes the url and says what is wrong. Without a port it is 5000."""
    address = parse_address(url, DEFAULT_PORT)
    if isinstance(address, TcpAddress) and address.port == 0:
        raise ValueError(f"{url!r}: nothing can be reached at port 0")
    return address


def parse_address(url: str, default_port: int | None = None) -> TcpAddress | UnixAddress:
    """Where to connect or to listen. Raises ValueError, which quotes the url and says what is wrong with it."""
    if url.startswith("unix://"):
        path = url.removeprefix("unix://")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"{url!r}: after unix:// comes an absolute path, as in unix:///run/periodicd.sock")
        return UnixAddress(path)
    if not url.startswith("tcp://"):
        raise ValueError(f"{url!r} is neither tcp://host:port nor unix:///path")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    if not host:
        raise ValueError(f"{url!r} has no host")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than a host and a port")
    try:
        host.encode("idna")
    except UnicodeError:
        # As Python's own look-up does, whose error is no OSError and names neither host nor url.
        raise ValueError(f"{url!r}: {host!r} is no name of a host: a part of it is empty or too long") from None
    if port is None and default_port is None:
        raise ValueError(f"{url!r} has no port, as in {url.rstrip('/')}:{DEFAULT_PORT}")
    return TcpAddress(host, default_port or 0 if port is None else port)
