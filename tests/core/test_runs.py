"""The end of a run: done, failed, later, lost; retries, the dead, late reports, crashes."""

from itertools import pairwise
from typing import Any

import pytest

from periodic_client.wire import LeaseLost, Notification, Response, codec
from periodicd.engine import Apply
from tests.core.script import START, Daemon, Peer, Run, worker

HOUR_MS = 3_600_000


def one_job(daemon: Daemon, **job: Any) -> tuple[Peer, Run]:
    runner = worker(daemon)
    daemon.connect().submit("a", **job)
    return runner, runner.take()


def test_a_result_is_done() -> None:
    for result in (None, b"bytes", "text", {"outcome": "done"}, {"outcome": "done", "data": b"x"}):
        daemon = Daemon()
        _, run = one_job(daemon)
        run.respond(result)
        assert daemon.gone("f", "a")


def test_a_failure_is_tried_again_by_the_job_s_rule() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, retry={"limit": 3, "backoff": "fixed", "delay_ms": 100})
    for failures in (1, 2, 3):
        run.fail(f"broken {failures}")
        job = daemon.job("f", "a")
        assert (job["state"], job["failures"], job["reason"]) == ("waiting", failures, f"broken {failures}")
        daemon.later(99)
        assert not runner.runs
        daemon.later(1)
        run = runner.take()
        assert (run.job["attempt"], run.job["failures"]) == (failures + 1, failures)
    run.fail("for good")
    job = daemon.job("f", "a")
    assert (job["state"], job["attempt"], job["failures"], job["reason"]) == ("dead", 4, 4, "for good")


def test_the_image_server_s_rule_gives_up_after_17_runs_and_2440_seconds() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, retry={"limit": 16, "backoff": "quadratic"})
    runner.ask("hello", {"silence_ms": HOUR_MS})
    starts = [0]
    while True:
        run.fail()
        if daemon.job("f", "a")["state"] == "dead":
            break
        while not runner.runs:
            daemon.later(1_000)
        run = runner.take()
        starts.append((daemon.now.wall_ms - START.wall_ms) // 1_000)
    waits = [after - before for before, after in pairwise(starts)]
    # The first wait is 0 s; the clock of this test only moves by the second.
    assert waits == [c * (10 + c) for c in range(16)]
    assert len(starts) == 17
    assert sum(waits) == 2_440


def test_retry_false_ends_hopeless_input_at_once() -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    run.respond({"outcome": "failed", "reason": "not a picture", "final": True})
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"], job["failures"]) == ("dead", "not a picture", 1)


def test_a_worker_may_set_the_wait_after_a_failure() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond({"outcome": "failed", "delay_ms": 7})
    daemon.later(6)
    assert not runner.runs
    daemon.later(1)
    assert runner.names() == ["a"]


def test_later_counts_as_no_failure() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond({"outcome": "later", "delay_ms": 50})
    assert not runner.runs
    daemon.later(50)
    run = runner.take()
    assert (run.job["attempt"], run.job["failures"], run.job["crashes"]) == (2, 0, 0)
    run.respond({"outcome": "later"})
    assert runner.take().job["attempt"] == 3


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (7, "INVALID path=outcome: outcome is a map, not an integer"),
        (
            {"outcome": "maybe"},
            "INVALID path=outcome.outcome: outcome.outcome is one of done, failed, later, not maybe",
        ),
        (
            {"outcome": "done", "finals": False},
            "INVALID path=outcome.finals: outcome.finals is not a key of an outcome; did you mean final?",
        ),
        (
            {"outcome": "done", "submit": [{"func": "g"}]},
            "INVALID path=outcome.submit[0].name: outcome.submit[0].name is missing",
        ),
        ({}, "INVALID path=outcome.outcome: outcome.outcome is missing"),
    ],
)
def test_an_outcome_that_cannot_be_read_is_a_failure_that_says_so(result: object, reason: str) -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond(result)
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"]) == ("waiting", reason)
    assert runner.notices == [(run.handle, "refused")]


