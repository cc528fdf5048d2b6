"""Work counted in this process: bytes in, engine, SQLite store, bytes out, with a virtual clock, so that each count is
the same in every run.

Counted are SQL statements, steps of SQLite's virtual machine (what a missing index or a dearer trigger adds to them),
and calls of Python functions. The last only in the pure build: what mypyc has compiled calls nothing that Python sees.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from periodic_client.wire import Decoder, Message
from periodicd import BUILD, engine
from periodicd.clock import Now
from periodicd.net.connection import encoded
from periodicd.store.sqlite import SqliteStore
from tests.guard.compare import Counts
from tests.guard.loads import Load

R = TypeVar("R")
IS_PURE = BUILD == "pure"


class Inside:
    """The engine and its store, and one connection of which both ends are here."""

    def __init__(self, folder: Path) -> None:
        self._now = Now(1_700_000_000_000, 5_000)
        self._store = SqliteStore(folder / "periodic.db")
        self._engine = engine.start(self._store, self._now, bytes)
        self._peer = self._engine.attach(self._now)
        self._decoder, self._heard = Decoder(), Decoder()
        self._counts: dict[str, int] = {}

    def close(self) -> None:
        self._store.close()

    def talk(self, said: bytes, answers: int) -> list[Message]:
        heard: list[Message] = []
        self._calls_counted(lambda: self._receive(said))
        while len(heard) < answers:
            assert self._engine.busy, f"{len(heard)} messages came of {answers}"
            heard += self._heard.feed(self._calls_counted(self._step))
        return heard

    def _receive(self, said: bytes) -> None:
        for message in self._decoder.feed(said):
            self._engine.receive(self._peer, message)

    def _step(self) -> bytes:
        self._now = Now(self._now.wall_ms + 1, self._now.mono_ms + 1)
        said = engine.drive(self._engine.step(self._now), self._store)
        if self._store.wants_tending:
            self._store.tend()
        answered = b"".join([encoded(message) for _, message in said.messages])
        self._peer.note_outbox(0)
        return answered

    # -- counting ------------------------------------------------------------------------------------------------------

    def count(self, load: Load) -> Counts:
        """What one job of the load takes."""
        load.prepare(self)
        self._counts = {"statements": 0, "sqlite_steps": 0} | ({"calls": 0} if IS_PURE else {})
        db = self._store._db
        db.set_trace_callback(self._note_statement)
        db.set_progress_handler(self._note_sqlite_step, 1)
        jobs = load.run(self)
        db.set_trace_callback(None)
        db.set_progress_handler(None, 1)
        return {key: value / jobs for key, value in self._counts.items()}

    def _note_statement(self, text: str) -> None:
        self._counts["statements"] += not text.startswith("--")  # a trigger's, which are their statement's work

    def _note_sqlite_step(self) -> int:
        self._counts["sqlite_steps"] += 1
        return 0

    def _calls_counted(self, work: Callable[[], R]) -> R:
        """Nothing is called here that would count itself: what is of this file does not."""
        if "calls" not in self._counts:
            return work()
        before = sys.getprofile()
        sys.setprofile(self._note_call)
        try:
            return work()
        finally:
            sys.setprofile(before)

    def _note_call(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename != __file__:
            self._counts["calls"] += 1


def count(load: Load, folder: Path) -> Counts:
    """What one job of the load takes, on a store of its own in ``folder``."""
    inside = Inside(folder)
    try:
        return inside.count(load)
    finally:
        inside.close()
