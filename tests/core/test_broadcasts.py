"""Jobs that run on every connection of their function."""

import json
from typing import Any

import pytest

from periodic_client.wire import Invalid, LeaseLost
from periodicd.clock import Now
from periodicd.scheduler.peers import OUTBOX_HIGH_BYTES
from tests.core.script import START, Daemon, Peer, worker


def broadcast(client: Peer, name: str = "reload", **job: Any) -> str:
    return client.submit(name, broadcast=True, **job)


def figures(daemon: Daemon, name: str = "reload") -> dict[str, int]:
    """How far it is, or what its result was."""
    found = daemon.connect().ask("get", "f", name, {"data": True})
    if found["job"] is not None:
        return dict(found["job"]["broadcast"])
    assert found["last"]["ending"] == "done"
    return dict(json.loads(found["last"]["data"]))


def test_every_connection_runs_it_and_its_result_is_how_many_were_done() -> None:
    daemon = Daemon()
    first, second, other = worker(daemon), worker(daemon), worker(daemon, "g")
    client = daemon.connect()
    assert broadcast(client, workload=b"x", result_ms=60_000) == "created"
    watched = client.send("watch", "f", "reload", {"only_end": True})
    runs = [first.take(), second.take()]
    assert [run.job["workload"] for run in runs] == [b"x", b"x"]
    assert all(run.job["broadcast"] for run in runs)
    assert len({run.handle for run in runs}) == len({run.job["run"] for run in runs}) == 2
    assert daemon.job("f", "reload")["state"] == "running"
    assert figures(daemon) == {"runs": 2, "done": 0, "failed": 0, "lost": 0}
    runs[0].respond()
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 0}
    runs[1].fail("no")
    end = client.answer(watched)
    assert (end["ending"], json.loads(end["data"])) == ("done", {"runs": 2, "done": 1, "failed": 1, "lost": 0})
    assert daemon.gone("f", "reload")
    assert other.names() == []


def test_who_is_busy_runs_it_too_and_has_no_less_room() -> None:
    daemon = Daemon()
    runner = worker(daemon, limit=1, credit=1)
    client = daemon.connect()
    client.submit("a")
    busy = runner.take()
    broadcast(client)
    run = runner.take()
    client.submit("b")
    assert runner.names() == []
    busy.respond()
    assert runner.take().name == "b"
    run.respond()
    assert daemon.gone("f", "reload")


def test_where_nobody_has_the_function_it_is_done_at_its_time() -> None:
    daemon = Daemon()
    broadcast(daemon.connect(), delay_ms=1_000, result_ms=60_000)
    assert daemon.job("f", "reload")["state"] == "waiting"
    daemon.later(1_000)
    assert figures(daemon) == {"runs": 0, "done": 0, "failed": 0, "lost": 0}
    assert worker(daemon).names() == []


def test_who_comes_later_or_only_takes_is_not_told() -> None:
    daemon = Daemon()
    runner, taker = worker(daemon), daemon.connect()
    taken = taker.send("take", {"funcs": ["f"], "wait_ms": 5_000})
    broadcast(daemon.connect())
    late = worker(daemon)
    assert late.names() == []
    runner.take().respond()
    daemon.later(5_000)
    assert taker.answer(taken) == {"jobs": []}


def test_it_overtakes_what_waits_and_neither_counts_for_running_max_nor_for_a_rate() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"running_max": 1, "rate": {"count": 1, "per_ms": 60_000}})
    runner = worker(daemon)
    client.submit("a")
    client.submit("b")
    assert runner.take().name == "a"
    broadcast(client)
    broadcast(client, "again")
    for name in ("reload", "again"):
        run = runner.take()
        assert run.name == name
    assert runner.names() == []


def test_while_its_function_is_paused_it_waits() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.ask("pause", "f")
    broadcast(client)
    daemon.later(10_000)
    assert [gate["code"] for gate in client.ask("explain", "f", "reload")["gates"]] == ["paused"]
    client.ask("resume", "f")
    assert runner.take().name == "reload"


