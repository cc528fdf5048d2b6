"""Whether a store is whole: what must hold between its rows, looked at, and mended where it is known how.

The rules stand in ``check.sql``. Nothing is mended unless the file as such is sound: what SQLite cannot read it may not
change.
"""

import contextlib
import re
import sqlite3
import time
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from periodicd.store import StoreError, copies, file
from periodicd.store.schema import pending
from periodicd.store.statements import SQL, job_of

SHOWN_MAX = 5
"""Ids that a finding names."""


class Finding(NamedTuple):
    """``ids``: the first of them. ``mend``: what repair does about it, or did; None: it cannot."""

    what: str
    found: int
    ids: tuple[int, ...]
    mend: str | None


class Checked(NamedTuple):
    jobs: int
    findings: list[Finding]
    copy: Path | None = None
    """What the store was before it was repaired."""


class Rule(NamedTuple):
    what: str
    mend: str
    find: str
    statements: tuple[str, ...]


def _read() -> list[Rule]:
    text = files("periodicd.store").joinpath("check.sql").read_text()
    rules = re.findall(r"^-- (.+) => (.+)\n((?:(?!--).*\n)+)", text, re.MULTILINE)
    return [
        Rule(what, mend, find.strip(), tuple(more.strip() for more in statements if more.strip()))
        for what, mend, sql in rules
        for find, *statements in [re.split(r";\n", sql)]
    ]


RULES = _read()


def check(store: Path) -> Checked:
    """Look, and change nothing; also beside a daemon, of whose store one state is seen. Raises StoreError."""
    if not store.exists():
        raise StoreError(f"there is no {store}")
    with copies.opened(store) as db:
        copies.look_at(store, db)
        older = pending(Database(db))
        if older:
            raise StoreError(f"{store} is of an older periodicd (without {', '.join(older)}); start this one once")
        db.execute("BEGIN")
        return _look(db)


def repair(store: Path) -> Checked:
    """Mend what can be, in one transaction, after a copy was made beside the store. What was found, and the copy.

    Raises StoreError, also if a daemon has the store; then nothing was changed.
    """
    store = file.own_name(store)
    held = file.hold(store)
    try:
        found = check(store)
        if not any(finding.mend for finding in found.findings):
            return found
        copy = file.beside(store, f".before-repair-{time.strftime('%Y%m%dT%H%M%S')}")
        copies.backup(store, copy)
        # As a daemon opens it, so an older file is brought up to date first.
        with contextlib.closing(file.open_(store, "full")) as db:
            db.execute("BEGIN IMMEDIATE")
            for rule in RULES:
                _mend(db, rule)
            db.execute("UPDATE daemon SET counted = 0")
            db.execute("COMMIT")
        return found._replace(copy=copy)
    except sqlite3.Error as error:
        raise StoreError(file.explain(store, error)) from error
    finally:
        file.release(held)


def _mend(db: sqlite3.Connection, rule: Rule) -> None:
    db.execute("CREATE TEMP TABLE found (id INTEGER PRIMARY KEY)")
    db.execute(f"INSERT INTO found {rule.find}")
    if db.execute("SELECT EXISTS (SELECT 1 FROM found)").fetchone()[0]:
        for statement in rule.statements:
            db.execute(statement, {"now": time.time_ns() // 1_000_000})
    db.execute("DROP TABLE found")


def _look(db: sqlite3.Connection) -> Checked:
    broken = [text for (text,) in db.execute("PRAGMA integrity_check(20)") if text != "ok"]
    if broken:
        return Checked(0, [Finding(f"SQLite: {text}", 1, (), None) for text in broken])
    (jobs,) = db.execute("SELECT count(*) FROM jobs").fetchone()
    found = [(rule, [job_id for (job_id,) in db.execute(rule.find)]) for rule in RULES]
    findings = [Finding(rule.what, len(ids), tuple(ids[:SHOWN_MAX]), rule.mend) for rule, ids in found if ids]
    return Checked(jobs, [*findings, *_unreadable(db), *_miscounted(db)])


def _unreadable(db: sqlite3.Connection) -> list[Finding]:
    """Jobs of which a daemon could not make a record, and would fail whenever it met one."""
    bad: list[int] = []
    for row in db.execute(SQL["all_without_workload"]):
        try:
            job_of(row)
        except (ValueError, TypeError, KeyError):
            bad.append(row[0])
    what = "jobs with values that periodicd never writes"
    return [Finding(what, len(bad), tuple(bad[:SHOWN_MAX]), None)] if bad else []


def _miscounted(db: sqlite3.Connection) -> list[Finding]:
    """As a stop in order has left them: without one, the next start counts."""
    (is_counted,) = db.execute(SQL["is_counted"]).fetchone()
    kept, counted = (sorted(db.execute(SQL[name]).fetchall()) for name in ("kept_counts", "count"))
    if not is_counted or kept == counted:
        return []
    return [Finding("functions with other numbers of jobs than were counted", 1, (), "they are counted anew")]
