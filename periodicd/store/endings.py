"""How jobs ended whose submit asked for that to be remembered: a table beside the jobs, bounded in number and bytes.

An ending hinders no new job of its name, and is not lost to one.
"""

import sqlite3

from periodicd.job import Job
from periodicd.store.ops import EndingWord, Forget, Get, JobEnd, Kept
from periodicd.store.statements import SQL


class Endings:
    """Raises sqlite3.Error."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._execute = cursor.execute
        self.count, self.bytes = self._execute(SQL["endings_size"]).fetchone()

    def keep(self, kept: Kept) -> None:
        """One of a job whose ending is remembered already takes that one's place."""
        end = kept.end
        self._forget(end.id)
        row = (
            end.id, kept.func, kept.name, end.ending, end.ended_at_ms, kept.until_at_ms, end.attempt, end.reason,
            end.data_bytes, end.data,
        )  # fmt: skip
        self._execute(SQL["keep_ending"], row)
        self.count += 1
        self.bytes += end.data_bytes

    def keep_of(self, job_id: int, ending: EndingWord, at_ms: int, reason: str | None = None) -> None:
        """Of a job whose record is still there; if that is to be remembered. A dead one has its ending already."""
        about = {"id": job_id, "ending": ending, "at": at_ms, "reason": reason}
        self.count += self._execute(SQL["keep_ending_of"], about).rowcount

    def last(self, op: Get) -> JobEnd | None:
        if not self.count:
            return None
        wanted = {"func": op.func, "name": op.name, "at": op.at_ms, "id": op.id, "data": op.data}
        row = self._execute(SQL["last_ending"], wanted).fetchone()
        if row is None and op.id is not None:
            row = self._execute(SQL["last_ending"], wanted | {"id": None}).fetchone()
        return None if row is None else JobEnd(*row)

    def of_name(self, job: Job) -> JobEnd | None:
        """How the last job of this identity ended, if that is remembered and there is none now."""
        if not self.count or self._execute(SQL["front"], job.key).fetchone() is not None:
            return None
        return self.last(Get(job.func, job.name, at_ms=job.submitted_at_ms))

    def fetch(self, job_id: int) -> JobEnd | None:
        row = self._execute(SQL["ending"], (job_id,)).fetchone()
        return None if row is None else JobEnd(*row)

    def forget(self, op: Forget) -> int:
        forgotten = 0
        while self.count and forgotten < op.limit:
            job_id, until_at_ms = self._execute(SQL["first_ending"]).fetchone()
            if until_at_ms > op.at_ms and self.count <= op.kept and self.bytes <= op.kept_bytes:
                break
            self._forget(job_id)
            forgotten += 1
        return forgotten

    def _forget(self, job_id: int) -> None:
        row = self._execute(SQL["forget_ending"], (job_id,)).fetchone() if self.count else None
        if row is not None:
            self.count -= 1
            self.bytes -= row[0]