def test_follow_ons_are_submitted_with_the_outcome() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond(
        {"outcome": "done", "submit": [{"func": "f", "name": "b"}, {"func": "f", "name": "a", "workload": "2"}]}
    )
    assert [(run.name, run.job["workload"]) for run in runner.runs] == [("b", b""), ("a", b"2")]
    assert daemon.job("f", "a")["id"] != run.job


def test_a_follow_on_of_the_job_s_own_name_takes_the_retry_s_place() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond({"outcome": "failed", "submit": [{"func": "f", "name": "a", "workload": b"next"}]})
    assert [(run.job["attempt"], run.job["workload"]) for run in runner.runs] == [(1, b"next")]


def test_finish_is_answered_and_the_response_that_follows_only_gives_room() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    assert daemon.connect().ask("finish", run.handle, None) == {}
    assert daemon.gone("f", "a")
    run.respond()
    assert not runner.notices
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, None)


def test_a_lease_that_runs_out_is_a_failure_and_the_late_response_is_told_so() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=2_000, retry={"backoff": "fixed", "delay_ms": 0})
    daemon.later(1_999)
    assert not runner.runs
    daemon.later(1)
    second = runner.take()
    assert (second.job["attempt"], second.job["failures"]) == (2, 1)
    run.respond()
    assert runner.notices == [(run.handle, "lost")]
    assert daemon.job("f", "a")["reason"] == "its lease ran out"
    second.respond()
    assert daemon.gone("f", "a")


def test_a_lease_counts_from_when_its_job_was_given_out_however_long_that_was_due() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=1)
    for name in "abcd":
        client.submit(name, lease_ms=2_000)
    for name in "abcd":
        run = runner.take()
        assert (run.name, run.job["attempt"]) == (name, 1)
        daemon.later(1_900)
        assert daemon.job("f", name)["state"] == "running"
        run.respond()
    assert not runner.runs


def test_a_lease_that_runs_out_costs_its_worker_no_other_run() -> None:
    daemon = Daemon()
    client, mute, other = daemon.connect(), worker(daemon), worker(daemon, "g")
    client.submit("hangs", lease_ms=2_000)
    client.submit("works")
    hangs, works = mute.take(), mute.take()
    daemon.later(2_000)
    assert daemon.take_closings() == []
    assert daemon.job("f", "hangs")["failures"] == 1
    assert (daemon.job("f", "works")["state"], daemon.job("f", "works")["failures"]) == ("running", 0)
    works.respond({"outcome": "done", "submit": [{"func": "g", "name": "next"}]})
    assert other.names() == ["next"]
    assert (hangs.name, daemon.gone("f", "works")) == ("hangs", True)


def test_extend_starts_the_lease_anew() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=2_000)
    daemon.later(1_500)
    assert runner.ask("extend", run.handle) == {"lease_until_at_ms": daemon.now.wall_ms + 2_000, "cancelled": False}
    daemon.later(1_999)
    assert daemon.job("f", "a")["state"] == "running"
    runner.ask("extend", run.handle, {"lease_ms": 9_000})
    daemon.later(8_999)
    assert daemon.job("f", "a")["state"] == "running"
    daemon.later(1)
    assert daemon.job("f", "a")["state"] == "waiting"
    with pytest.raises(LeaseLost):
        runner.ask("extend", run.handle)


def test_a_late_finish_counts_until_the_job_is_given_out_again() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 5_000})
    daemon.later(1_000)
    assert daemon.job("f", "a")["state"] == "waiting"
    assert runner.ask("finish", run.handle, {"outcome": "done", "submit": [{"func": "g", "name": "next"}]}) == {}
    assert daemon.gone("f", "a")
    assert daemon.job("g", "next")["state"] == "waiting"
    daemon.later(10_000)
    assert not runner.runs


def test_a_late_failure_changes_no_counters() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 5_000})
    daemon.later(1_000)
    runner.ask("finish", run.handle, {"outcome": "failed", "reason": "slow and broken"})
    job = daemon.job("f", "a")
    assert (job["failures"], job["reason"]) == (1, "slow and broken")
    daemon.later(5_000)
    second = runner.take()
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, None)
    daemon.later(1_000)
    runner.ask("finish", second.handle, {"outcome": "failed", "final": True, "reason": "no"})
    job = daemon.job("f", "a")
    assert (job["state"], job["failures"]) == ("dead", 2)


