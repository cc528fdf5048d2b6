"""Traffic of large jobs, in a process of its own: ``python -m bench.heavy submit|take|slow URL BYTES``, until it ends.

submit: one job after the other, each when the one before was answered, under a few names. take: a worker that answers
as soon as it has a job whole. slow: a worker that has room for ten and reads a megabyte a second.
"""

import sys
import time
from itertools import count

from bench.crowd import Connection

FUNC = "large"
NAMES = 8
SLOW_PIECE_BYTES = 65_536
SLOW_S = 1 / 16
ROOM = 10


def submit(connection: Connection, size: int) -> None:
    workload = bytes(size)
    for number in count():
        connection.ask("submit", {"func": FUNC, "name": f"{number % NAMES}", "workload": workload})


def take(connection: Connection) -> None:
    connection.send([[0, 0, "subscribe", [FUNC, {"limit": ROOM}]]])
    while True:
        given = [[1, msgid, None, None] for kind, msgid, *_ in connection.receive() if kind == 0]
        if given:
            connection.send(given)


def slow(connection: Connection) -> None:
    """It finishes no job in the time that is measured."""
    connection.send([[0, 0, "subscribe", [FUNC, {"limit": ROOM}]]])
    while connection.socket.recv(SLOW_PIECE_BYTES):
        time.sleep(SLOW_S)


def main() -> None:
    what, url, size = sys.argv[1:]
    connection = Connection(url)
    if what == "submit":
        submit(connection, int(size))
    elif what == "take":
        take(connection)
    else:
        slow(connection)


if __name__ == "__main__":
    main()
