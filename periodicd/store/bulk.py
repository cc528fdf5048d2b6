"""Equal ops of a step, many to a statement: jobs put, and runs that are done. Each statement has a cost of its own.

A bulk is tried as a whole. If anything in it is not the plain case (there is a job of that name already, a run is not
found), nothing of it is done, and its ops are to be carried out one by one, as tables.py knows how.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from periodicd.job import Job, State
from periodicd.store import ops
from periodicd.store.counts import Counts
from periodicd.store.endings import Endings
from periodicd.store.statements import INLINE_BYTES, NEW_VALUES, PLAIN_VALUES, SQL, is_plain, row_of

BULK = 32
FUNCS_MAX = 20_000
"""Jobs whose function is remembered."""
PASSED_OVER = 20
"""So many bulks are not tried after one that failed: where jobs replace each other, the next would too."""

_INSERT_MANY = SQL["insert"].replace(f"({NEW_VALUES})", ", ".join([f"({NEW_VALUES})"] * BULK))
_INSERT_PLAIN = SQL["insert_plain"].replace(f"({PLAIN_VALUES})", ", ".join([f"({PLAIN_VALUES})"] * BULK))
_MARKS = ", ".join(["?"] * BULK)
_DELETE_ANY = SQL["delete_runs"].replace("{ids}", _MARKS)
_DELETE_CLAIMED = SQL["delete_claimed_runs"].replace("{ids}", _MARKS).replace("{handles}", _MARKS)


def remember(funcs: dict[int, str], job: Job) -> None:
    """The function of a job that was put: it will be asked for when the job is done."""
    if len(funcs) >= FUNCS_MAX:
        funcs.clear()
    funcs[job.id] = job.func


class Bulks:
    """What the tables remember is given: who waits behind whom, functions of jobs that were put last, the counts."""

    def __init__(
        self,
        cursor: sqlite3.Cursor,
        behind: dict[int, int],
        funcs: dict[int, str],
        counts: Counts,
        endings: Endings,
    ) -> None:
        self._execute = cursor.execute
        self._behind = behind
        self._funcs = funcs
        self._counts = counts
        self._endings = endings
        self._pass_over = 0

    def put(self, bulk: Sequence[ops.Put]) -> list[ops.PutResult] | None:
        """The answers to BULK ops, or None if they are to be carried out one by one."""
        row: list[Any] = []
        are_plain = all(is_plain(op.job) for op in bulk)
        for op in bulk:
            if op.job.workload_bytes > INLINE_BYTES or op.queue_max is not None or op.job.group_id is not None:
                return None
            if op.existing == "keep" and self._endings.count:
                return None
            row += row_of(op.job, State.WAITING, are_plain)
        if not self._try(_INSERT_PLAIN if are_plain else _INSERT_MANY, row):
            return None
        for op in bulk:
            remember(self._funcs, op.job)
            self._counts.change(op.job.func, live=1)
        return [ops.PutResult("created", op.job.id) for op in bulk]

    def delete(self, bulk: Sequence[ops.Delete]) -> list[ops.Ended] | None:
        """As ``put``."""
        if self._behind:
            return None
        ends = [op.end for op in bulk]
        funcs = [self._funcs.get(end.id) for end in ends]
        for end in ends:
            if end.follow_ons or end.kept is not None or end.group_id is not None or end.then is not None:
                return None
        for func in set(funcs):
            if func is None or self._counts.dead(func):
                return None
        ids, handles = [end.id for end in ends], [end.handle for end in ends]
        if not any(handles):
            found = self._try(_DELETE_ANY, ids)
        else:
            # A handle names its job, so an id and a handle that are both among them belong together.
            found = all(handles) and self._try(_DELETE_CLAIMED, [*ids, *handles])
        if not found:
            return None
        for end, func in zip(ends, funcs, strict=True):
            assert func is not None
            del self._funcs[end.id]
            self._counts.change(func, live=-1)
        return [_ENDED] * BULK

    def _try(self, statement: str, parameters: Sequence[Any]) -> bool:
        """Whether it did what it should to a whole bulk; if not, it did nothing."""
        if self._pass_over:
            self._pass_over -= 1
            return False
        self._execute("SAVEPOINT a_bulk")
        is_whole = self._execute(statement, parameters).rowcount == BULK
        if not is_whole:
            self._execute("ROLLBACK TO a_bulk")
            self._pass_over = PASSED_OVER
        self._execute("RELEASE a_bulk")
        return is_whole


_ENDED = ops.Ended(True)