def test_a_late_failure_that_is_final_waits_for_nothing() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000)
    daemon.later(1_000)
    before = daemon.job("f", "a")
    runner.ask("finish", run.handle, {"outcome": "failed", "final": True, "delay_ms": 9_000})
    job = daemon.job("f", "a")
    assert (before["state"], job["state"], job["due_at_ms"]) == ("waiting", "dead", before["due_at_ms"])


def test_a_late_finish_of_a_dead_job_counts() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"limit": 0})
    daemon.later(1_000)
    assert daemon.job("f", "a")["state"] == "dead"
    assert runner.ask("finish", run.handle, None) == {}
    assert daemon.gone("f", "a")
    assert daemon.connect().ask("status")["functions"][0]["dead"] == 0


@pytest.mark.parametrize(
    "outcome",
    [{"outcome": "later", "delay_ms": 5_000}, {"outcome": "failed"}, {"outcome": "failed", "final": True}],
)
def test_a_run_is_reported_once(outcome: dict[str, object]) -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond(outcome)
    before = daemon.job("f", "a")
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, {"outcome": "done", "submit": [{"func": "g", "name": "twice"}]})
    assert daemon.job("f", "a") == before
    assert daemon.gone("g", "twice")


def test_a_late_report_is_taken_once() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 5_000})
    daemon.later(1_000)
    runner.ask("finish", run.handle, {"outcome": "later", "delay_ms": 9_000})
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, None)


@pytest.mark.parametrize(
    "handle", ["1-1-99", "9-9-1", "1-2", "x", "1-2-1-0000000000000001", "-1-1-1-1", "1-1-9-9", "1-1-" + "9" * 30 + "-1"]
)
def test_handles_that_were_never_given_out_are_refused(handle: str) -> None:
    daemon = Daemon()
    daemon.connect().submit("a")
    with pytest.raises(LeaseLost):
        daemon.connect().ask("finish", handle, None)
    assert daemon.job("f", "a")["state"] == "waiting"


def test_two_finishes_of_one_run_at_once_count_once() -> None:
    for wait_ms in (0, 1_000):
        daemon = Daemon()
        runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 9_000})
        daemon.later(wait_ms)
        first, second = (runner.send("finish", run.handle, None) for _ in range(2))
        daemon.step()
        assert runner.answer(first) == {}
        with pytest.raises(LeaseLost):
            runner.answer(second)


def test_the_end_of_a_run_that_was_removed_or_replaced_changes_nothing() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    client = daemon.connect()
    client.ask("remove", "f", "a")
    client.submit("a", delay_ms=5)
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, None)
    run.respond()
    assert len(runner.notices) == 1
    assert daemon.job("f", "a")["state"] == "waiting"


def test_the_follow_ons_of_a_refused_report_are_not_stored() -> None:
    follow_on = {"outcome": "done", "submit": [{"func": "g", "name": "x"}]}
    for report in ("finish", "respond"):
        daemon = Daemon()
        runner, run = one_job(daemon)
        client = daemon.connect()
        removed = client.send("remove", "f", "a")
        if report == "finish":
            finish = runner.send("finish", run.handle, follow_on)
            daemon.step()
            with pytest.raises(LeaseLost):
                runner.answer(finish)
            assert runner.notices == []
        else:
            run.respond(follow_on)
            assert runner.notices == [(run.handle, "lost")]
        assert client.answer(removed) == {"result": "removed"}
        assert daemon.gone("g", "x")
        assert daemon.gone("f", "a")


def test_the_follow_ons_of_a_late_report_that_comes_twice_are_stored_once() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 9_000})
    daemon.later(1_000)
    outcomes = [{"outcome": "later", "delay_ms": 60_000, "submit": [{"func": "g", "name": name}]} for name in "xy"]
    first, second = (runner.send("finish", run.handle, outcome) for outcome in outcomes)
    daemon.step()
    assert runner.answer(first) == {}
    with pytest.raises(LeaseLost):
        runner.answer(second)
    assert daemon.job("g", "x")["state"] == "waiting"
    assert daemon.gone("g", "y")


