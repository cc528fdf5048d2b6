"""Why does this job not run: every gate that is closed, and none of one that runs at once."""

from typing import Any

import pytest

from tests.core.script import Daemon, Peer, worker


def gates(client: Peer, name: str = "a", func: str = "f", **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.ask("explain", func, name, options)["gates"]
    return found


def codes(client: Peer, name: str = "a", func: str = "f") -> list[str]:
    return [gate["code"] for gate in gates(client, name, func)]


def one(client: Peer, name: str = "a", func: str = "f", **options: Any) -> dict[str, Any]:
    (gate,) = gates(client, name, func, **options)
    return gate


def test_a_job_that_is_not_due_and_has_no_worker() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=4_000)
    not_due, no_worker = gates(client)
    assert not_due == {
        "code": "not_due", "text": "it is not due for 4 s", "facts": {"due_at_ms": daemon.now.wall_ms + 4_000},
    }  # fmt: skip
    assert (no_worker["code"], no_worker["text"]) == ("no_worker", "no worker has its function")


def test_there_is_no_such_job_and_how_the_last_one_ended() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert one(client)["text"] == "there is no such job"
    client.submit("a", result_ms=60_000)
    client.ask("remove", "f", "a")
    daemon.later(3_000)
    gate = one(client)
    assert gate["text"] == "there is no such job; the last of this name ended 3 s ago: removed"
    assert gate["facts"]["ending"] == "removed"
    client.submit("a", delay_ms=50)
    assert one(client, id=99)["code"] == "changed"


def test_a_job_that_runs_is_behind_or_dead() -> None:
    daemon = Daemon()
    runner, client = worker(daemon, client="someone", silence_ms=3_600_000), daemon.connect()
    client.submit("a")
    run = runner.take()
    client.submit("a")
    daemon.later(300_000)
    gate = one(client)
    assert gate["code"] == "running"
    assert gate["text"].startswith("it runs by someone (connection")
    assert gate["text"].endswith(", since 5 m")
    behind_id = gate["facts"]["run"] + 1
    assert one(client, id=behind_id)["code"] == "behind"
    run.respond({"outcome": "failed", "reason": "disk full", "final": True})
    again = runner.take()
    again.respond({"outcome": "failed", "reason": "disk full", "final": True})
    assert one(client)["text"] == "it is dead: disk full"


def test_what_holds_its_function_back() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.ask("pause", "f")
    client.submit("a")
    assert codes(client) == ["paused"]
    client.ask("resume", "f")
    run = runner.take()
    client.ask("set_function", "f", {"running_max": 1})
    client.submit("b")
    assert codes(client, "b") == ["running_max"]
    client.ask("set_function", "f", {"rate": {"count": 1, "per_ms": 60_000}})
    runner.take().respond()
    client.submit("c")
    gate = one(client, "c")
    assert (gate["code"], gate["facts"]) == ("rate", {"until_at_ms": daemon.now.wall_ms + 60_000})
    run.respond()


def test_its_workers_are_busy_and_others_are_before_it() -> None:
    daemon = Daemon()
    runner, client = worker(daemon, limit=1), daemon.connect()
    for name in "abc":
        client.submit(name)
    assert codes(client, "b") == ["busy"]
    busy, ahead = gates(client, "c")
    assert (busy["text"], ahead["text"]) == ("all 1 workers of its function are busy", "b is before it")
    runner.take().respond()
    daemon.allow("run")


def test_its_locks_are_held_or_others_stand_before_it() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.ask("set_lock", "k", {"capacity": 3})
    client.submit("a", locks={"k": 2})
    client.submit("b", locks={"k": 2})
    client.submit("c", locks={"k": 1})
    client.submit("d", locks={"k": 4})
    run = runner.take()
    held = one(client, "b")
    assert (held["code"], held["text"]) == ("lock_held", "lock k: it wants 2, and of 3 there are 1 free")
    assert held["facts"]["held_by"] == [daemon.job("f", "a")["id"]]
    assert one(client, "c")["text"] == "another stands before it for lock k"
    assert one(client, "d")["text"] == "lock k: it wants 4, and the capacity is 3"
    client.ask("set_lock", "k", {"capacity": 4, "rate": {"count": 1, "per_ms": 60_000}})
    run.respond()
    runner.take().respond()
    assert codes(client, "c") == ["lock_rate"]


@pytest.mark.parametrize("locks", [None, {"k": 1}])
def test_nothing_is_closed_to_who_is_granted_and_a_job_that_runs_says_so(locks: dict[str, int] | None) -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.submit("a", locks=locks)
    assert codes(client) == ["running"]
    runner.take().respond()
    assert codes(client) == ["absent"]