def test_who_reports_with_finish_is_answered_and_counts_once() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    broadcast(daemon.connect())
    run, _ = first.take(), second.take()
    other = daemon.connect()
    assert other.ask("finish", run.handle, {"outcome": "done"}) == {}
    with pytest.raises(LeaseLost):
        other.ask("finish", run.handle, {"outcome": "failed"})
    run.respond()
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 0}


def test_what_is_later_is_not_run_again_and_counts_as_failed() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    broadcast(daemon.connect(), result_ms=60_000)
    runner.take().respond({"outcome": "later", "delay_ms": 0})
    daemon.later(60_000 - 1)
    assert runner.names() == []
    assert figures(daemon) == {"runs": 1, "done": 0, "failed": 1, "lost": 0}


def test_who_is_gone_is_lost_at_once_and_reports_no_more() -> None:
    daemon = Daemon()
    first, second = worker(daemon, disconnect_grace_ms=600_000), worker(daemon)
    client = daemon.connect()
    events = client.send("events", {"kinds": ["lost", "done"]})
    broadcast(client, result_ms=60_000)
    run, left = first.take(), second.take()
    first.close()
    assert figures(daemon) == {"runs": 2, "done": 0, "failed": 0, "lost": 1}
    assert client.answer(events)["events"][0]["run"] == run.job["run"]
    with pytest.raises(LeaseLost):
        client.ask("extend", run.handle, {"own": True})
    with pytest.raises(LeaseLost):
        client.ask("finish", run.handle, None)
    left.respond()
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 1}


def test_who_does_not_read_is_given_it_when_it_reads_and_is_lost_with_the_lease() -> None:
    daemon = Daemon()
    slow, slower = worker(daemon), worker(daemon)
    for peer in (slow, slower):
        peer.reads = False
        peer.me.note_outbox(OUTBOX_HIGH_BYTES)
    broadcast(daemon.connect(), result_ms=60_000, lease_ms=5_000, workload=b"x")
    assert (slow.names(), slower.names()) == ([], [])
    assert figures(daemon) == {"runs": 2, "done": 0, "failed": 0, "lost": 0}
    slow.read()
    daemon.step()
    run = slow.take()
    assert run.job["workload"] == b"x"
    run.respond()
    daemon.later(5_000)
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 1}
    slower.read()
    daemon.step()
    assert (slower.notices, slower.names()) == ([], [])


def test_who_is_given_it_late_is_told_that_it_was_cancelled() -> None:
    daemon = Daemon()
    slow, client = worker(daemon), daemon.connect()
    slow.reads = False
    slow.me.note_outbox(OUTBOX_HIGH_BYTES)
    broadcast(client)
    client.ask("cancel", "f", "reload")
    assert slow.notices == []
    slow.read()
    client.submit("a")
    runs = {run.name: run for run in (slow.take(), slow.take())}
    assert runs.keys() == {"a", "reload"}
    assert slow.notices == [(runs["reload"].handle, "cancel")]


def test_who_is_sent_a_large_job_is_given_it_after_that() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    large = {"func": "f", "name": "large", "workload": b"x" * 2 * 1024 * 1024}
    daemon.connect().ask("submit_batch", [large, {"func": "f", "name": "reload", "broadcast": True}])
    daemon.later(1)
    assert set(runner.names()) == {"large", "reload"}


def test_where_others_have_filled_the_memory_it_is_given_when_there_is_some_again() -> None:
    daemon = Daemon(connections_bytes=10_000_000)
    other, runner = daemon.connect(), worker(daemon)
    other.me.note_outbox(10_000_000)
    broadcast(daemon.connect())
    assert runner.names() == []
    other.me.note_outbox(0)
    daemon.later(1)
    assert runner.names() == ["reload"]


def test_who_answers_none_of_many_is_given_no_more_and_holds_no_workloads() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    for _ in range(2):
        batch = [{"func": "f", "name": f"{n}", "broadcast": True, "workload": b"x" * 100} for n in range(600)]
        client.ask("submit_batch", [job | {"name": f"{job['name']}-{_}", "result_ms": 60_000} for job in batch])
        daemon.later(60)
    assert len(runner.runs) == len(runner.me.told) == 1_000
    assert all(part.job.workload is None for part in runner.me.told.values())
    assert figures(daemon, "599-1") == {"runs": 1, "done": 0, "failed": 0, "lost": 1}


