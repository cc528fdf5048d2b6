"""Workers that ask for jobs: long polls, runs that are no connection's."""

from typing import Any

import pytest

from periodic_client.wire import Draining, Invalid, LeaseLost
from periodicd.scheduler.dispatch import LINGER_MS
from tests.core.script import Daemon, Peer, worker

MINUTE_MS = 60_000


def taken(peer: Peer, *funcs: str, **options: Any) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = peer.ask("take", {"funcs": funcs or ["f"], **options})["jobs"]
    return jobs


def names(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["name"] for job in jobs]


def test_what_is_due_is_given_at_once() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    for name in "abc":
        taker.submit(name, priority=ord("c") - ord(name))
    (job,) = taken(taker)
    assert (job["name"], job["attempt"], job["workload"]) == ("c", 1, b"")
    assert names(taken(taker, max=9)) == ["b", "a"]
    assert taker.ask("finish", job["handle"]) == {}
    assert daemon.gone("f", "c")


def test_a_take_waits_for_the_first_job() -> None:
    daemon = Daemon()
    taker, client = daemon.connect(), daemon.connect()
    waits = taker.send("take", {"funcs": ["f", "g"], "max": 5})
    daemon.step()
    client.submit("later", delay_ms=100)
    assert not taker.answers
    client.submit("a", func="g")
    assert names(taker.answer(waits)["jobs"]) == ["a"]


def test_a_take_that_waits_is_given_what_comes_due() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a", delay_ms=100)
    waits = taker.send("take", {"funcs": ["f"]})
    daemon.later(99)
    assert not taker.answers
    daemon.later(1)
    assert names(taker.answer(waits)["jobs"]) == ["a"]


def test_when_its_time_is_over_a_take_is_answered_empty() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    waits = taker.send("take", {"funcs": ["f"], "wait_ms": 2_000})
    daemon.step()
    daemon.later(1_999)
    assert not taker.answers
    daemon.later(1)
    assert taker.answer(waits) == {"jobs": []}
    waits = taker.send("take", {"funcs": ["f"], "wait_ms": 0})
    daemon.step()
    daemon.later(1)
    assert taker.answer(waits) == {"jobs": []}
    waits = taker.send("take", {"funcs": ["f"]})
    daemon.step()
    taker.ask("unwait", waits)
    assert taker.answer(waits) == {"jobs": []}


def test_takers_and_subscribers_are_served_in_turn() -> None:
    daemon = Daemon()
    taker, runner = daemon.connect(), worker(daemon, limit=2)
    waits = [taker.send("take", {"funcs": ["f"]}) for _ in range(2)]
    daemon.step()
    runner.ask("submit_batch", [{"func": "f", "name": name} for name in "abcd"])
    assert runner.names() == ["a", "d"]
    assert [names(taker.answer(waiting)["jobs"]) for waiting in waits] == [["b"], ["c"]]


def test_only_the_lease_brings_a_taken_job_back() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a", retry={"backoff": "fixed", "delay_ms": 0})
    (job,) = taken(taker, lease_ms=5_000)
    taker.close()
    daemon.later(4_999)
    assert daemon.job("f", "a")["state"] == "running"
    daemon.later(1)
    other = daemon.connect()
    (again,) = taken(other)
    assert (again["attempt"], again["failures"]) == (2, 1)
    with pytest.raises(LeaseLost):
        other.ask("finish", job["handle"])
    other.ask("finish", again["handle"])


def test_a_taker_is_told_the_lease_that_it_asked_for() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a")
    taker.submit("b")
    assert [job["lease_ms"] for job in taken(taker, lease_ms=5_000) + taken(taker)] == [5_000, 600_000]


def test_a_taken_run_is_extended_by_its_own_lease() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a")
    (job,) = taken(taker, lease_ms=5_000)
    daemon.later(4_000)
    assert taker.ask("extend", job["handle"])["lease_until_at_ms"] == daemon.now.wall_ms + 5_000