def test_a_follow_on_of_the_run_s_own_name_gives_way_to_what_a_client_queued_behind() -> None:
    for outcome in ("done", "failed", "later"):
        daemon = Daemon()
        runner, run = one_job(daemon)
        assert daemon.connect().submit("a", workload=b"client") == "queued_behind"
        run.respond({"outcome": outcome, "submit": [{"func": "f", "name": "a"}, {"func": "g", "name": "x"}]})
        assert runner.take().job["workload"] == b"client"
        assert daemon.job("g", "x")["state"] == "waiting"


def test_follow_ons_keep_their_place_in_the_order_of_a_connection() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    runner.raw(codec.encode_response(run.msgid, {"outcome": "done", "submit": [{"func": "g", "name": "x"}]}))
    get = runner.send("get", "g", "x")
    daemon.step()
    assert runner.answer(get)["result"] == "found"


@pytest.mark.parametrize("outcome", ["done", "later", "failed"])
def test_a_response_after_the_lease_counts_as_finish_does_until_the_job_is_given_out_again(outcome: str) -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 5_000})
    daemon.later(1_000)
    assert daemon.job("f", "a")["failures"] == 1
    run.respond({"outcome": outcome, "reason": "slow", "delay_ms": 9_000, "submit": [{"func": "g", "name": "next"}]})
    assert daemon.job("g", "next")["state"] == "waiting"
    assert runner.notices == []
    if outcome == "done":
        assert daemon.gone("f", "a")
    else:
        job = daemon.job("f", "a")
        assert (job["failures"], job["due_at_ms"]) == (1, daemon.now.wall_ms + 9_000)
        assert job["reason"] == ("slow" if outcome == "failed" else "its lease ran out")
    with pytest.raises(LeaseLost):
        runner.ask("finish", run.handle, None)


def test_the_worker_of_a_late_run_is_told_at_once_when_it_no_longer_counts() -> None:
    def given_out_again(daemon: Daemon) -> None:
        daemon.later(5_000)

    def removed(daemon: Daemon) -> None:
        daemon.connect().ask("remove", "f", "a")

    def replaced(daemon: Daemon) -> None:
        daemon.connect().submit("a", delay_ms=90_000)

    for happens in (given_out_again, removed, replaced):
        daemon = Daemon()
        runner, run = one_job(daemon, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": 5_000})
        daemon.later(1_000)
        assert runner.notices == []
        happens(daemon)
        assert runner.notices == [(run.handle, "lost")]
        run.respond()
        assert runner.notices == [(run.handle, "lost")], "it is told once"
        assert runner.names() == (["a"] if happens is given_out_again else [])


def test_a_dead_run_that_is_late_is_told_when_its_job_gets_a_new_life() -> None:
    for request in ("requeue", "submit"):
        daemon = Daemon()
        runner, run = one_job(daemon, lease_ms=1_000, retry={"limit": 0})
        daemon.later(1_000)
        if request == "requeue":
            daemon.connect().ask("requeue", "f", "a")
        else:
            assert daemon.connect().submit("a") == "created"
        assert runner.notices == [(run.handle, "lost")]
        assert runner.names() == ["a"]


def test_a_run_whose_place_was_taken_when_its_lease_ran_out_is_told() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000)
    daemon.connect().submit("a")
    daemon.later(1_000)
    assert runner.notices == [(run.handle, "lost")]
    assert runner.take().job["attempt"] == 1


def test_a_running_job_that_is_removed_is_told_before_the_remove_is_answered() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    runner.ask("remove", "f", "a")
    assert runner.notices == [(run.handle, "lost")]
    run.respond()
    assert len(runner.notices) == 1


