"""Far more jobs on disk than memory may hold: what it holds, who goes first, and that all of them are in order.

`make bench` does the same with a million, and says what that costs.
"""

import sqlite3
from pathlib import Path

from periodicd.scheduler.queues import Budget
from periodicd.store.sqlite import SqliteStore
from tests.core.script import START, Daemon, worker

BACKLOG = 10 * Budget().jobs

FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO jobs (id, func, name, priority, due_at_ms, submitted_at_ms, lease_ms, workload_bytes, workload)
SELECT n, 'f', printf('%07d', n), 0, :due_at_ms - n % 1000, 0, 600000, 1, x'41' FROM numbers
"""


def filled(path: Path, due_at_ms: int) -> SqliteStore:
    """A store with so many jobs of "f", put there by SQL since a test need not wait for as many submits."""
    SqliteStore(path, "relaxed").close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute(FILL, {"count": BACKLOG, "due_at_ms": due_at_ms})
        db.execute("UPDATE daemon SET next_id = ?, counted = 0", (BACKLOG + 1,))
    db.close()
    return SqliteStore(path, "relaxed")


def test_a_backlog_that_is_due_and_a_high_priority_job_on_disk(tmp_path: Path) -> None:
    daemon = Daemon(filled(tmp_path / "periodic.db", START.wall_ms))
    client = daemon.connect()
    client.submit("urgent", priority=-1)
    runner = worker(daemon, limit=1)
    assert len(daemon.engine.scheduler.dispatch.queues) <= 2 * daemon.settings.budget.page_jobs
    run = runner.take()
    assert run.name == "urgent"
    run.respond()
    order = []
    for number in range(2_000):
        if number == 1_000:
            client.submit("second", priority=-1)
        run = runner.take()
        order.append((run.job["priority"], run.job["due_at_ms"], run.name))
        run.respond()
    assert order[1_001][2] == "second"
    del order[1_001]
    assert len(runner.runs) == 1
    assert order == sorted(order)
    assert len(daemon.engine.scheduler.dispatch.queues) <= 2 * daemon.settings.budget.page_jobs
    assert client.ask("status")["functions"][0]["waiting"] == BACKLOG - 2_000
    daemon.store.close()


def test_a_backlog_for_later_costs_memory_neither_with_nor_without_a_subscriber(tmp_path: Path) -> None:
    daemon = Daemon(filled(tmp_path / "periodic.db", START.wall_ms + 1_000_000_000))
    assert len(daemon.engine.scheduler.dispatch.queues) == 0
    runner = worker(daemon)
    assert len(daemon.engine.scheduler.dispatch.queues) <= daemon.settings.budget.page_jobs
    assert not runner.runs
    client = daemon.connect()
    client.submit("now")
    assert runner.names() == ["now"]
    client.submit("0100000", delay_ms=10)
    daemon.later(10)
    assert runner.names() == ["now", "0100000"]
    assert client.ask("status")["functions"][0]["waiting"] == BACKLOG - 1
    daemon.store.close()
