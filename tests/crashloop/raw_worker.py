"""A worker without our library: ``python -m tests.crashloop.raw_worker URL FOLDER SEED``.

A blocking socket and msgpack, one run at a time, jobs given out beyond it wait in its hands. Knows protocol.md only.
"""

import select
import socket
import sys
import time
from collections import deque
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from tests.crashloop import plan
from tests.crashloop.record import FUNC, GROUP_FUNC, LOCK_FUNC, Answered, RecordFile, Refused

LIMIT = 4
PLAIN = 0.25
AGAIN_S = 0.02
PING_AFTER_S = 10.0


class RawWorker:
    def __init__(self, address: tuple[str, int], folder: Path, seed: str) -> None:
        self._address = address
        self._records = RecordFile(folder, "raw-worker")
        self._rng = Random(seed)
        self._unanswered: plan.End | None = None
        """Its ``finish`` was sent over a connection that was lost."""
        self._performs: deque[list[Any]] = deque()
        self._not_begun: list[str] = []
        """Handles of runs that a lost connection gave us."""

    def run(self) -> None:
        """For ever."""
        while True:
            try:
                with socket.create_connection(self._address) as self._socket:
                    self._serve()
            except OSError:
                time.sleep(AGAIN_S)

    def _serve(self) -> None:
        """One connection, until it is lost: then OSError comes out, and what was not begun is handed back."""
        self._socket.settimeout(PING_AFTER_S)
        self._unpacker = msgpack.Unpacker()
        self._not_begun = [*self._not_begun, *(job["handle"] for _, job in self._performs)]
        self._performs.clear()
        self._msgids = count()
        if self._unanswered is not None:
            self._finish(self._unanswered)
        self._hand_back()
        for func in (FUNC, LOCK_FUNC, GROUP_FUNC):
            self._request("subscribe", func, {"limit": LIMIT})
        while True:
            if not self._performs:
                self._receive()
            else:
                # What a lost connection gave us and was not begun is another's by now.
                while select.select([self._socket], [], [], 0)[0]:
                    self._read()
                msgid, job = self._performs.popleft()
                self._perform(msgid, job)

    def _perform(self, msgid: int, job: dict[str, Any]) -> None:
        self._records.write(plan.started(job))
        end = plan.end_of(job, self._rng)
        time.sleep(end.pause_s)
        self._records.write(end.report)
        if self._rng.random() < PLAIN:
            self._send([1, msgid, None, end.outcome])
        else:
            self._finish(end)
            self._send([1, msgid, None, None])

    def _finish(self, end: plan.End) -> None:
        self._unanswered = end
        error = self._request("finish", end.report.handle, end.outcome)
        if error is not None and not error.startswith("LEASE_LOST"):
            sys.exit(f"finish was answered with {error}")
        self._records.write(Answered(end.report.handle) if error is None else Refused(end.report.handle))
        self._unanswered = None

    def _hand_back(self) -> None:
        """They would wait for us otherwise: for the end of a grace, or of the time after a restart."""
        while self._not_begun:
            self._request("finish", self._not_begun[-1], {"outcome": "later"})
            self._not_begun.pop()

    def _request(self, method: str, *params: Any) -> Any:
        """Send it and wait for its answer, keeping the jobs that come meanwhile. Returns the error."""
        msgid = next(self._msgids)
        self._send([0, msgid, method, list(params)])
        while True:
            response = self._receive()
            if response is not None and response[1] == msgid:
                return response[2]

    def _send(self, message: list[Any]) -> None:
        self._socket.sendall(msgpack.packb(message))

    def _receive(self) -> list[Any] | None:
        """The next response; None for anything else, of which jobs are kept."""
        while True:
            for message in self._unpacker:
                if message[0] == 1:
                    return list(message)
                if message[0] == 0:
                    self._performs.append([message[1], message[3][0]])
                return None
            try:
                self._read()
            except TimeoutError:
                self._send([0, next(self._msgids), "ping", []])

    def _read(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the daemon closed the connection")
        self._unpacker.feed(data)


if __name__ == "__main__":
    host, port = sys.argv[1].removeprefix("tcp://").rsplit(":", 1)
    RawWorker((host, int(port)), Path(sys.argv[2]), sys.argv[3]).run()
