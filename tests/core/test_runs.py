"""The end of a run: done, failed, later, lost; retries, the dead, late reports, crashes."""

from itertools import pairwise
from typing import Any

import pytest

from periodic_client.wire import LeaseLost
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
    run.respond({"outcome": "failed", "reason": "not a picture", "retry": False})
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
        (7, "INVALID: outcome is a map, not int"),
        ({"outcome": "maybe"}, "INVALID: outcome.outcome is one of done, failed, later, not 'maybe'"),
        ({"outcome": "done", "reason": "x"}, "INVALID: outcome.reason does not go with 'done'"),
        ({"outcome": "done", "submit": [{"func": "g"}]}, "INVALID: outcome.submit[0].name is missing"),
        ({}, "INVALID: outcome.outcome is missing"),
    ],
)
def test_an_outcome_that_cannot_be_read_is_a_failure_that_says_so(result: object, reason: str) -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    run.respond(result)
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"]) == ("waiting", reason)


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
    assert daemon.connect().ask("finish", run.handle, None) is None
    assert daemon.gone("f", "a")
    run.respond()
    assert not runner.notes
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
    assert [note.params for note in runner.notes] == [[run.handle]]
    assert daemon.job("f", "a")["reason"] == "the lease of 2000 ms ran out"
    second.respond()
    assert daemon.gone("f", "a")


def test_extend_starts_the_lease_anew() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=2_000)
    daemon.later(1_500)
    assert runner.ask("extend", run.handle) is None
    daemon.later(1_999)
    assert daemon.job("f", "a")["state"] == "running"
    runner.ask("extend", run.handle, 9_000)
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
    assert runner.ask("finish", run.handle, {"outcome": "done", "submit": [{"func": "g", "name": "next"}]}) is None
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
    runner.ask("finish", second.handle, {"outcome": "failed", "retry": False, "reason": "no"})
    job = daemon.job("f", "a")
    assert (job["state"], job["failures"]) == ("dead", 2)


def test_a_late_finish_of_a_dead_job_counts() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"limit": 0})
    daemon.later(1_000)
    assert daemon.job("f", "a")["state"] == "dead"
    assert runner.ask("finish", run.handle, None) is None
    assert daemon.gone("f", "a")
    assert daemon.connect().ask("status")["functions"][0]["dead"] == 0


@pytest.mark.parametrize(
    "outcome",
    [{"outcome": "later", "delay_ms": 5_000}, {"outcome": "failed"}, {"outcome": "failed", "retry": False}],
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


@pytest.mark.parametrize("handle", ["", "1-1-99", "9-9-1", "1-2", "x", "1-1-1-1", "-1-1-1", "1-1-" + "9" * 30])
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
        assert runner.answer(first) is None
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
    assert len(runner.notes) == 1
    assert daemon.job("f", "a")["state"] == "waiting"


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
    assert other.ask("finish", run.handle, None) is None
    assert daemon.gone("f", "a")
    daemon.later(5_000)
    assert not other.runs


def test_after_the_grace_the_job_is_given_out_again() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a")
    runner.close()
    other = worker(daemon)
    daemon.later(5_000)
    assert other.take().job["crashes"] == 1


def test_whoever_extends_a_lost_run_takes_it_over() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a", lease_ms=60_000)
    run = runner.take()
    runner.close()
    again = worker(daemon)
    assert again.ask("extend", run.handle) is None
    daemon.later(30_000)
    assert daemon.job("f", "a")["state"] == "running"
    again.close()
    job = daemon.job("f", "a")
    assert (job["state"], job["crashes"]) == ("waiting", 1)


def test_goodbye_is_no_crash_and_needs_no_grace() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=5_000)
    daemon.connect().submit("a")
    runner.ask("unsubscribe")
    runner.close()
    other = worker(daemon)
    assert (other.take().job["crashes"], daemon.job("f", "a")["attempt"]) == (0, 2)


def test_a_crash_is_charged_to_a_job_that_was_alone_or_a_suspect() -> None:
    daemon = Daemon()
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
        worker(daemon).close()
        assert daemon.job("f", "poison")["crashes"] == crashes
    job = daemon.job("f", "poison")
    assert (job["state"], job["failures"]) == ("dead", 0)
    assert "connection was lost 5 times" in job["reason"]


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_after_a_restart_a_claimed_run_keeps_its_lease_for_30_seconds_at_most() -> None:
    daemon = Daemon()
    _, run = one_job(daemon, retry={"delay_ms": 0})
    daemon.later(100)
    daemon.start()
    again = worker(daemon)
    daemon.later(29_999)
    assert not again.runs
    daemon.later(1)
    second = again.take()
    assert (second.job["attempt"], second.job["failures"]) == (2, 1)
    assert second.handle != run.handle


def test_after_a_restart_the_worker_may_come_back_and_finish_or_extend() -> None:
    daemon = Daemon()
    _, run = one_job(daemon)
    daemon.later(100)
    daemon.start()
    again = worker(daemon)
    again.ask("extend", run.handle)
    daemon.later(60_000)
    assert not again.runs
    assert again.ask("finish", run.handle, None) is None
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
        runner.take().respond({"outcome": "failed", "retry": False})
        daemon.later(1)
    daemon.now = daemon.now._replace(mono_ms=daemon.now.mono_ms + HOUR_MS)
    daemon.step()
    assert [daemon.gone("f", name) for name in "abcde"] == [True, True, False, False, False]
    daemon.later(HOUR_MS, wall_ms=31 * 24 * HOUR_MS)
    assert all(daemon.gone("f", name) for name in "abcde")