def test_when_its_lease_is_over_it_is_done_and_who_has_not_reported_is_told() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    broadcast(daemon.connect(), lease_ms=5_000, result_ms=60_000)
    first.take().respond()
    run = second.take()
    daemon.later(5_000)
    assert second.notices == [(run.handle, "lost")]
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 1}
    run.respond()
    assert second.names() == []


def test_any_of_them_makes_the_lease_longer_and_none_shorter() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    broadcast(daemon.connect(), lease_ms=5_000)
    runs = [first.take(), second.take()]
    until_at_ms = START.wall_ms + 60_000
    assert first.ask("extend", runs[0].handle, {"lease_ms": 60_000})["lease_until_at_ms"] == until_at_ms
    assert second.ask("extend", runs[1].handle, {"lease_ms": 1_000})["lease_until_at_ms"] == until_at_ms
    daemon.later(30_000)
    for run in runs:
        run.respond()
    assert daemon.gone("f", "reload")


def test_it_is_told_to_all_that_it_was_cancelled_and_is_done_with_their_reports() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    client = daemon.connect()
    broadcast(client, result_ms=60_000)
    runs = [first.take(), second.take()]
    assert client.ask("cancel", "f", "reload")["result"] == "asked"
    assert [peer.notices for peer in (first, second)] == [[(run.handle, "cancel")] for run in runs]
    for run in runs:
        run.fail()
    assert figures(daemon) == {"runs": 2, "done": 0, "failed": 2, "lost": 0}


@pytest.mark.parametrize("how", ["failed", "later"])
def test_ended_by_others_it_is_done_too(how: str) -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client, result_ms=60_000)
    run = runner.take()
    assert client.ask("end_run", "f", "reload", {"as": how})["result"] == "ended"
    assert runner.notices == [(run.handle, "lost")]
    assert figures(daemon) == {"runs": 1, "done": 0, "failed": 0, "lost": 1}


def test_removed_it_is_gone_and_reports_count_no_more() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    client = daemon.connect()
    broadcast(client)
    runs = [first.take(), second.take()]
    assert client.ask("remove", "f", "reload")["result"] == "removed"
    assert [peer.notices for peer in (first, second)] == [[(run.handle, "lost")] for run in runs]
    with pytest.raises(LeaseLost):
        client.ask("finish", runs[0].handle, None)


def test_what_is_removed_in_the_step_in_which_it_is_reported_is_not_counted() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    removed = client.send("remove", "f", "reload")
    reported = client.send("finish", run.handle, {"outcome": "done", "submit": [{"func": "g", "name": "x"}]})
    daemon.step()
    assert client.answer(removed)["result"] == "removed"
    with pytest.raises(LeaseLost):
        client.answer(reported)
    assert runner.notices == [(run.handle, "lost")]
    assert daemon.gone("g", "x")


def test_a_job_of_its_name_waits_behind_it() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    assert broadcast(client) == "queued_behind"
    assert runner.names() == []
    run.respond()
    assert runner.take().name == "reload"


def test_each_run_has_follow_ons_of_its_own() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    broadcast(daemon.connect())
    for number, peer in enumerate((first, second)):
        peer.take().respond({"outcome": "done", "submit": [{"func": "g", "name": f"of {number}"}]})
    assert worker(daemon, "g").names() == ["of 0", "of 1"]


def test_a_group_counts_it_as_one_and_its_own_job_can_be_one() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    then = {"func": "f", "name": "told", "broadcast": True}
    client.ask("submit_group", {"then": then, "jobs": [{"func": "f", "name": "reload", "broadcast": True}]})
    assert [gate["code"] for gate in client.ask("explain", "f", "told")["gates"]] == ["group"]
    runner.take().fail()
    run = runner.take()
    assert (run.name, run.job["headers"]["group-done"]) == ("told", "1")


def test_a_schedule_broadcasts() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    job = {"func": "f", "broadcast": True}
    daemon.connect().ask("set_schedule", "nightly", {"job": job, "every_ms": 30_000})
    daemon.later(30_000)
    for peer in (first, second):
        peer.take().respond()


