"""The bare statements are those of the store: if the store learns others, the benchmark must too."""

import re
import sqlite3
from collections import Counter
from pathlib import Path

from bench.bare import Statements, cpu_us, rows_of
from periodicd.job import Job
from periodicd.store import file, ops
from periodicd.store.sqlite import SqliteStore

JOBS = 70
"""Two groups and some."""


def said(db: sqlite3.Connection) -> Counter[str]:
    """Counts the statements from now on, their values left out."""
    seen: Counter[str] = Counter()
    db.set_trace_callback(
        lambda text: seen.update([re.sub(r"x'[0-9a-f]*'|'[^']*'|\b\d+\b|NULL", "?", text, flags=re.IGNORECASE)])
    )
    return seen


def test_the_bare_statements_are_those_of_the_store(tmp_path: Path) -> None:
    for name in ("store", "bare"):
        (tmp_path / name).mkdir()
    store = SqliteStore(tmp_path / "store" / "periodic.db")
    of_store = said(store._db)
    store.apply([ops.Put(Job(number, "bench", str(number), 1, 1, b"x", 1), "replace") for number in range(1, JOBS + 1)])
    store.commit()
    store.apply([ops.Delete(ops.End(number, None, 1)) for number in range(1, JOBS + 1)])
    store.commit()
    store._db.set_trace_callback(None)
    store.close()

    db = file.open_(tmp_path / "bare" / "bare.db", "full")
    of_bare = said(db)
    rows = rows_of(1, JOBS)
    statements = Statements(db)
    statements.commit(rows, [])
    statements.commit([], [row[0] for row in rows])
    db.set_trace_callback(None)
    assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    db.close()
    assert of_bare == of_store


def test_a_bare_job_has_its_cost(tmp_path: Path) -> None:
    assert cpu_us(tmp_path, 1_000, 100) > 0