def test_a_report_that_counted_is_never_told_lost() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    daemon.connect().submit("a", workload=b"2")
    runner.ask("finish", run.handle, {"outcome": "later"})
    run.respond()
    daemon.connect().ask("remove", "f", "a")
    assert [handle for handle, _ in runner.notices] == [runner.take().handle]


def test_a_late_report_on_a_dead_job_is_taken_once_and_leaves_it_dead() -> None:
    for outcome in ({"outcome": "later"}, {"outcome": "failed", "reason": "too slow"}):
        daemon = Daemon()
        runner, run = one_job(daemon, lease_ms=1_000, retry={"limit": 0})
        daemon.later(1_000)
        before = daemon.job("f", "a")
        daemon.later(50)
        assert runner.ask("finish", run.handle, outcome) == {}
        with pytest.raises(LeaseLost):
            runner.ask("finish", run.handle, outcome)
        after = daemon.job("f", "a")
        errors = [each["text"] for each in after.pop("errors")]
        assert errors == ["its lease ran out", *([outcome["reason"]] if "reason" in outcome else [])]
        del before["errors"]
        assert after == before | {"reason": outcome.get("reason", "its lease ran out"), "run": None}
        assert daemon.connect().ask("status")["functions"][0]["dead"] == 1


def test_keys_of_another_outcome_are_not_looked_at() -> None:
    whole = {"data": b"", "reason": "", "final": False, "delay_ms": 0, "submit": None}
    for outcome, state in (("done", None), ("later", "running"), ("failed", "waiting")):
        daemon = Daemon()
        runner, run = one_job(daemon)
        run.respond(whole | {"outcome": outcome})
        assert runner.names() == (["a"] if state == "running" else [])
        if state is None:
            assert daemon.gone("f", "a")
        else:
            assert daemon.job("f", "a")["state"] == state


def test_a_failure_with_a_delay_of_0_waits_by_the_job_s_rule() -> None:
    for delay_ms in (0, None):
        daemon = Daemon()
        _, run = one_job(daemon, retry={"backoff": "fixed", "delay_ms": 7_000})
        run.respond({"outcome": "failed", "delay_ms": delay_ms})
        assert daemon.job("f", "a")["due_at_ms"] == daemon.now.wall_ms + 7_000


def test_jobs_that_failed_together_are_not_tried_again_together() -> None:
    daemon = Daemon()
    runner = worker(daemon, limit=500)
    daemon.connect().ask("submit_batch", [{"func": "f", "name": f"{i}"} for i in range(500)])
    for run in [runner.take() for _ in range(500)]:
        run.fail()
    waits = {daemon.job("f", f"{i}")["due_at_ms"] - daemon.now.wall_ms for i in range(500)}
    assert min(waits) >= 1_000
    assert max(waits) < 1_100
    assert len(waits) > 90, "spread over a tenth of the wait, ms by ms"


def test_a_wait_is_exact_where_another_backoff_than_the_default_was_chosen() -> None:
    for backoff in ("fixed", "quadratic"):
        daemon = Daemon()
        runner, run = one_job(daemon, retry={"backoff": backoff, "delay_ms": 5_000})
        run.fail()
        wait_ms = 5_000 if backoff == "fixed" else 0
        assert daemon.job("f", "a")["due_at_ms"] == daemon.now.wall_ms + wait_ms
        assert len(runner.runs) == (0 if wait_ms else 1)


def test_no_wait_exceeds_its_cap_by_the_jitter() -> None:
    for name in map(str, range(50)):
        daemon = Daemon()
        runner = worker(daemon)
        daemon.connect().submit(
            name, retry={"backoff": "fixed", "delay_ms": 9_000, "cap_ms": 10_000, "jitter_percent": 100}
        )
        runner.take().fail()
        assert 9_000 <= daemon.job("f", name)["due_at_ms"] - daemon.now.wall_ms <= 10_000


def test_a_handle_cannot_be_guessed_and_is_shown_to_nobody() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    boot, number, job_id, secret = run.handle.split("-")
    assert (int(number), len(secret)) == (run.job["run"], 16)
    with pytest.raises(LeaseLost):
        runner.ask("finish", f"{boot}-{number}-{job_id}-{'f' * 16}", None)
    daemon.later(100)
    shown = daemon.job("f", "a")
    listed = daemon.connect().ask("list")["jobs"]
    assert shown["run"] == listed[0]["run"] == run.job["run"]
    assert secret not in repr((shown, listed, daemon.connect().ask("status")))


