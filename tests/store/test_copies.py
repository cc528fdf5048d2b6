"""Copies of a store, taken beside its writer, and put in its place."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from periodicd.store import StoreError, ops
from periodicd.store.copies import Numbers, backup, restore
from periodicd.store.sqlite import SqliteStore
from tests.store.conformance import job


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "periodic.db"


def made(store: Path, *names: str, boots: int = 1, next_id: int = 100) -> None:
    """A store with these jobs; left as by a stop."""
    opened = SqliteStore(store)
    for _ in range(boots):
        opened.apply([ops.Boot()])
    opened.apply([ops.Reserve(next_id), *(ops.Put(job(n, name)) for n, name in enumerate(names, 1))])
    opened.commit()
    opened.close()


def names(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as db:
        return [name for (name,) in db.execute("SELECT name FROM jobs ORDER BY id")]


def numbers(store: Path) -> Numbers:
    with closing(sqlite3.connect(store)) as db:
        return Numbers(*db.execute("SELECT boot, next_id FROM daemon").fetchone())


def test_a_copy_is_one_state_of_a_store_that_is_written_to(store: Path, tmp_path: Path) -> None:
    """Each commit writes two jobs anew: a copy that saw half of one would have them from different commits."""
    opened = SqliteStore(store, "relaxed")
    stopped = threading.Event()

    def write() -> None:
        number = 0
        while not stopped.is_set():
            number += 2
            workload = b"%d" % number + b" " * 9_000
            puts = [job(number + n, f"{side} {number % 50}", workload=workload) for n, side in enumerate("ab")]
            opened.apply([ops.Put(each) for each in puts])
            opened.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(20):
            copy = tmp_path / f"copy-{number}"
            backup(store, copy)
            with closing(sqlite3.connect(copy)) as db:
                ids = dict(db.execute("SELECT name, id FROM jobs").fetchall())
            assert all(ids[name.replace("a", "b")] == job_id + 1 for name, job_id in ids.items() if name[0] == "a")
            assert copy.stat().st_mode & 0o777 == 0o600
            copy.unlink()
    finally:
        stopped.set()
        writer.join()
        opened.close()
    assert not list(tmp_path.glob("copy-*")) + list(tmp_path.glob("*.part-*"))


def test_a_copy_overwrites_nothing(store: Path, tmp_path: Path) -> None:
    made(store, "a")
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        backup(store, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_where_it_cannot_be_written_there_is_no_part_of_one(store: Path, tmp_path: Path) -> None:
    made(store, "a")
    with pytest.raises(StoreError, match="No such file or directory"):
        backup(store, tmp_path / "no-folder" / "copy")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_what_is_no_store_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no store, but a text that is long enough to have a header" * 10)
    with closing(sqlite3.connect(tmp_path / "other")) as db:
        db.execute("CREATE TABLE jobs (id)")
    for name, why in (("text", "is not a SQLite database"), ("other", "is no store"), ("absent", "there is no")):
        with pytest.raises(StoreError, match=why):
            backup(tmp_path / name, tmp_path / "copy")
        with pytest.raises(StoreError, match=why):
            restore(tmp_path / name, tmp_path / "periodic.db")
    assert not (tmp_path / "periodic.db").exists()


def test_numbers_go_on_above_those_of_the_store_that_is_replaced(store: Path, tmp_path: Path) -> None:
    made(store, "a", boots=3, next_id=100)
    backup(store, tmp_path / "copy")
    made(store, boots=2, next_id=5_000)
    restored = restore(tmp_path / "copy", store)
    assert (restored.jobs, restored.numbers, restored.are_known) == (1, Numbers(5, 5_000), True)
    assert (names(store), numbers(store)) == (["a"], Numbers(5, 5_000))
    assert restored.replaced is not None
    assert numbers(restored.replaced) == Numbers(5, 5_000)
    opened = SqliteStore(store)
    (boot,) = opened.apply([ops.Boot()])
    assert isinstance(boot, ops.BootResult)
    assert (boot.boot, boot.next_id) == (6, 5_000)
    opened.close()


def test_a_copy_that_is_further_than_the_store_keeps_its_own_numbers(store: Path, tmp_path: Path) -> None:
    made(store, "a", boots=3, next_id=100)
    backup(store, tmp_path / "copy")
    store.unlink()
    made(store, "b", boots=1, next_id=7)
    assert restore(tmp_path / "copy", store).numbers == Numbers(3, 100)


@pytest.mark.parametrize("what", ["absent", "damaged"])
def test_where_the_store_cannot_be_asked_many_numbers_are_passed_over(store: Path, tmp_path: Path, what: str) -> None:
    made(store, "a", boots=3, next_id=100)
    backup(store, tmp_path / "copy")
    store.unlink()
    if what == "damaged":
        store.write_bytes(b"damaged " * 10_000)
    restored = restore(tmp_path / "copy", store)
    assert (restored.numbers, restored.are_known) == (Numbers(1_003, 1_000_000_100), False)
    assert names(store) == ["a"]
    if what == "damaged":
        assert restored.replaced is not None
        assert restored.replaced.read_bytes() == b"damaged " * 10_000


def test_the_changes_beside_the_replaced_store_stay_with_it(store: Path, tmp_path: Path) -> None:
    """A -wal that met another file would damage that."""
    made(store, "a")
    backup(store, tmp_path / "copy")
    killed = SqliteStore(store)
    killed.apply([ops.Put(job(9, "later"))])
    killed.commit()
    left = tmp_path / "left.db"
    for suffix in ("", "-wal"):
        left.with_name(left.name + suffix).write_bytes(store.with_name(store.name + suffix).read_bytes())
    killed.close()
    restored = restore(tmp_path / "copy", left)
    assert names(left) == ["a"]
    assert restored.replaced is not None
    assert names(restored.replaced) == ["a", "later"]


def test_a_store_that_is_in_use_is_not_replaced(store: Path, tmp_path: Path) -> None:
    made(store, "a")
    backup(store, tmp_path / "copy")
    opened = SqliteStore(store)
    with pytest.raises(StoreError, match="is in use by another periodicd"):
        restore(tmp_path / "copy", store)
    opened.close()


def test_a_copy_that_is_damaged_or_newer_replaces_nothing(store: Path, tmp_path: Path) -> None:
    made(store, *map(str, range(2_000)))
    backup(store, tmp_path / "copy")
    whole = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes(whole[:20_000] + b"\xff" * 8_192 + whole[28_192:])
    with pytest.raises(StoreError, match="is damaged"):
        restore(tmp_path / "copy", store)
    (tmp_path / "copy").write_bytes(whole)
    with closing(sqlite3.connect(tmp_path / "copy")) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('periodicd', 'later', '')")
        db.commit()
    for use in (lambda: restore(tmp_path / "copy", store), lambda: backup(tmp_path / "copy", tmp_path / "more")):
        with pytest.raises(StoreError, match=r"written by a newer periodicd \(it has later\)"):
            use()
    assert len(names(store)) == 2_000
    assert not list(tmp_path.glob("*.restored-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("is_there", [True, False])
def test_what_root_restores_belongs_to_who_the_daemon_runs_as(store: Path, tmp_path: Path, is_there: bool) -> None:
    made(store, "a")
    backup(store, tmp_path / "copy")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, 65_534, 65_533)
    other = folder / "periodic.db"
    if is_there:
        made(other)
        os.chown(other, 65_532, 65_531)
    restore(tmp_path / "copy", other)
    owner = (65_532, 65_531) if is_there else (65_534, 65_533)
    for path in (other, folder / "periodic.db.lock"):
        assert (path.stat().st_uid, path.stat().st_gid) == owner