def test_after_a_restart_it_is_done_and_who_has_not_reported_is_lost() -> None:
    daemon = Daemon()
    first, second = worker(daemon), worker(daemon)
    broadcast(daemon.connect(), result_ms=600_000)
    first.take().respond()
    run = second.take()
    daemon.start()
    daemon.step()
    assert figures(daemon) == {"runs": 2, "done": 1, "failed": 0, "lost": 1}
    with pytest.raises(LeaseLost):
        worker(daemon).ask("finish", run.handle, None)


def test_after_a_restart_none_begins_until_workers_had_time_to_come_back() -> None:
    daemon = Daemon()
    client = daemon.connect()
    broadcast(client, delay_ms=1_000)
    daemon.start()
    client, runner = daemon.connect(), worker(daemon)
    daemon.later(29_999)
    (gate,) = client.ask("explain", "f", "reload")["gates"]
    assert (gate["code"], gate["facts"]) == ("starting", {"until_at_ms": daemon.now.wall_ms + 1})
    assert runner.names() == []
    daemon.later(1)
    assert runner.take().name == "reload"


def test_many_at_once_begin_in_several_steps_and_in_order() -> None:
    daemon = Daemon()
    client = daemon.connect()
    jobs = [{"func": "f", "name": f"{n:02}", "broadcast": True, "delay_ms": 99 - n} for n in range(40)]
    client.ask("submit_batch", jobs)
    runner = worker(daemon)
    daemon.now = daemon.now._replace(wall_ms=START.wall_ms + 100)
    in_order = [f"{n:02}" for n in reversed(range(40))]
    for begun in (16, 32, 40):
        daemon.step()
        assert runner.names() == in_order[:begun]
        assert daemon.engine.wakeup_ms(daemon.now) > 0 if begun == 40 else daemon.engine.wakeup_ms(daemon.now) == 0
    for run in list(runner.runs):
        run.respond()


def test_a_clock_that_was_stepped_back_prolongs_no_wait() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    broadcast(daemon.connect(), delay_ms=10_000)
    daemon.later(5_000, wall_ms=-3_600_000)
    assert runner.names() == []
    daemon.later(5_000)
    assert runner.take().name == "reload"


def test_moved_it_begins_then() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client, delay_ms=60_000)
    client.ask("move", "f", "reload", {"delay_ms": 1_000})
    daemon.later(1_000)
    assert runner.take().name == "reload"


def test_not_begun_by_its_time_it_expires() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.ask("pause", "f")
    broadcast(client, expires_at_ms=START.wall_ms + 1_000)
    daemon.later(1_000)
    assert daemon.job("f", "reload")["state"] == "dead"
    client.ask("resume", "f")
    assert runner.names() == []
    assert client.ask("requeue", "f", "reload")["result"] == "requeued"
    assert runner.take().name == "reload"


def test_a_daemon_that_stops_tells_their_workers_and_begins_none() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    assert daemon.engine.scheduler.runs.in_progress.with_workers
    daemon.engine.scheduler.drain()
    broadcast(client, "again")
    assert runner.notices == [(run.handle, "stop")]
    assert [gate["code"] for gate in client.ask("explain", "f", "again")["gates"]] == ["stopping"]
    run.respond()
    assert not daemon.engine.scheduler.runs.in_progress.with_workers


