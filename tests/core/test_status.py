"""status: what it counts, in pages, and that what it costs does not grow."""

from pathlib import Path

import pytest

from periodicd.scheduler import figures
from periodicd.store import Store
from periodicd.store import counts as kept_counts
from periodicd.store.memory import MemoryStore
from periodicd.store.ops import Count
from periodicd.store.reads import COUNT_LOOKS
from periodicd.store.sqlite import SqliteStore
from tests.core.script import Daemon, worker


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "periodic.db", "relaxed")


def pages(daemon: Daemon, **query: object) -> list[list[str]]:
    client = daemon.connect()
    found: list[list[str]] = []
    after = None
    while not found or after is not None:
        status = client.ask("status", {**query, "after": after})
        found.append([each["func"] for each in status["functions"]])
        after = status["next"]
    return found


def test_functions_come_in_pages_whether_they_have_jobs_or_workers(store: Store) -> None:
    daemon = Daemon(store)
    client = daemon.connect()
    for func in ("a", "b", "ba", "bb", "c", "d"):
        client.submit("x", func=func, delay_ms=1_000)
    for func in ("aa", "b", "bab", "e"):
        worker(daemon, func)
    every = ["a", "aa", "b", "ba", "bab", "bb", "c", "d", "e"]
    for limit in range(1, 11):
        found = pages(daemon, limit=limit)
        assert [func for page in found for func in page] == every
        assert all(len(page) <= limit for page in found)
    assert pages(daemon, prefix="b", limit=2) == [["b", "ba"], ["bab", "bb"]]
    assert pages(daemon, prefix="ba") == [["ba", "bab"]]
    assert pages(daemon, prefix="zz") == [[]]


def test_since_the_start_everything_is_counted(store: Store) -> None:
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    client.submit("a", existing="keep")
    client.submit("a", existing="refuse")
    runner.take().respond({"outcome": "later"})
    runner.take().fail()
    client.submit("b", lease_ms=1_000, retry={"limit": 0})
    late = runner.take()
    daemon.later(1_100)
    runner.ask("finish", late.handle, {"outcome": "failed", "reason": "charged already"})
    runner.take().respond({"outcome": "done", "submit": [{"func": "g", "name": "x"}]})
    status = client.ask("status")
    figures = {key: status[key] for key in ("running", "submitted", "started", "done", "failed", "later")}
    assert figures == {"running": 0, "submitted": 3, "started": 4, "done": 1, "failed": 2, "later": 1}


def test_room_and_limits_are_told(store: Store) -> None:
    daemon = Daemon(store, connections=7, dead_kept=8, results_kept=9, results_bytes=1_000)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", result_ms=60_000)
    runner.take().respond({"outcome": "done", "data": b"abc"})
    client.ask("set_schedule", "s", {"job": {"func": "g"}, "every_ms": 1_000})
    status = client.ask("status")
    limits = {key: status[key] for key in ("connections_max", "dead_max", "results_max", "results_bytes_max")}
    assert limits == {"connections_max": 7, "dead_max": 8, "results_max": 9, "results_bytes_max": 1_000}
    used = {key: status[key] for key in ("results", "results_bytes", "schedules", "schedules_max")}
    assert used == {"results": 1, "results_bytes": 3, "schedules": 1, "schedules_max": 10_000}
    on_disk = isinstance(store, SqliteStore)
    assert (status["store_bytes"] > 0, status["wal_bytes"] > 0) == (on_disk, on_disk)
    assert (status["free_bytes"] is None) != on_disk


def test_behind_is_not_waiting(store: Store) -> None:
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    for _ in range(3):
        client.submit("a")
    client.submit("b", delay_ms=9_000)
    (f,) = client.ask("status")["functions"]
    assert (f["waiting"], f["running"], f["behind"], f["dead"]) == (1, 1, 1, 0)
    runner.take().respond({"outcome": "failed", "final": True})
    assert runner.names() == ["a"]
    (f,) = client.ask("status")["functions"]
    assert (f["waiting"], f["running"], f["behind"], f["dead"]) == (1, 1, 0, 0)


def test_where_nothing_waits_no_due_time_is_told(store: Store) -> None:
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    (f,) = client.ask("status")["functions"]
    assert (f["workers"], f["due_at_ms"]) == (1, None)
    client.submit("a")
    assert runner.names() == ["a"]
    (f,) = client.ask("status")["functions"]
    assert (f["running"], f["due_at_ms"]) == (1, None)


def test_names_that_users_choose_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept_counts, "IDLE_MAX", 50)
    monkeypatch.setattr(figures, "FUNCTIONS_MAX", 60)
    store = SqliteStore(tmp_path / "periodic.db", "relaxed")
    daemon = Daemon(store)
    runner = daemon.connect()
    for number in range(300):
        runner.ask("subscribe", f"f{number}")
        runner.submit("a", func=f"f{number}")
        runner.take().respond()
        runner.ask("unsubscribe", f"f{number}")
    assert len(store._tables.counts) <= 51
    remembered = [daemon.engine.scheduler.figures.lateness(f"f{number}")["started"] for number in range(300)]
    assert remembered == [0] * 240 + [1] * 60
    assert runner.ask("status")["functions"] == []
    runner.submit("again", func="f299", delay_ms=1_000)
    assert runner.ask("status")["functions"][0]["started"] == 1


def test_a_page_ends_early_rather_than_look_at_too_many_places(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "periodic.db", "relaxed")
    client = Daemon(store).connect()
    for func in range(10):
        for half in (range(-100, 0), range(101)):
            client.ask("submit_batch", [{"func": f"f{func}", "name": str(each), "priority": each} for each in half])
    statements: list[str] = []
    store._db.set_trace_callback(statements.append)
    (page,) = store.apply([Count("", "", 10)])
    assert len(statements) <= COUNT_LOOKS + 500
    assert len(page.functions) < 10
    assert page.more
    status = client.ask("status", {"limit": 10})
    assert status["next"] == status["functions"][-1]["func"]
