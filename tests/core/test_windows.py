"""Memory knows a window of what waits on disk: pages, budget, large workloads, many functions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from periodicd.scheduler.queues import JOB_OVERHEAD_BYTES, Budget
from periodicd.store import Store
from periodicd.store.memory import MemoryStore
from periodicd.store.sqlite import SqliteStore
from tests.core.script import Daemon, Peer, worker

SMALL = Budget(jobs=40, bytes=10**6, page_jobs=8)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "periodic.db", "relaxed")
    yield store
    store.close()


def submit_many(daemon: Daemon, count: int, func: str = "f", **job: object) -> None:
    client = daemon.connect()
    for begin in range(0, count, 1000):
        numbers = range(begin, min(begin + 1000, count))
        client.ask("submit_batch", [{"func": func, "name": f"{number:06}", **job} for number in numbers])


def run_all(runner: Peer, until: Callable[[], bool] = lambda: False) -> list[str]:
    """Answer every job at once, and return the names in the order in which they came."""
    order = []
    while runner.runs and not until():
        run = runner.take()
        order.append(run.name)
        run.respond()
    return order


def test_jobs_come_in_order_page_by_page(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    submit_many(daemon, 500)
    runner = worker(daemon, limit=3)
    assert run_all(runner) == [f"{number:06}" for number in range(500)]
    assert daemon.connect().ask("status")["functions"][0]["waiting"] == 0


def test_memory_stays_within_the_budget_whatever_is_submitted(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    runner = worker(daemon, limit=1)
    daemon.connect().submit("first")
    for priority in (3, 1, 2):
        submit_many(daemon, 100, f"g{priority}", priority=priority)
        submit_many(daemon, 100, "f", priority=priority, delay_ms=priority)
    assert len(daemon.engine.scheduler.dispatch.queues) <= SMALL.jobs
    daemon.later(5)
    names = run_all(runner)
    assert len(names) == 101


def test_a_function_without_subscriber_costs_no_memory(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    submit_many(daemon, 300)
    assert len(daemon.engine.scheduler.dispatch.queues) == 0
    runner = worker(daemon, limit=1)
    assert 0 < len(daemon.engine.scheduler.dispatch.queues) <= SMALL.jobs
    assert len(runner.names()) == 1
    runner.ask("unsubscribe_all")
    assert (len(daemon.engine.scheduler.dispatch.queues), daemon.engine.scheduler.dispatch.queues.held_bytes) == (0, 0)


def test_resubmits_across_the_window_s_edge(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    client = daemon.connect()
    for number in range(100):
        client.submit(f"{number:02}", delay_ms=1_000 + number)
    runner = worker(daemon, limit=200)
    client.submit("90", delay_ms=500)
    client.submit("03", delay_ms=5_000)
    client.submit("95", delay_ms=0)
    client.submit("50", delay_ms=1_010)
    assert runner.names() == ["95"]
    daemon.later(500)
    assert runner.names() == ["95", "90"]
    daemon.later(1_000)
    rest = [f"{number:02}" for number in range(100) if number not in (3, 50, 90, 95)]
    assert sorted(runner.names()[2:]) == sorted([*rest, "50"])
    assert runner.names().index("50") < runner.names().index("20")
    daemon.later(3_499)
    assert "03" not in runner.names()
    daemon.later(1)
    assert runner.names()[-1] == "03"


def test_what_changes_in_the_step_that_reads_a_page_wins_over_the_page(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    client = daemon.connect()
    for number in range(30):
        client.submit(f"{number:02}")
    runner = daemon.connect()
    subscribed = runner.send("subscribe", "f", {"limit": 100})
    client.send("submit", {"func": "f", "name": "00", "workload": "new"})
    client.send("submit", {"func": "f", "name": "01", "delay_ms": 1_000})
    client.send("submit", {"func": "f", "name": "first", "priority": -1})
    client.send("remove", "f", "02")
    daemon.step()
    assert len(client.answers) == 4
    assert runner.answer(subscribed) == {}
    names = runner.names()
    assert names[0] == "first"
    assert len(names) == len(set(names)) == 29
    assert "01" not in names
    assert "02" not in names
    assert next(run for run in runner.runs if run.name == "00").job["workload"] == b"new"


def test_jobs_that_run_are_not_read_again_although_their_claims_are_not_on_disk(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    submit_many(daemon, 60)
    runner = worker(daemon, limit=60)
    assert len(runner.runs) == len(set(runner.names())) == 60


def test_a_failed_job_beyond_the_window_comes_back_in_its_turn(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    submit_many(daemon, 100, retry={"backoff": "fixed", "delay_ms": 1_000})
    runner = worker(daemon, limit=1)
    runner.take().fail()
    daemon.later(1_000)
    order = run_all(runner)
    assert order[0] == "000001"
    assert order[-1] == "000000"
    assert len(order) == 100


def test_a_high_priority_job_on_disk_goes_before_a_full_window_of_due_ones(store: Store) -> None:
    daemon = Daemon(store, budget=SMALL)
    submit_many(daemon, 200)
    daemon.connect().submit("urgent", priority=-1, delay_ms=10)
    runner = worker(daemon, limit=1)
    assert run_all(runner, until=lambda: runner.names() == ["000005"]) == [f"{number:06}" for number in range(5)]
    daemon.later(10)
    runner.take().respond()
    assert runner.names() == ["urgent"]


def test_large_workloads_stay_on_disk_until_their_job_is_given_out(store: Store) -> None:
    daemon = Daemon(store, budget=Budget(bytes=300_000))
    client, runner = daemon.connect(), worker(daemon, limit=1)
    for number in range(10):
        client.submit(str(number), workload=bytes([number]) * 1_000_000, delay_ms=1)
    assert daemon.engine.scheduler.dispatch.queues.held_bytes == 10 * JOB_OVERHEAD_BYTES
    daemon.later(1)
    for number in range(10):
        run = runner.take()
        assert run.job["workload"] == bytes([number]) * 1_000_000
        run.respond()


def test_many_middling_workloads_stay_within_the_bytes(store: Store) -> None:
    budget = Budget(jobs=10_000, bytes=200_000)
    daemon = Daemon(store, budget=budget)
    runner = worker(daemon, limit=1)
    submit_many(daemon, 300, workload=b"x" * 4_000)
    assert daemon.engine.scheduler.dispatch.queues.held_bytes <= budget.bytes
    assert len(run_all(runner)) == 300


def test_a_single_workload_larger_than_the_budget_is_still_served(store: Store) -> None:
    daemon = Daemon(store, budget=Budget(bytes=1_000, inline_bytes=4_096))
    client, runner = daemon.connect(), worker(daemon, limit=1)
    for name in "abc":
        client.submit(name, workload=name * 4_000)
    assert [run_all(runner)] == [["a", "b", "c"]]


def test_five_times_as_many_functions_as_jobs_in_the_budget_share_it(tmp_path: Path) -> None:
    # Not on the model, which looks at every job for each function.
    daemon = Daemon(SqliteStore(tmp_path / "periodic.db", "relaxed"), budget=Budget(jobs=400))
    client = daemon.connect()
    for begin in range(0, 2_000, 500):
        funcs = range(begin, begin + 500)
        client.ask("submit_batch", [{"func": f"f{func}", "name": name} for func in funcs for name in "ab"])
    peers = [daemon.connect() for _ in range(10)]
    for number in range(2_000):
        peers[number % 10].send("subscribe", f"f{number}", {"limit": 1})
    daemon.step()
    assert sum(len(peer.answers) for peer in peers) == 2_000
    assert len(daemon.engine.scheduler.dispatch.queues) <= 2_000
    assert sum(len(run_all(peer)) for peer in peers) == 4_000
    daemon.store.close()