def test_it_is_seen_who_runs_it() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    (shown,) = client.ask("workers")["workers"]
    assert [each["run"] for each in shown["runs"]] == [run.job["run"]]
    (function,) = client.ask("status")["functions"]
    assert (function["waiting"], function["running"], function["started"]) == (0, 1, 1)
    (gate,) = client.ask("explain", "f", "reload")["gates"]
    assert "1 of 1 runs have not ended" in gate["text"]
    run.respond()
    status = client.ask("status")
    assert (status["started"], status["done"], status["failed"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ({"locks": {"l": 1}}, "job.locks is not for a broadcast"),
        ({"retry": {}}, "job.retry is not for a broadcast"),
        ({"workload": b"x" * 65_537}, "job.workload has 65,537 bytes, and may have 65,536 in a broadcast"),
        ({"workload": "ä" * 32_769}, "job.workload has 65,538 bytes"),
    ],
)
def test_what_it_cannot_have_is_refused(job: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        broadcast(Daemon().connect(), **job)


def test_the_largest_is_broadcast() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    broadcast(daemon.connect(), workload=b"x" * 65_536)
    assert len(runner.take().job["workload"]) == 65_536


def test_what_it_tells_meanwhile_is_told_of_the_job() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    watched = client.send("watch", "f", "reload")
    daemon.step()
    client.answer(watched)
    runner.ask("data", run.handle, b"half")
    assert client.ask("watch", "f", "reload")["chunks"] == [b"half"]


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [False, True], ids=["put", "clock"])
def test_more_have_expired_than_end_in_a_step(passes: bool) -> None:
    daemon = Daemon()
    expires_at_ms = START.wall_ms + (2_000 if passes else -1)
    delay_ms = 1_000 if passes else 0
    jobs = [
        {"func": "f", "name": f"{n}", "broadcast": True, "delay_ms": delay_ms, "expires_at_ms": expires_at_ms}
        for n in range(150)
    ]
    client = daemon.connect()
    client.ask("submit_batch", jobs)
    daemon.now = daemon.now._replace(wall_ms=START.wall_ms + 3_000)
    daemon.later(10)
    assert {daemon.job("f", f"{n}")["state"] for n in range(150)} == {"dead"}


def test_a_step_gives_out_only_so_many_runs() -> None:
    daemon = Daemon()
    workers = [worker(daemon) for _ in range(400)]
    daemon.connect().send("submit_batch", [{"func": "f", "name": f"{n}", "broadcast": True} for n in range(9)])
    daemon.allow("run", "answer")
    begun = []
    for _ in range(3):
        daemon.step()
        begun.append(len(workers[0].runs))
    assert begun == [3, 6, 9]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_it_is_told_who_ran_it_who_failed_and_who_did_not_report() -> None:
    daemon = Daemon()
    runners = [worker(daemon, client=name) for name in ("done", "failed", "hung", "left", "gone")]
    client = daemon.connect()
    events = client.send("events", {"kinds": ["none"], "timeout_ms": 600_000})
    daemon.step()
    broadcast(client, lease_ms=5_000)
    runs = [runner.take() for runner in runners]
    runs[0].respond()
    runs[1].fail("no")
    runners[3].ask("unsubscribe_all")
    runners[3].close()
    runners[4].close()
    daemon.later(5_000)
    assert runners[2].notices == [(runs[2].handle, "lost")]
    told = [event for event in client.ask("events", {"timeout_ms": 0})["events"] if event["worker"] is not None]
    kinds = {(event["kind"], event["worker"].split()[0], event["text"]) for event in told if event["run"] is not None}
    assert kinds - {("started", runner.me.client, None) for runner in runners} == {
        ("failed", "failed", "no"), ("lost", "hung", "the lease of its broadcast ran out"),
        ("lost", "left", "its worker left"), ("lost", "gone", "its worker's connection was lost"),
    }  # fmt: skip
    assert [type(event).__name__ for event in daemon.take_events()] == ["WorkerLost", "LeaseRanOut"]
    status = client.ask("status")
    assert (status["started"], status["done"], status["failed"]) == (5, 1, 2)
    client.ask("unwait", events)
    assert client.answer(events)["events"] == []


def test_a_report_that_did_not_count_is_not_counted() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client)
    run = runner.take()
    removed = client.send("remove", "f", "reload")
    run.fail()
    assert client.answer(removed)["result"] == "removed"
    assert runner.notices == [(run.handle, "lost")]
    assert client.ask("status")["failed"] == 0


def test_nobody_takes_over_what_another_runs() -> None:
    daemon = Daemon()
    old, new = worker(daemon), worker(daemon)
    broadcast(daemon.connect())
    run, _ = old.take(), new.take()
    with pytest.raises(LeaseLost, match="lost with its connection"):
        new.ask("extend", run.handle, {"own": True})
    old.ask("extend", run.handle, {"own": True})


def test_after_a_sleep_of_the_machine_workers_come_back_first() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    broadcast(client, delay_ms=10_000)
    daemon.now = Now(START.wall_ms + 50_000, START.mono_ms + 50_000)
    daemon.step()
    runner.close()
    again = worker(daemon)
    daemon.later(30_000)
    assert again.take().name == "reload"
