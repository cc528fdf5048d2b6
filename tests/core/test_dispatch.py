"""Who gets which job when: order, turns, room, time."""

import pytest

from periodic_client.wire import codec
from periodicd.scheduler.events import SteppedBack
from tests.core.script import Daemon, worker

HOUR_MS = 3_600_000


def test_due_jobs_go_by_priority_then_due_time_then_id() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for name, priority, delay in (("late", 0, 5), ("early", 0, 1), ("low", 5, 0), ("high", -5, 9), ("early2", 0, 1)):
        client.submit(name, priority=priority, delay_ms=delay)
    daemon.later(10)
    assert worker(daemon).names() == ["high", "early", "early2", "late", "low"]


def test_a_high_priority_does_not_make_a_job_early() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("later", priority=-100, delay_ms=10)
    client.submit("now")
    assert runner.names() == ["now"]
    daemon.later(9)
    assert runner.names() == ["now"]
    daemon.later(1)
    assert runner.names() == ["now", "later"]


def test_workers_take_turns_and_those_without_room_are_passed_over() -> None:
    daemon = Daemon()
    small, large = worker(daemon, limit=1), worker(daemon, limit=10)
    client = daemon.connect()
    for name in "abcde":
        client.submit(name)
    assert (small.names(), large.names()) == (["a"], ["b", "c", "d", "e"])
    small.take().respond()
    client.submit("f")
    client.submit("g")
    assert sorted(small.names() + large.names()[4:]) == ["f", "g"]


def test_room_comes_back_with_the_response_only() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=1)
    client.submit("a", lease_ms=1_000)
    client.submit("b")
    run = runner.take()
    daemon.later(1_000)
    assert not runner.runs, "the lease ran out, but the worker is still busy"
    run.respond()
    assert runner.names() == ["b"]


def test_a_job_that_is_handed_back_goes_to_another_worker_with_room() -> None:
    daemon = Daemon()
    first, second = worker(daemon, limit=1), worker(daemon, limit=1)
    daemon.connect().submit("a")
    run = first.take()
    run.respond({"outcome": "later"})
    again = second.take()
    assert (again.name, again.job["attempt"], again.job["failures"]) == ("a", 2, 0)
    assert not first.runs


def test_the_credit_of_a_connection_counts_all_its_functions() -> None:
    daemon = Daemon()
    runner = worker(daemon, "f", 5, credit=2)
    runner.ask("subscribe", "g", {"limit": 5})
    client = daemon.connect()
    for func, name in (("f", "a"), ("g", "b"), ("g", "c"), ("f", "d")):
        client.submit(name, func=func)
    assert runner.names() == ["a", "b"]
    runner.take().respond()
    assert len(runner.runs) == 2
    runner.take().respond()
    runner.take().respond()
    assert len(runner.runs) == 1


def test_subscribing_again_sets_the_limit() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=1)
    for name in "abc":
        client.submit(name)
    assert runner.names() == ["a"]
    runner.ask("subscribe", "f", {"limit": 2})
    assert runner.names() == ["a", "b"]


def test_unsubscribe_takes_no_more_but_the_running_go_on() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=2)
    client.submit("a")
    runner.ask("unsubscribe", "f")
    client.submit("b")
    assert runner.names() == ["a"]
    runner.take().respond()
    assert daemon.gone("f", "a")
    assert not runner.runs


def test_a_peer_that_does_not_read_is_given_nothing_and_the_job_goes_to_another() -> None:
    daemon = Daemon()
    full, free = worker(daemon), worker(daemon)
    full.reads = False
    full.me.note_outbox(2**20)
    client = daemon.connect()
    for name in "abc":
        client.submit(name)
    assert (full.names(), free.names()) == ([], ["a", "b", "c"])
    full.read()
    daemon.step()
    for name in "de":
        client.submit(name)
    assert sorted(full.names() + free.names()[3:]) == ["d", "e"]
    assert len(full.runs) == 1


def test_large_jobs_given_in_one_step_stop_at_the_high_water_mark() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(20):
        client.submit(str(number), workload=b"x" * 200_000)
    runner = daemon.connect()
    runner.reads = False
    runner.ask("subscribe", "f", {"limit": 100})
    assert len(runner.runs) == 6
    assert all(len(run.job["workload"]) == 200_000 for run in runner.runs)


