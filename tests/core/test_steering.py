"""What clients do with one job beside submitting it: cancel, move, end its run; and what is told of its errors."""

from typing import Any

import pytest

from periodic_client.wire import Invalid, LeaseLost
from tests.core.script import START, Daemon, Peer, Run, worker

MINUTE_MS = 60_000


def one_run(daemon: Daemon, **job: Any) -> tuple[Peer, Run]:
    runner = worker(daemon)
    daemon.connect().submit("a", **job)
    return runner, runner.take()


# -- cancel ------------------------------------------------------------------------------------------------------------


def test_what_waits_is_gone_at_once() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", result_ms=MINUTE_MS)
    assert client.ask("cancel", "f", "a", {"reason": "not wanted"}) == {"result": "cancelled"}
    last = client.ask("get", "f", "a")["last"]
    assert (last["ending"], last["reason"]) == ("cancelled", "not wanted")
    assert client.ask("cancel", "f", "a") == {"result": "absent"}
    worker(daemon)


def test_what_was_given_out_just_now_and_is_removed_was_given_out_once() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, result_ms=MINUTE_MS)
    client = daemon.connect()
    assert client.ask("remove", "f", "a") == {"result": "removed"}
    assert runner.notices == [(run.handle, "lost")]
    last = client.ask("get", "f", "a")["last"]
    assert (last["ending"], last["attempt"]) == ("removed", 1)


def test_who_runs_is_told_and_its_failure_ends_the_job() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, result_ms=MINUTE_MS)
    client = daemon.connect()
    assert client.ask("cancel", "f", "a", {"reason": "not wanted"}) == {"result": "asked"}
    assert runner.notices == [(run.handle, "cancel")]
    assert daemon.job("f", "a")["cancelled"] == "not wanted"
    assert runner.ask("extend", run.handle)["cancelled"] is True
    run.fail("stopped")
    assert daemon.gone("f", "a")
    last = client.ask("get", "f", "a")["last"]
    assert (last["ending"], last["reason"]) == ("cancelled", "not wanted")


@pytest.mark.parametrize("how", ["later", "fail", "lease", "lost", "goodbye", "restart"])
def test_a_job_asked_to_end_ends_with_its_run_however_that_ends(how: str) -> None:
    daemon = Daemon()
    daemon.allow("notice", "answer")
    runner, run = one_run(daemon, lease_ms=1_000)
    daemon.connect().ask("cancel", "f", "a")
    if how == "later":
        run.respond({"outcome": "later"})
    elif how == "fail":
        run.fail()
    elif how == "lease":
        daemon.later(1_000)
    elif how == "lost":
        runner.close()
    elif how == "goodbye":
        runner.ask("unsubscribe_all")
        runner.close()
    else:
        daemon.start()
        daemon.later(30_000)
    assert daemon.gone("f", "a")


def test_a_run_that_fails_in_the_step_of_the_cancel_was_the_last() -> None:
    daemon = Daemon()
    _, run = one_run(daemon, result_ms=MINUTE_MS)
    client = daemon.connect()
    cancelled = client.send("cancel", "f", "a", {"reason": "not wanted"})
    run.fail()
    assert client.answer(cancelled) == {"result": "asked"}
    last = client.ask("get", "f", "a")["last"]
    assert (last["ending"], last["reason"]) == ("cancelled", "not wanted")
    assert daemon.gone("f", "a")


def test_done_stays_done_with_its_follow_ons() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, result_ms=MINUTE_MS)
    client = daemon.connect()
    client.ask("cancel", "f", "a")
    run.respond({"outcome": "done", "data": b"x", "submit": [{"func": "f", "name": "b"}]})
    assert client.ask("get", "f", "a")["last"]["ending"] == "done"
    assert runner.take().name == "b"
    assert runner.notices


def test_by_name_what_waits_behind_goes_too_and_by_id_only_that_one() -> None:
    daemon = Daemon()
    daemon.allow("notice")
    runner, run = one_run(daemon)
    client = daemon.connect()
    behind = client.ask("submit", {"func": "f", "name": "a"})["id"]
    assert client.ask("cancel", "f", "a", {"id": behind}) == {"result": "cancelled"}
    assert daemon.job("f", "a")["cancelled"] is None
    client.submit("a")
    assert client.ask("cancel", "f", "a", {"id": 1}) == {"result": "asked"}
    run.fail()
    assert runner.take().job["attempt"] == 1, "the one behind took its place"
    client.submit("a")
    assert client.ask("cancel", "f", "a") == {"result": "asked"}
    assert daemon.job("f", "a")["behind"] is False
    assert client.ask("cancel", "f", "a", {"id": 99}) == {"result": "changed"}


def test_the_dead_are_not_cancelled() -> None:
    daemon = Daemon()
    _, run = one_run(daemon)
    run.respond({"outcome": "failed", "reason": "x", "final": True})
    assert daemon.connect().ask("cancel", "f", "a") == {"result": "not_live"}
    assert daemon.job("f", "a")["state"] == "dead"


# -- move --------------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_moved_without_its_workload() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS, workload=b"w")
    client.submit("b", delay_ms=MINUTE_MS)
    runner = worker(daemon)
    assert client.ask("move", "f", "b", {"delay_ms": 5}) == {"result": "moved"}
    daemon.later(5)
    assert runner.take().name == "b"
    at_ms = daemon.now.wall_ms + 2 * MINUTE_MS
    assert client.ask("move", "f", "a", {"due_at_ms": at_ms, "priority": -5}) == {"result": "moved"}
    job = daemon.job("f", "a")
    assert (job["due_at_ms"], job["priority"], job["workload"], job["id"]) == (at_ms, -5, b"w", 1)
    assert client.ask("move", "f", "a", {"due_at_ms": 0}) == {"result": "moved"}
    assert runner.take().job["due_at_ms"] == daemon.now.wall_ms, "a due time in the past is now"