def test_run_numbers_grow_over_all_lives_of_a_store() -> None:
    daemon = Daemon()
    numbers = []
    for _ in range(3):
        runner = worker(daemon)
        for name in "ab":
            daemon.connect().submit(name)
            run = runner.take()
            numbers.append(run.job["run"])
            run.respond()
        daemon.start()
    assert numbers == sorted(set(numbers))


def test_a_worker_is_told_that_the_daemon_stops() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    idle = worker(daemon, "g")
    daemon.engine.scheduler.drain()
    daemon.step()
    assert runner.notices == [(run.handle, "stop")]
    assert idle.notices == []
    run.respond()
    assert daemon.gone("f", "a")


# -- lost connections --------------------------------------------------------------------------------------------------


def test_a_lost_connection_without_grace_gives_its_jobs_back_at_once() -> None:
    daemon = Daemon()
    first, second = worker(daemon, limit=1), worker(daemon, limit=1)
    daemon.connect().submit("a")
    assert first.names() == ["a"]
    first.close()
    run = second.take()
    assert (run.job["attempt"], run.job["failures"], run.job["crashes"]) == (2, 0, 1)


def test_within_the_grace_a_new_connection_may_finish() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a")
    run = runner.take()
    runner.close()
    other = worker(daemon)
    daemon.later(4_999)
    assert not other.runs
    assert other.ask("finish", run.handle, None) == {}
    assert daemon.gone("f", "a")
    daemon.later(5_000)
    assert not other.runs


def test_after_the_grace_the_job_is_given_out_again() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a")
    assert runner.names() == ["a"]
    runner.close()
    other = worker(daemon)
    daemon.later(5_000)
    assert other.take().job["crashes"] == 1


def test_a_worker_that_came_back_says_that_a_run_is_its_own() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a", lease_ms=60_000)
    run = runner.take()
    runner.close()
    again = worker(daemon)
    assert again.ask("extend", run.handle, {"own": True}) == {
        "lease_until_at_ms": daemon.now.wall_ms + 60_000,
        "cancelled": False,
    }
    daemon.later(30_000)
    assert daemon.job("f", "a")["state"] == "running"
    again.close()
    job = daemon.job("f", "a")
    assert (job["state"], job["crashes"]) == ("waiting", 1)


def test_goodbye_is_no_crash_and_needs_no_grace() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a")
    assert runner.names() == ["a"]
    runner.ask("unsubscribe_all")
    runner.close()
    other = worker(daemon)
    assert (other.take().job["crashes"], daemon.job("f", "a")["attempt"]) == (0, 2)


def test_a_crash_is_charged_to_a_job_that_was_alone_or_a_suspect() -> None:
    daemon = Daemon()
    daemon.allow("run")
    client = daemon.connect()
    client.submit("bad")
    client.submit("good")
    worker(daemon).close()
    assert [daemon.job("f", name)["crashes"] for name in ("bad", "good")] == [0, 0]
    runner = worker(daemon)
    next(run for run in runner.runs if run.name == "good").respond()
    runner.close()
    assert daemon.job("f", "bad")["crashes"] == 1
    client.submit("other")
    worker(daemon).close()
    assert [daemon.job("f", name)["crashes"] for name in ("bad", "other")] == [2, 0]


def test_a_job_that_takes_its_worker_down_five_times_is_dead() -> None:
    daemon = Daemon()
    daemon.connect().submit("poison")
    for crashes in range(1, 6):
        runner = worker(daemon)
        assert runner.names() == ["poison"]
        runner.close()
        assert daemon.job("f", "poison")["crashes"] == crashes
    job = daemon.job("f", "poison")
    assert (job["state"], job["failures"]) == ("dead", 0)
    assert "connection was lost 5 times" in job["reason"]