def test_a_wall_clock_stepped_back_starts_nothing_early() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, silence_ms=HOUR_MS)
    client.submit("a", due_at_ms=daemon.now.wall_ms + 1_000)
    daemon.later(500, wall_ms=-3_600_000)
    daemon.later(1_000)
    assert not runner.runs
    daemon.later(HOUR_MS // 2)
    for peer in (client, runner):
        peer.ask("ping")
    daemon.later(HOUR_MS // 2)
    assert runner.names() == ["a"]


def test_a_wall_clock_stepped_forward_starts_what_is_due_and_ends_no_lease() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("running", lease_ms=10_000)
    client.submit("a", delay_ms=1_800_000)
    run = runner.take()
    daemon.later(1, wall_ms=3_600_000)
    assert runner.names() == ["a"]
    run.respond()
    assert not runner.notices
    assert daemon.gone("f", "running")


def test_nothing_is_given_out_while_draining_and_submits_are_still_kept() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    daemon.engine.scheduler.drain()
    assert client.submit("b") == "created"
    assert runner.names() == ["a"]
    assert daemon.engine.scheduler.runs.in_progress.with_workers
    run = runner.take()
    assert runner.notices == [(run.handle, "stop")]
    run.respond()
    assert not runner.runs
    assert not daemon.engine.scheduler.runs.in_progress.with_workers
    daemon.start()
    assert worker(daemon).names() == ["b"]


def test_a_silent_subscriber_is_closed_and_a_silent_client_is_not() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    daemon.later(66_000)
    ((peer, error),) = daemon.take_closings()[-1:]
    assert peer is runner.me
    assert peer is not client.me
    assert error.to_wire() == "SILENT: subscribed, but silent for 60 s"


def test_status_counts_and_measures() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=10)
    client.submit("b", delay_ms=10)
    client.submit("c", delay_ms=90_000)
    client.submit("x", func="nobody", delay_ms=70)
    daemon.later(13)
    runner = worker(daemon)
    runner.take().respond({"outcome": "failed", "final": True})
    assert runner.names() == ["b"]
    client.submit("b")
    status = client.ask("status")
    assert status["connections"] == 2
    assert (status["commits"] > 5, status["commit_p50_us"], status["commit_p99_us"]) == (True, 251, 251)
    f, nobody = status["functions"]
    due_at_ms = daemon.now.wall_ms - 13 + 90_000
    assert f == {
        "func": "f", "workers": 1, "waiting": 1, "parked": 0, "running": 1, "behind": 1, "dead": 1,
        "due_at_ms": due_at_ms,
        "started": 2, "lateness_p50_ms": 3, "lateness_p99_ms": 3, "lateness_max_ms": 3,
        "paused": False, "settings": {},
    }  # fmt: skip
    assert (nobody["waiting"], nobody["due_at_ms"], nobody["started"]) == (1, daemon.now.wall_ms - 13 + 70, 0)


def test_large_jobs_keep_their_place_among_small_ones() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(6):
        client.submit(str(number), workload=b"x" * (5_000 if number < 3 else 1), delay_ms=number)
    daemon.later(10)
    runner = worker(daemon)
    assert runner.names() == list("012345")
    assert [len(run.job["workload"]) for run in runner.runs] == [5_000] * 3 + [1] * 3


def test_after_a_suspension_peers_are_heard_before_they_are_judged() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", lease_ms=60_000)
    client.submit("b", delay_ms=100_000)
    run = runner.take()
    # Five minutes in which the process stood still; the response lies unread in the socket.
    daemon.now = daemon.now._replace(wall_ms=daemon.now.wall_ms + 300_000, mono_ms=daemon.now.mono_ms + 300_000)
    daemon.step()
    assert daemon.take_closings() == []
    assert runner.names() == ["b"]
    assert 0 < daemon.engine.wakeup_ms(daemon.now) <= 1_000
    run.respond()
    assert not runner.notices
    assert daemon.gone("f", "a")


def test_after_a_suspension_a_lease_that_nobody_speaks_for_ends_all_the_same() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a", lease_ms=60_000)
    daemon.now = daemon.now._replace(mono_ms=daemon.now.mono_ms + 300_000)
    daemon.step()
    assert daemon.job("f", "a")["state"] == "running"
    daemon.later(1_000)
    assert daemon.job("f", "a")["state"] == "waiting"
    assert runner.take().job["attempt"] == 1


def test_what_has_arrived_is_heard_before_time_judges() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a", lease_ms=1_000, retry={"limit": 0})
    run = runner.take()
    # The response arrives in time; the step that deals with it comes late, as after a commit that stalled.
    runner.raw(codec.encode_response(run.msgid, None))
    daemon.now = daemon.now._replace(wall_ms=daemon.now.wall_ms + 5_000, mono_ms=daemon.now.mono_ms + 5_000)
    daemon.step()
    assert daemon.gone("f", "a")
    assert daemon.take_events() == []


def test_lateness_is_measured_from_when_the_job_was_free_to_run() -> None:
    daemon = Daemon()
    client, first = daemon.connect(), worker(daemon)
    client.submit("crashes")
    client.submit("ends")
    client.submit("ends")
    daemon.later(50_000)
    second = worker(daemon)
    next(run for run in first.runs if run.name == "ends").respond()
    assert first.names() == ["crashes", "ends", "ends"], "the first to end, and what waited behind it"
    first.close()
    assert sorted(second.names()) == ["crashes", "ends"]
    assert client.ask("status")["functions"][0]["lateness_max_ms"] == 0


def test_hello_changes_only_what_it_names() -> None:
    daemon = Daemon()
    peer = daemon.connect()
    peer.ask("hello", {"client": "me", "credit": 3, "disconnect_grace_ms": 7, "silence_ms": 90_000})
    answer = peer.ask("hello", {"credit": 4, "protocol": 9, "features": ["telepathy"], "not yet known": [1]})
    assert (answer["protocol"], answer["features"]) == (1, [])
    me = peer.me
    assert (me.client, me.credit, me.disconnect_grace_ms, me.silence_ms) == ("me", 4, 7, 90_000)


def test_silence_can_be_agreed_on_for_workers_that_block() -> None:
    daemon = Daemon()
    blocking = worker(daemon, silence_ms=3_600_000)
    daemon.later(3_599_000)
    assert daemon.take_closings() == []
    daemon.later(10_000)
    assert daemon.take_closings()[0][0] is blocking.me


def test_a_connection_that_waits_for_nothing_is_closed_after_an_hour() -> None:
    daemon = Daemon()
    idle, runs = daemon.connect(), daemon.connect()
    daemon.connect().submit("a", lease_ms=86_400_000)
    first = worker(daemon)
    run = first.take()
    runs.ask("extend", run.handle, {"own": True})
    first.ask("unsubscribe_all")
    daemon.later(3_599_000)
    assert daemon.take_closings() == []
    daemon.later(10_000)
    closed = {peer for peer, _ in daemon.take_closings()}
    assert idle.me in closed
    assert runs.me not in closed, "it has taken a run over"
    assert first.me not in closed, "its perform is unanswered"


# -- a wall clock that is stepped --------------------------------------------------------------------------------------


def step(daemon: Daemon, by_ms: int) -> None:
    """The wall clock is set, and nothing else happens."""
    daemon.now = daemon.now._replace(wall_ms=daemon.now.wall_ms + by_ms)
    daemon.step()


@pytest.mark.parametrize("seen", [True, False])
def test_a_clock_stepped_back_prolongs_no_wait_and_moves_no_date(seen: bool) -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner = worker(daemon, silence_ms=HOUR_MS) if seen else None
    date_at_ms = daemon.now.wall_ms + 5_000
    client.submit("date", due_at_ms=date_at_ms)
    client.submit("delay", delay_ms=5_000)
    daemon.later(2_000)
    step(daemon, -HOUR_MS)
    runner = runner or worker(daemon, silence_ms=HOUR_MS)
    daemon.later(2_999)
    assert runner.names() == []
    daemon.later(1)
    runner.take().respond()
    assert daemon.gone("f", "delay")
    daemon.later(HOUR_MS // 2)
    for peer in (client, runner):
        peer.ask("ping")
    daemon.later(HOUR_MS // 2 - 1)
    assert runner.names() == []
    daemon.later(1)
    assert (runner.names(), daemon.now.wall_ms) == (["date"], date_at_ms)


def test_what_was_due_before_the_clock_was_stepped_back_stays_due() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=1)
    for name in "abc":
        client.submit(name)
    step(daemon, -HOUR_MS)
    for name in "abc":
        run = runner.take()
        assert run.name == name
        run.respond()
    assert client.ask("status")["functions"][0]["lateness_max_ms"] == 0


def test_a_retry_and_a_later_end_in_time_though_the_clock_is_stepped_back_again_and_again() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("retry", retry={"backoff": "fixed", "delay_ms": 4_000})
    runner.take().fail()
    client.submit("later", due_at_ms=daemon.now.wall_ms + 1)
    daemon.later(1)
    runner.take().respond({"outcome": "later", "delay_ms": 3_999})
    for _ in range(3):
        daemon.later(1_000)
        step(daemon, -700)
    daemon.later(999)
    # A lag of less than a second is not made up for.
    assert runner.names() == []
    daemon.later(701)
    assert sorted(runner.names()) == ["later", "retry"]


def test_a_step_back_is_told_and_leaves_runs_as_they_are() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", lease_ms=10_000)
    run = runner.take()
    client.submit("a", workload=b"behind")
    step(daemon, -HOUR_MS)
    assert daemon.take_events() == [SteppedBack(HOUR_MS)]
    daemon.later(9_999)
    assert daemon.job("f", "a")["state"] == "running"
    run.respond()
    assert runner.names() == ["a"]


def test_a_clock_that_is_adjusted_by_less_than_a_second_is_no_step() -> None:
    daemon = Daemon()
    daemon.connect().submit("a", delay_ms=5_000)
    step(daemon, -999)
    assert daemon.take_events() == []
    step(daemon, -1)
    assert daemon.take_events() == [SteppedBack(1_000)]