def test_what_is_behind_is_moved_by_its_id() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon)
    client = daemon.connect()
    behind = client.ask("submit", {"func": "f", "name": "a"})["id"]
    assert client.ask("move", "f", "a", {"delay_ms": 100}) == {"result": "not_waiting"}
    assert client.ask("move", "f", "a", {"delay_ms": 100, "id": behind}) == {"result": "moved"}
    run.respond()
    daemon.later(99)
    assert not runner.runs
    daemon.later(1)
    assert runner.take().name == "a"


def test_what_does_not_wait_is_not_moved() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.ask("move", "f", "a", {"priority": 1}) == {"result": "absent"}
    _, run = one_run(daemon)
    assert client.ask("move", "f", "a", {"priority": 1, "id": 9}) == {"result": "changed"}
    run.respond({"outcome": "failed", "reason": "x", "final": True})
    assert client.ask("move", "f", "a", {"priority": 1}) == {"result": "not_waiting"}
    for options in ({}, {"due_at_ms": 1, "delay_ms": 1}):
        with pytest.raises(Invalid, match="due_at_ms"):
            client.ask("move", "f", "a", options)


# -- end_run -----------------------------------------------------------------------------------------------------------


def test_an_operator_ends_a_run_that_hangs() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, retry={"backoff": "fixed", "delay_ms": 100})
    client = daemon.connect()
    assert client.ask("end_run", "f", "a", {"reason": "it hangs"}) == {"result": "ended"}
    assert runner.notices == [(run.handle, "lost")]
    job = daemon.job("f", "a")
    assert (job["state"], job["failures"], job["reason"]) == ("waiting", 1, "it hangs")
    with pytest.raises(LeaseLost):
        client.ask("finish", run.handle)
    run.respond(b"too late")
    assert daemon.job("f", "a")["state"] == "waiting"
    daemon.later(100)
    again = runner.take()
    assert client.ask("end_run", "f", "a", {"as": "later", "id": 1}) == {"result": "ended"}
    assert daemon.job("f", "a")["failures"] == 1
    again.respond()
    daemon.allow("run", "notice")


def test_only_what_runs_has_a_run_to_end() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.ask("end_run", "f", "a") == {"result": "absent"}
    client.submit("a")
    assert client.ask("end_run", "f", "a") == {"result": "not_running"}
    assert client.ask("end_run", "f", "a", {"id": 9}) == {"result": "changed"}


# -- how long a run may take -------------------------------------------------------------------------------------------


def test_a_run_ends_after_its_longest_time_whatever_was_extended() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, lease_ms=1_000, run_max_ms=2_500, retry={"limit": 0})
    daemon.later(900)
    runner.ask("extend", run.handle)
    daemon.later(900)
    until_at_ms = runner.ask("extend", run.handle, {"lease_ms": MINUTE_MS})["lease_until_at_ms"]
    assert until_at_ms == START.wall_ms + 2_500
    daemon.later(699)
    assert daemon.job("f", "a")["state"] == "running"
    daemon.later(1)
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"]) == ("dead", "it ran for longer than its run_max_ms, 2,500")
    assert runner.notices == [(run.handle, "lost")]
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle)


def test_a_restart_does_not_prolong_the_longest_time() -> None:
    daemon = Daemon()
    _, run = one_run(daemon, lease_ms=1_000, run_max_ms=10_000)
    daemon.later(900)
    daemon.start()
    runner = daemon.connect()
    until_at_ms = runner.ask("extend", run.handle, {"own": True, "lease_ms": MINUTE_MS})["lease_until_at_ms"]
    assert until_at_ms == START.wall_ms + 10_000


# -- what is told ------------------------------------------------------------------------------------------------------


def test_the_last_five_errors_are_told_with_attempt_and_time() -> None:
    daemon = Daemon()
    runner, run = one_run(daemon, retry={"limit": 9, "backoff": "fixed", "delay_ms": 10})
    for number in range(1, 7):
        run.fail(f"broken {number} {'ä' * 200}")
        daemon.later(10)
        run = runner.take()
    daemon.start()
    errors = daemon.job("f", "a")["errors"]
    assert [(each["attempt"], each["at_ms"] - START.wall_ms) for each in errors] == [
        (2, 10), (3, 20), (4, 30), (5, 40), (6, 50),
    ]  # fmt: skip
    assert errors[-1]["text"].startswith("broken 6 ää")
    assert len(errors[-1]["text"].encode()) <= 300


def test_a_job_that_waits_again_tells_when_its_run_began() -> None:
    daemon = Daemon()
    _, run = one_run(daemon, retry={"backoff": "fixed", "delay_ms": MINUTE_MS})
    run.fail()
    assert daemon.job("f", "a")["started_at_ms"] == START.wall_ms


def test_a_running_job_tells_who_runs_it_since_when_and_until_when() -> None:
    daemon = Daemon()
    runner = worker(daemon, client="resizer 2.0")
    client = daemon.connect()
    client.submit("a", lease_ms=5_000)
    runner.take()
    daemon.later(700)
    found = client.ask("get", "f", "a")
    assert found["worker"] == f"resizer 2.0 (connection {runner.number})"
    job = found["job"]
    assert (job["started_at_ms"], job["lease_until_at_ms"]) == (START.wall_ms, START.wall_ms + 5_000)