def test_a_restart_leaves_a_taken_run_its_lease() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a", retry={"limit": 0})
    (job,) = taken(taker, lease_ms=MINUTE_MS)
    daemon.later(100)
    daemon.start()
    daemon.later(MINUTE_MS - 2_000)
    assert daemon.connect().ask("extend", job["handle"])["lease_until_at_ms"] == daemon.now.wall_ms + MINUTE_MS
    daemon.later(MINUTE_MS - 1_000)
    assert daemon.job("f", "a")["state"] == "running", "a subscriber's run would have been given up after 30 s"
    assert daemon.connect().ask("finish", job["handle"]) == {}
    assert daemon.gone("f", "a")


def test_a_clock_that_was_set_back_before_a_restart_prolongs_no_taken_run_beyond_its_lease() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.submit("a", retry={"limit": 0})
    taker.submit("b", retry={"limit": 0}, run_max_ms=5_000)
    taken(taker, lease_ms=5_000)
    taken(taker, lease_ms=MINUTE_MS)
    daemon.later(1_000, wall_ms=-60 * MINUTE_MS)
    daemon.start()
    daemon.later(5_000)
    assert [daemon.job("f", name)["state"] for name in "ab"] == ["dead", "dead"]


def test_a_taker_that_dies_before_its_answer_leaves_the_job_to_its_lease() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.send("take", {"funcs": ["f"]})
    daemon.step()
    taker.detach()
    client = daemon.connect()
    client.submit("a")
    assert daemon.job("f", "a")["state"] == "waiting", "its request went with it"


def test_a_taken_run_may_be_taken_over_and_is_then_a_connection_s() -> None:
    daemon = Daemon()
    taker, other = daemon.connect(), daemon.connect()
    taker.submit("a")
    (job,) = taken(taker)
    other.ask("extend", job["handle"], {"own": True})
    other.close()
    assert daemon.job("f", "a")["state"] == "waiting"


def test_large_workloads_are_read_when_they_are_given() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    for name in "ab":
        taker.submit(name, workload=bytes(5_000))
    assert [len(job["workload"]) for job in taken(taker, max=2)] == [5_000, 5_000]


def test_a_take_gives_no_more_than_a_connection_may_be_sent_ahead() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    for name in "abcd":
        taker.submit(name, workload=bytes(700_000))
    assert names(taken(taker, max=4)) == ["a", "b"]
    assert names(taken(taker, max=4)) == ["c", "d"]


def test_who_takes_again_and_again_has_its_function_remembered() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    taker.ask("submit_batch", [{"func": "f", "name": str(number)} for number in range(3)])
    queues = daemon.engine.scheduler.dispatch.queues
    taken(taker)
    assert queues.is_open("f")
    daemon.later(LINGER_MS - 1)
    assert queues.is_open("f")
    assert names(taken(taker)) == ["1"]
    daemon.later(LINGER_MS)
    assert not queues.is_open("f")
    assert names(taken(taker)) == ["2"]
    assert [function["workers"] for function in taker.ask("status")["functions"]] == [0]


def test_a_daemon_that_stops_gives_nothing_more() -> None:
    daemon = Daemon()
    taker = daemon.connect()
    waits = taker.send("take", {"funcs": ["f"]})
    daemon.step()
    daemon.engine.scheduler.drain()
    daemon.step()
    assert taker.answer(waits) == {"jobs": []}
    with pytest.raises(Draining):
        taken(taker)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"funcs": []}, "options.funcs"),
        ({"funcs": ["x" * 256]}, r"options.funcs\[0\]"),
        ({"funcs": ["f"], "max": 0}, "options.max"),
        ({"max": 1}, "options.funcs"),
    ],
)
def test_a_take_that_cannot_be_is_refused(options: dict[str, Any], what: str) -> None:
    daemon = Daemon()
    with pytest.raises(Invalid, match=what):
        daemon.connect().ask("take", options)
