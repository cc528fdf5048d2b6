"""The SQLite store keeps the promises of every store, and its own: files, locks, durability, what a restart finds."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from periodicd.job import Job, State
from periodicd.retry import Retry
from periodicd.store import Store, StoreError, ops
from periodicd.store.reader import _BY_ID, _BY_NAME, _OF_STATE, _Way
from periodicd.store.room import Room
from periodicd.store.sqlite import CHECKPOINT_WEIGHT, SqliteStore
from periodicd.store.statements import SQL
from tests.store.conformance import EVERYTHING, Conformance, bury, claim, delete, job


class TestSqlite(Conformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path / "periodic.db", "relaxed")
        yield store
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "periodic.db"


def reopened(store: SqliteStore) -> SqliteStore:
    store.close()
    return SqliteStore(store.path)


def test_what_was_committed_is_there_after_a_reopen_and_the_rest_is_not(path: Path) -> None:
    store = SqliteStore(path)
    store.apply([ops.Put(job(1)), claim(1), ops.Put(job(2)), ops.Put(job(3, "b", workload=b"x" * 9_000))])
    store.commit()
    store.apply([ops.Put(job(4, "c"))])
    store = reopened(store)
    assert store.apply([ops.Get("f", "c")]) == [ops.GetResult("absent")]
    (front,) = store.apply([ops.Get("f", "a")])
    assert isinstance(front, ops.GetResult)
    assert front.shown is not None
    assert front.shown.behind, "what waits behind is known again"
    assert store.apply([EVERYTHING]) == [ops.CountResult({"f": ops.FunctionCount(3, 1, 0, 100)}, False)]
    (ended,) = store.apply([delete(1)])
    assert isinstance(ended, ops.Ended)
    assert ended.behind is not None
    store.close()


def test_full_durability_syncs_each_commit_and_relaxed_does_not(path: Path) -> None:
    for durability, number in (("full", 2), ("relaxed", 1)):
        store = SqliteStore(path, durability)  # type: ignore[arg-type]
        assert store._db.execute("PRAGMA synchronous").fetchone() == (number,)
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        store.close()


def test_a_second_opener_is_refused_and_told_who_has_it(path: Path) -> None:
    code = f"from pathlib import Path; from periodicd.store.sqlite import SqliteStore; SqliteStore(Path({str(path)!r}))"
    store = SqliteStore(path)
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "in use by another periodicd (process" in second.stderr
    store.close()
    SqliteStore(path).close()


def test_a_directory_a_foreign_file_and_a_foreign_database_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("this is no database, it is a longer text than any header\n" * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    for name, message in (
        ("folder.db", "is a directory"),
        ("text.db", "is not a SQLite database"),
        ("other.db", "is a database of another program"),
        ("missing/periodic.db", "cannot open"),
    ):
        with pytest.raises(StoreError, match=message):
            SqliteStore(tmp_path / name)
    assert (tmp_path / "text.db").read_text().startswith("this is no database")


def test_a_refused_file_can_be_opened_once_it_is_well(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError):
        SqliteStore(path)
    path.rmdir()
    SqliteStore(path).close()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('periodicd', 'holograms', '2030')"
        )
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer periodicd \(it has holograms\)"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_of_the_first_version_becomes_one_of_today(path: Path) -> None:
    """The file was written by the program as it was before points in time ended in ``_at_ms``."""
    before = Path(__file__).with_name("jobs-of-version-1.sqlite").read_bytes()
    path.write_bytes(before)
    store = SqliteStore(path)
    with closing(sqlite3.connect(path.with_name(f"{path.name}.before-settled_words"))) as copy:
        assert copy.execute("SELECT count(*), max(due_ms) FROM jobs").fetchone() == (5, 1_700_000_200_000)
    submitted_at_ms, due_at_ms = 1_700_000_000_000, 1_700_000_100_000
    listed = {shown.job.id: shown for shown in store.list_jobs(ops.Listing()).jobs}
    waits, runs, behind, dead, again = (listed[number].job for number in range(1, 6))
    assert waits == Job(
        1, "f", "waits", due_at_ms, submitted_at_ms, None, 5, -5, 2_000,
        Retry(limit=3, backoff="quadratic", jitter_percent=7), dated=True,
    )  # fmt: skip
    assert runs.retry == Retry(jitter_percent=0), "what was submitted under another default keeps it"
    assert (runs.handle, runs.lease_until_at_ms, listed[2].behind) == ("1-1-2", 1_700_000_600_000, True)
    assert (behind.name, behind.state) == ("runs", State.BEHIND)
    assert (dead.ended_at_ms, dead.reason, dead.failures) == (1_700_000_050_000, "not a picture", 1)
    assert (again.due_at_ms, again.crashes, again.suspect, again.restarts) == (1_700_000_200_000, 2, True, 0)
    boot, large = store.apply([ops.Boot(), ops.Fetch(2)])
    assert isinstance(boot, ops.BootResult)
    assert isinstance(large, Job)
    assert (boot.boot, boot.next_id, large.workload) == (2, 1_000_001, b"x" * 5_000)
    store.commit()
    fresh = SqliteStore(path.with_name("fresh.db"))
    tables = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name"
    assert store._db.execute(tables).fetchall() == fresh._db.execute(tables).fetchall()
    fresh.close()
    store = reopened(store)
    assert store.apply([ops.Put(job(7, headers={"a": "b"}))]) == [ops.PutResult("created", 7)]
    store.close()


def test_a_checkpoint_falls_due_and_lets_the_wal_start_again(path: Path) -> None:
    store = SqliteStore(path, "relaxed")
    wal = path.with_name("periodic.db-wal")
    sizes = []
    for _ in range(3):
        while not store.wants_tending:
            store.apply([ops.Put(job(1, workload=b"x" * 3_000)), delete(1)] * 100)
            store.commit()
        store.tend()
        sizes.append(wal.stat().st_size)
    assert CHECKPOINT_WEIGHT > 0
    assert sizes[0] == sizes[1] == sizes[2]
    store.close()


def test_large_workloads_make_a_checkpoint_fall_due_by_their_pages(path: Path) -> None:
    store = SqliteStore(path, "relaxed")
    for job_id in range(1, 20):
        store.apply([ops.Put(job(job_id, str(job_id), workload=bytes(1_000_000)))])
        store.commit()
        if store.wants_tending:
            break
    assert job_id == 17, "4,000 pages of 4 KB"
    store.tend()
    store.close()


def test_a_listing_of_a_large_store_ends_in_the_middle_and_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("periodicd.store.reader._BY_ID.chunk", 10)
    monkeypatch.setattr("periodicd.store.reader.LISTING_S", -1)
    store = SqliteStore(path, "relaxed")
    store.apply([ops.Put(job(number, str(number), "rare" if number in (3, 35) else "f")) for number in range(1, 41)])
    store.commit()
    found, pages = [], 0
    after: ops.Place | None = None
    while True:
        page = store.list_jobs(ops.Listing("rare", after=after))
        found += [one.job.id for one in page.jobs]
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert (found, pages) == ([3, 35], 5)
    store.close()


def test_the_hot_statements_use_their_indexes(path: Path) -> None:
    store = SqliteStore(path, "relaxed")
    for statement, index in (
        (SQL["front"], "jobs_identity"),
        (SQL["page"], "jobs_waiting"),
        (SQL["next_priority"], "jobs_waiting"),
        (SQL["first_due"], "jobs_waiting"),
        (SQL["running"], "jobs_running"),
        (SQL["first_surplus"], "jobs_dead"),
        (SQL["dead_up_to"], "jobs_dead"),
        (SQL["delete_run"], "INTEGER PRIMARY KEY"),
        (SQL["release"], "INTEGER PRIMARY KEY"),
        (SQL["delete"], "INTEGER PRIMARY KEY"),
        (SQL["claim"], "INTEGER PRIMARY KEY"),
    ):
        plan = store._db.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
        assert index in str(plan), f"{statement}: {plan}"
        assert "TEMP B-TREE" not in str(plan), f"{statement}: {plan}"
    store.close()


@pytest.mark.parametrize(
    ("way", "index"),
    [
        (_BY_ID, "INTEGER PRIMARY KEY"),
        (_OF_STATE[State.RUNNING], "jobs_running"),
        (_OF_STATE[State.DEAD], "jobs_dead_by_id"),
        (_BY_NAME, "jobs_identity (func=? AND name>? AND name<?)"),
        (_BY_NAME, "jobs_behind (func=? AND name>? AND name<?)"),
    ],
)
def test_listings_use_their_indexes(path: Path, way: _Way, index: str) -> None:
    store = SqliteStore(path, "relaxed")
    for statement in (way.chunk_end, way.listed, way.count):
        marks = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
        plan = store._db.execute(f"EXPLAIN QUERY PLAN {statement}", marks).fetchall()
        assert index in str(plan), f"{statement}: {plan}"
        assert "SCAN jobs" not in str(plan), f"{statement}: {plan}"
    store.close()


def killed(store: SqliteStore) -> None:
    """What a kill leaves, but for the descriptors."""
    store._reader.close()
    store._db.close()
    os.close(store._held)


def counted(store: SqliteStore) -> list[tuple[str, int, int, int, int]]:
    return list(store._tables.counts.page("", ""))


def test_counts_are_kept_by_a_stop_in_order_and_made_anew_after_any_other(path: Path) -> None:
    store = SqliteStore(path)
    store.apply([ops.Boot(), ops.Put(job(1, "a")), ops.Put(job(2, "b", "g")), claim(2), bury(2), ops.Put(job(3, "b"))])
    store.commit()
    expected = [("f", 2, 0, 0, 0), ("g", 0, 0, 1, 0)]
    store = reopened(store)
    assert counted(store) == expected
    assert store._db.execute("SELECT * FROM counts").fetchall() == expected
    store.apply([ops.Boot(), delete(1)])
    store.commit()
    killed(store)
    store = SqliteStore(path)
    assert counted(store) == [("f", 1, 0, 0, 0), ("g", 0, 0, 1, 0)], "what was kept is out of date, and not believed"
    store.close()


def test_after_a_stop_in_order_nothing_is_counted_at_the_start(path: Path) -> None:
    store = SqliteStore(path)
    store.apply([ops.Put(job(1, "a"))])
    store.commit()
    store._tables.counts.change("f", live=6)
    store = reopened(store)
    assert counted(store) == [("f", 7, 0, 0, 0)], "it is taken from where it was kept"
    store.close()


def test_the_file_shrinks_when_its_jobs_have_gone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("periodicd.store.sqlite.FREE_PAGES", 64)
    store = SqliteStore(path, "relaxed")
    numbers = range(1, 5_001)
    store.apply([ops.Put(job(number, str(number), workload=b"x" * 3_000)) for number in numbers])
    store.commit()
    store.tend()
    full_bytes = path.stat().st_size
    store.apply([delete(number) for number in numbers])
    store.commit()
    tended = 0
    while store.wants_tending:
        store.tend()
        tended += 1
    store.close()
    assert full_bytes > 15_000_000
    assert path.stat().st_size < 500_000
    assert tended > 3, "some at a time"


def test_room_tells_how_large_the_files_are_and_what_the_disk_has(path: Path) -> None:
    store = SqliteStore(path)
    (found,) = store.apply([Room()])
    assert found.store_bytes == path.stat().st_size
    assert found.wal_bytes == path.with_name("periodic.db-wal").stat().st_size > 0
    disk = os.statvfs(path)
    assert 0 < found.free_bytes <= disk.f_blocks * disk.f_frsize
    store.close()
