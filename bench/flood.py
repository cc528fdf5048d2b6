"""A client that floods one function, and its worker, in a process of their own: ``python -m bench.flood HOW URL``.

single: submits, one to a message, as many unanswered as a connection is read for. batch: a thousand to a message, four
messages unanswered. backlog: 200,000 jobs that are due already, and then the worker.
"""

import selectors
import sys
from itertools import count

from bench.crowd import Connection

FUNC = "flood"
ROOM = 1_000
UNANSWERED = {"single": 1_000, "batch": 4, "backlog": 4}
BATCH = 1_000
BACKLOG = 200_000


def request(how: str, number: int) -> list[object]:
    if how == "single":
        return [0, number, "submit", [{"func": FUNC, "name": f"{number}"}]]
    jobs = [{"func": FUNC, "name": f"{number}-{each}"} for each in range(BATCH)]
    return [0, number, "submit_batch", [jobs]]


def main() -> None:
    how, url = sys.argv[1:]
    client, worker = Connection(url), Connection(url)
    numbers = count(1)
    if how == "backlog":
        for _ in range(BACKLOG // BATCH):
            client.send([request(how, next(numbers))])
            while not client.receive():
                pass
    worker.send([[0, 0, "subscribe", [FUNC, {"limit": ROOM}]]])
    print("ready", flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(worker.socket, selectors.EVENT_READ, worker)
        if how != "backlog":
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send([request(how, next(numbers)) for _ in range(UNANSWERED[how])])
        while True:
            for key, _ in selector.select():
                heard = key.data.receive()
                if key.data is worker:
                    given = [[1, msgid, None, None] for kind, msgid, *_ in heard if kind == 0]
                    if given:
                        worker.send(given)
                elif heard:
                    client.send([request(how, next(numbers)) for _ in heard])


if __name__ == "__main__":
    main()
