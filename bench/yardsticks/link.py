"""A socket to a server, and the workload that bears a time: what submitter and worker have in common."""

import socket

READ_BYTES = 2**18


def connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def received(link: socket.socket) -> bytes:
    """What there is, at least a byte. Raises EOFError if the server has closed."""
    if not (data := link.recv(READ_BYTES)):
        raise EOFError("the server closed the connection")
    return data


def stamp(at_ns: int) -> bytes:
    """A workload of 100 bytes that bears the time."""
    return b"%020d" % at_ns + b"x" * 80


def stamped_ns(workload: bytes) -> int:
    """The time that it bears."""
    return int(workload[:20])