def test_a_run_taken_over_from_a_connection_that_seems_alive_no_longer_ends_with_it() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    again = worker(daemon)
    again.ask("extend", run.handle, {"own": True})
    runner.close()
    assert daemon.job("f", "a")["state"] == "running"
    assert again.ask("finish", run.handle, None) == {}
    again.close()
    assert daemon.gone("f", "a")


def test_a_run_taken_over_there_and_back_is_lost_once() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    again = worker(daemon)
    again.ask("extend", run.handle, {"own": True})
    runner.ask("extend", run.handle, {"own": True})
    runner.close()
    assert again.names() == ["a"]
    assert daemon.job("f", "a")["crashes"] == 1


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_after_a_restart_a_run_waits_30_seconds_for_its_worker_and_nobody_is_charged() -> None:
    for lease_ms in (1_000, 600_000):
        daemon = Daemon()
        _, run = one_job(daemon, retry={"limit": 0}, lease_ms=lease_ms)
        daemon.later(100)
        daemon.start()
        again = worker(daemon)
        daemon.later(29_999)
        assert not again.runs
        daemon.later(1)
        second = again.take()
        assert (second.job["attempt"], second.job["failures"], second.job["crashes"]) == (2, 0, 0)
        assert second.handle != run.handle
        assert daemon.job("f", "a")["restarts"] == 1
        assert daemon.job("f", "a")["reason"] is None


def test_a_job_whose_runs_were_cut_off_by_20_restarts_is_dead() -> None:
    daemon = Daemon()
    daemon.connect().submit("a")
    for restarts in range(1, 21):
        worker(daemon).take()
        daemon.later(100)
        daemon.start()
        daemon.later(30_000)
        assert daemon.job("f", "a")["restarts"] == restarts
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"]) == ("dead", "its runs were cut off by 20 restarts of the daemon")
    assert (job["attempt"], job["failures"], job["crashes"]) == (20, 0, 0)
    daemon.connect().ask("requeue", "f", "a")
    assert daemon.job("f", "a")["restarts"] == 0


def test_an_extend_that_does_not_own_leaves_the_grace_as_it_is() -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    daemon.later(100)
    daemon.start()
    again = worker(daemon)
    again.ask("extend", run.handle, {"lease_ms": 3_600_000})
    daemon.later(30_000)
    assert again.take().job["attempt"] == 2
    assert again.notices == []


def test_after_a_restart_the_worker_may_come_back_and_finish_or_extend() -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    daemon.later(100)
    daemon.start()
    again = worker(daemon)
    again.ask("extend", run.handle, {"own": True})
    daemon.later(50_000)
    assert not again.runs
    assert again.ask("finish", run.handle, None) == {}
    assert daemon.gone("f", "a")


def test_a_claim_that_was_not_written_leaves_one_orphan_run_whose_report_is_refused() -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    daemon.start()
    again = worker(daemon)
    second = again.take()
    assert (second.job["attempt"], second.handle != run.handle) == (1, True)
    with pytest.raises(LeaseLost):
        again.ask("finish", run.handle, None)


def test_ids_and_handles_are_never_used_again() -> None:
    daemon = Daemon()
    seen_ids, seen_handles = set(), set()
    for life in range(3):
        runner, client = worker(daemon), daemon.connect()
        for name in "abc":
            client.submit(f"{life}{name}")
            seen_ids.add(daemon.job("f", f"{life}{name}")["id"])
            run = runner.take()
            seen_handles.add(run.handle)
            run.respond()
        daemon.start()
    assert (len(seen_ids), len(seen_handles)) == (9, 9)


def test_the_dead_are_forgotten_after_30_days_and_beyond_their_number() -> None:
    daemon = Daemon(dead_kept=3)
    runner, client = worker(daemon), daemon.connect()
    for name in "abcde":
        client.submit(name)
        runner.take().respond({"outcome": "failed", "final": True})
        daemon.later(1)
    daemon.now = daemon.now._replace(mono_ms=daemon.now.mono_ms + HOUR_MS)
    daemon.step()
    assert [daemon.gone("f", name) for name in "abcde"] == [True, True, False, False, False]
    daemon.later(HOUR_MS, wall_ms=31 * 24 * HOUR_MS)
    assert all(daemon.gone("f", name) for name in "abcde")


