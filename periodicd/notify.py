"""What systemd is told: ready, still alive, stopping. Without systemd nothing is told, and nothing here ever waits.

A service manager that cannot be told is a warning, never a reason to stop serving. The words are those of sd_notify(3).
"""

import logging
import os
import socket
from functools import cache

log = logging.getLogger("periodicd.notify")

VARIABLE = "NOTIFY_SOCKET"
FAREWELL_S = 30
"""What a stop may take beside the wait for running jobs."""


def ready() -> None:
    """It listens, and stops in order when it is told to."""
    _send("READY=1")


def alive() -> None:
    """To be said more often than the unit's WatchdogSec."""
    _send("WATCHDOG=1")


def stopping(drain_s: float) -> None:
    """It waits ``drain_s`` for running jobs: the unit need not know how long that is."""
    _send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round((drain_s + FAREWELL_S) * 1_000_000)}")


def _send(state: str) -> None:
    address = os.environ.get(VARIABLE)
    if not address:
        return
    try:
        # @ stands for the zero byte with which Linux' abstract names begin.
        _socket().sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError as error:
        log.warning("cannot tell the service manager at %s: %s", address, error.strerror or error)


@cache
def _socket() -> socket.socket:
    """Kept from the first word on: later there may be no descriptor for it, and a silent daemon is killed."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock
