"""What is wrong in a store is found, and mended where it can be; each of it is planted here with SQL."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from periodicd.store import StoreError, ops, order
from periodicd.store.check import RULES, check, repair
from periodicd.store.sqlite import SqliteStore
from tests.store.conformance import bury, claim, job


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """With a job of each kind, and nothing wrong."""
    path = tmp_path / "periodic.db"
    opened = SqliteStore(path)
    members = (ops.Put(job(11, "x")), ops.Put(job(12, "y")))
    parked = job(6, "parked", locks={"k": 1, "l": 1})
    opened.apply([
        ops.Boot(), ops.Reserve(100), ops.Put(job(1, "waits", workload=b"x" * 9_000)), ops.Put(job(2, "runs")),
        claim(2), ops.Put(job(3, "runs")), ops.Put(job(4, "dead")), claim(4), bury(4), ops.Put(parked),
        order.Park(parked), order.PutGroup(ops.Put(job(10, "then")), members, True),
    ])  # fmt: skip
    opened.commit()
    opened.close()
    return path


def plant(store: Path, *statements: str) -> None:
    """As a daemon that was killed leaves it: the next start would count."""
    with closing(sqlite3.connect(store)) as db:
        for statement in ("UPDATE daemon SET counted = 0", *statements):
            db.execute(statement)
        db.commit()


def rows(store: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(store)) as db:
        return db.execute(query).fetchall()


def found(store: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [(finding.what, finding.ids) for finding in check(store).findings]


def test_a_whole_store_is_whole_and_left_alone(store: Path) -> None:
    before = store.read_bytes()
    assert check(store) == (8, [], None)
    assert repair(store) == (8, [], None)
    assert store.read_bytes() == before


PLANTED = [
    ("numbers are not above", "UPDATE daemon SET next_id = 5", (6, 10, 11, 12), "SELECT next_id FROM daemon", 13),
    ("workloads of jobs that are not", "INSERT INTO workloads VALUES (77, X'00')", (77,),
     "SELECT count(*) FROM workloads", 1),
    ("jobs whose workload is gone", "DELETE FROM workloads", (1,),
     "SELECT state, workload, workload_bytes, reason FROM jobs WHERE id = 1",
     (2, b"", 0, "its workload is not in the store any more")),
    ("jobs that do not run, with one behind", "UPDATE jobs SET state = 0, handle = NULL WHERE id = 2", (2,),
     "SELECT id, state FROM jobs WHERE name = 'runs'", (3, 0)),
    ("jobs behind one that is not there", "DELETE FROM jobs WHERE id = 2", (3,),
     "SELECT id, state FROM jobs WHERE name = 'runs'", (3, 0)),
    ("jobs that run, and no run", "UPDATE jobs SET state = 1 WHERE id = 1", (1,),
     "SELECT state FROM jobs WHERE id = 1", 0),
    ("parked jobs that do not stand", "DELETE FROM lines WHERE lock = 'k'", (6,),
     "SELECT state FROM jobs WHERE id = 6", 0),
    ("jobs that stand in line and", "UPDATE jobs SET state = 0 WHERE id = 6", (6,), "SELECT count(*) FROM lines", 0),
    ("groups whose job does not wait", "DELETE FROM jobs WHERE id = 10", (10,), "SELECT count(*) FROM groups", 0),
    ("groups that count others", "DELETE FROM jobs WHERE id = 11", (10,), "SELECT open, removed FROM groups", (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "statement", "ids", "query", "after"), PLANTED, ids=[each[0] for each in PLANTED])
def test_what_is_wrong_is_found_and_mended(
    store: Path, what: str, statement: str, ids: tuple[int, ...], query: str, after: Any
) -> None:
    plant(store, statement)
    told, *more = found(store)
    assert (told[0].startswith(what), told[1], more) == (True, ids, [])
    repaired = repair(store)
    assert [finding.what for finding in repaired.findings] == [told[0]]
    assert found(store) == []
    assert rows(store, query) == [after if isinstance(after, tuple) else (after,)]
    assert repaired.copy is not None
    assert found(repaired.copy) == [told], "the copy is as it was"
    opened = SqliteStore(store)
    opened.apply([ops.Boot()])
    opened.close()


def test_a_group_whose_members_are_all_gone_is_told_so(store: Path) -> None:
    plant(store, "DELETE FROM jobs WHERE id IN (11, 12)")
    repair(store)
    ((state, headers),) = rows(store, "SELECT state, headers FROM jobs WHERE id = 10")
    assert (state, '"group-removed":"2"' in headers) == (0, True)
    assert found(store) == []


def test_a_job_behind_whose_workload_is_gone_is_removed(store: Path) -> None:
    plant(store, "UPDATE jobs SET workload = NULL WHERE id = 3")
    repair(store)
    assert (rows(store, "SELECT id FROM jobs WHERE name = 'runs'"), found(store)) == ([(2,)], [])


def test_each_rule_is_planted() -> None:
    planted = [what for what, *_ in PLANTED] + ["groups that have finished"]
    assert [rule.what for rule in RULES if not any(map(rule.what.startswith, planted))] == []
    assert len(planted) == len(RULES)


def test_what_nobody_can_mend_is_only_told(store: Path) -> None:
    plant(store, "UPDATE jobs SET headers = '{' WHERE id = 1")
    assert found(store) == [("jobs with values that periodicd never writes", (1,))]
    before = store.read_bytes()
    checked = repair(store)
    assert (checked.findings[0].mend, checked.copy, store.read_bytes()) == (None, None, before)


def test_counts_of_a_stop_that_are_not_right_are_counted_anew(store: Path) -> None:
    plant(store, "UPDATE counts SET live = 99", "UPDATE daemon SET counted = 1")
    ((what, ids),) = found(store)
    assert (what, ids) == ("functions with other numbers of jobs than were counted", ())
    repair(store)
    assert found(store) == []


def test_a_damaged_file_is_left_alone(store: Path) -> None:
    whole = store.read_bytes()
    ((page,),) = rows(store, "SELECT rootpage FROM sqlite_master WHERE name = 'jobs_identity'")
    begin = (page - 1) * 4_096
    index = whole[begin : begin + 4_096]
    assert b"waits" in index
    store.write_bytes(whole[:begin] + index.replace(b"waits", b"waitz") + whole[begin + 4_096 :])
    checked = repair(store)
    assert {finding.mend for finding in checked.findings} == {None}
    assert all(finding.what.startswith("SQLite: ") for finding in checked.findings)
    assert checked.copy is None
    store.write_bytes(whole[:4_096] + b"\xff" * (len(whole) - 4_096))
    with pytest.raises(StoreError, match="is damaged"):
        check(store)


def test_beside_a_daemon_it_is_looked_at_and_not_mended(store: Path) -> None:
    opened = SqliteStore(store)
    opened.apply([ops.Put(job(50, "meanwhile"))])
    opened.commit()
    assert check(store).jobs == 9
    with pytest.raises(StoreError, match="is in use by another periodicd"):
        repair(store)
    opened.close()


def test_an_older_file_is_said_to_be_one(store: Path) -> None:
    store.write_bytes(Path(__file__).with_name("jobs-of-version-1.sqlite").read_bytes())
    with pytest.raises(StoreError, match="is of an older periodicd"):
        check(store)
