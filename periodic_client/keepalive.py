"""What both ends of a TCP connection ask of their kernels, so that a machine that has vanished is noticed.

Nobody else would: a pulled cable or a dropped firewall state sends no end of file. Knows nothing of messages.
"""

import socket
from typing import Protocol

IDLE_S, INTERVAL_S, PROBES = 30, 10, 3
"""A peer is taken for gone after a minute without a sign of its kernel: 30 s, then three probes 10 s apart."""


class Socket(Protocol):
    """A socket, or trio's."""

    @property
    def family(self) -> socket.AddressFamily: ...
    def setsockopt(self, level: int, optname: int, value: int, /) -> None: ...


def keep_alive(sock: Socket) -> None:
    """Does nothing to a Unix socket: its peer cannot vanish unnoticed."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", INTERVAL_S), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):  # macOS and Windows lack some, and keep their own figures there
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