# -- several messages in one step: what is said must hold at the end of it --------------------------------------------


def test_an_extend_behind_a_remove_of_its_job_is_refused() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    client = daemon.connect()
    daemon.later(100)  # its claim is on disk
    removed = client.send("remove", "f", "a")
    asked = runner.send("extend", run.handle, {"lease_ms": 60_000})
    daemon.step()
    assert client.answer(removed) == {"result": "removed"}
    with pytest.raises(LeaseLost):
        runner.answer(asked)
    assert runner.notices == [(run.handle, "lost")]


def test_an_extend_behind_a_replacing_submit_holds_since_that_waits_behind_the_run() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    client = daemon.connect()
    submitted = client.send("submit", {"func": "f", "name": "a", "workload": b"new"})
    asked = runner.send("extend", run.handle, {"lease_ms": 60_000})
    daemon.step()
    assert client.answer(submitted)["result"] == "queued_behind"
    assert runner.answer(asked) == {"lease_until_at_ms": daemon.now.wall_ms + 60_000, "cancelled": False}
    assert runner.notices == []


def test_a_ping_is_answered_after_the_word_that_the_response_before_it_did_not_count() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    client = daemon.connect()
    client.send("remove", "f", "a")
    runner.raw(codec.encode_response(run.msgid, None))
    ping = runner.send("ping")
    heard = [message for me, message in daemon.said().messages if me is runner.me]
    assert [type(message) for message in heard] == [Notification, Response]
    assert heard[-1] == Response(ping, None, {})


def test_a_worker_is_told_lost_although_somebody_else_tried_to_finish_its_removed_run() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    client, other = daemon.connect(), daemon.connect()
    removed = client.send("remove", "f", "a")
    asked = other.send("finish", run.handle, None)
    daemon.step()
    assert client.answer(removed) == {"result": "removed"}
    with pytest.raises(LeaseLost):
        other.answer(asked)
    assert runner.notices == [(run.handle, "lost")]


# -- a worker that falls silent ----------------------------------------------------------------------------------------


def silent_with_a_run(daemon: Daemon) -> tuple[Peer, Run]:
    """A worker that was closed since nothing was heard of it, with a run of ten minutes."""
    runner, run = one_job(daemon, lease_ms=600_000)
    daemon.later(66_000)
    ((me, error),) = daemon.take_closings()
    assert me is runner.me
    assert error.to_wire() == "SILENT: subscribed, but silent for 60 s"
    return runner, run


def test_silence_costs_a_worker_its_connection_but_not_its_run() -> None:
    daemon = Daemon()
    _, run = silent_with_a_run(daemon)
    other = worker(daemon)
    daemon.later(10_000)
    assert not other.runs
    assert daemon.connect().ask("finish", run.handle, None) == {}
    assert daemon.gone("f", "a")


def test_the_run_of_a_worker_that_fell_silent_and_never_came_back_ends_by_its_lease() -> None:
    daemon = Daemon()
    silent_with_a_run(daemon)
    other = worker(daemon, silence_ms=HOUR_MS)
    daemon.later(533_000)
    assert not other.runs
    daemon.later(2_000)
    assert (daemon.job("f", "a")["failures"], daemon.job("f", "a")["crashes"]) == (1, 0)
    assert daemon.job("f", "a")["reason"] == "its lease ran out"


def test_a_request_is_unanswered_until_its_answer_may_be_said() -> None:
    """A ping that comes while the commit takes long must not overtake it."""
    daemon = Daemon()
    client = daemon.connect()
    msgid = client.send("submit", {"func": "f", "name": "a"})
    step = daemon.engine.step(daemon.now)
    call = next(step)
    while isinstance(call, Apply):
        call = step.send(daemon.store.apply(call.ops))
    assert client.me.unanswered == {msgid}
    with pytest.raises(StopIteration):
        step.send(250)
    assert client.me.unanswered == set()
