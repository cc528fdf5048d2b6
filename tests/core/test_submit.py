"""submit, remove, requeue, get: what is kept under a name."""

import pytest

from periodic_client.wire import Invalid
from tests.core.script import START, Daemon, worker

DEAD = {"outcome": "failed", "retry": False}


def test_a_job_waits_until_somebody_serves_its_function() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.submit("a", workload=b"x") == "created"
    assert daemon.job("f", "a")["state"] == "waiting"
    run = worker(daemon).take()
    assert run.job["workload"] == b"x"
    assert daemon.job("f", "a")["state"] == "running"
    run.respond()
    assert daemon.gone("f", "a")


def test_a_waiting_job_is_replaced_with_new_id_and_counters() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", workload=b"old")
    runner.take().fail()
    before = daemon.job("f", "a")
    assert (before["attempt"], before["failures"]) == (1, 1)
    assert client.submit("a", workload=b"new", delay_ms=5_000) == "replaced"
    after = daemon.job("f", "a")
    assert after["id"] > before["id"]
    assert (after["attempt"], after["failures"], after["workload"]) == (0, 0, b"new")
    daemon.later(4_999)
    assert not runner.runs
    daemon.later(1)
    assert runner.take().job["workload"] == b"new"


def test_a_job_can_be_moved_to_later_and_to_earlier() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", delay_ms=100)
    assert client.submit("a", delay_ms=10_000) == "replaced"
    daemon.later(9_999)
    assert not runner.runs
    assert client.submit("a", delay_ms=0) == "replaced"
    assert runner.names() == ["a"]


def test_a_submit_while_running_waits_behind_and_takes_its_place_however_the_run_ends() -> None:
    for ending in (None, DEAD, {"outcome": "failed"}, {"outcome": "later", "delay_ms": 9}):
        daemon = Daemon()
        client, runner = daemon.connect(), worker(daemon)
        client.submit("a", workload=b"1")
        run = runner.take()
        assert client.submit("a", workload=b"2") == "queued_behind"
        assert client.submit("a", workload=b"3") == "queued_behind"
        assert not runner.runs
        assert daemon.job("f", "a")["successor"] is True
        run.respond(ending)
        second = runner.take()
        assert second.job["workload"] == b"3"
        assert (second.job["attempt"], second.job["failures"]) == (1, 0)
        second.respond()
        assert daemon.gone("f", "a")


def test_a_successor_that_is_due_later_waits_for_its_time() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    client.submit("a", delay_ms=1_000)
    runner.take().respond()
    assert not runner.runs
    daemon.later(1_000)
    assert runner.names() == ["a"]


def test_a_dead_job_is_superseded_by_a_submit() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    runner.take().respond(DEAD)
    assert daemon.job("f", "a")["state"] == "dead"
    assert client.submit("a") == "created"
    assert runner.take().job["attempt"] == 1


def test_keep_leaves_any_earlier_job_alone() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.submit("a", keep=True, workload=b"1") == "created"
    assert client.submit("a", keep=True, workload=b"2") == "kept"
    runner = worker(daemon)
    run = runner.take()
    assert run.job["workload"] == b"1"
    assert client.submit("a", keep=True) == "kept"
    run.respond(DEAD)
    assert client.submit("a", keep=True) == "kept"
    assert not runner.runs


def test_a_batch_is_one_step_and_the_later_entry_of_a_name_wins() -> None:
    daemon = Daemon()
    client = daemon.connect()
    jobs = [{"func": "f", "name": name, "workload": load} for name, load in (("a", "1"), ("b", "2"), ("a", "3"))]
    assert client.ask("submit", jobs) == ["created", "created", "replaced"]
    assert client.ask("submit", []) == []
    runner = worker(daemon)
    assert [(run.name, run.job["workload"]) for run in runner.runs] == [("b", b"2"), ("a", b"3")]


def test_a_bad_entry_is_named_and_nothing_of_its_batch_is_taken() -> None:
    daemon = Daemon()
    client = daemon.connect()
    with pytest.raises(Invalid, match=r"jobs\[1\].name is missing"):
        client.ask("submit", [{"func": "f", "name": "a"}, {"func": "f"}])
    assert daemon.gone("f", "a")


def test_a_job_submitted_and_removed_at_once_never_runs() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    first = client.send("submit", {"func": "f", "name": "a"})
    second = client.send("remove", "f", "a")
    daemon.step()
    assert (client.answer(first), client.answer(second)) == ("created", "removed")
    assert not runner.runs


def test_remove_takes_a_job_in_any_state() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    assert client.ask("remove", "f", "a") == "absent"
    client.submit("a", delay_ms=100)
    assert client.ask("remove", "f", "a") == "removed"
    daemon.later(200)
    assert not runner.runs
    client.submit("a")
    client.submit("a")
    assert client.ask("remove", "f", "a") == "removed"
    run = runner.take()
    run.respond()
    assert [note.params for note in runner.notes] == [[run.handle]]
    assert daemon.gone("f", "a")
    client.submit("a")
    runner.take().respond(DEAD)
    assert client.ask("remove", "f", "a") == "removed"
    assert daemon.gone("f", "a")


def test_requeue_gives_a_dead_job_a_new_life() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    assert client.ask("requeue", "f", "a") == "absent"
    client.submit("a", workload=b"x" * 10_000, retry={"limit": 0}, priority=3)
    assert client.ask("requeue", "f", "a") == "not_dead"
    runner.take().fail("broken")
    dead = daemon.job("f", "a")
    assert (dead["state"], dead["reason"], dead["ended_ms"]) == ("dead", "broken", START.wall_ms)
    daemon.later(50)
    assert client.ask("requeue", "f", "a") == "requeued"
    run = runner.take()
    assert (run.job["attempt"], run.job["failures"], run.job["workload"]) == (1, 0, b"x" * 10_000)
    again = daemon.job("f", "a")
    assert again["id"] > dead["id"]
    assert (again["priority"], again["retry"]["limit"], again["reason"]) == (3, 0, None)


def test_list_pages_through_all_jobs_by_function_and_state() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(25):
        client.submit(str(number), func="even" if number % 2 == 0 else "odd", delay_ms=number)
    names, after = [], 0
    while after is not None:
        page = client.ask("list", {"func": "odd", "limit": 5, "after": after})
        names += [job["name"] for job in page["jobs"]]
        after = page["next"]
    assert names == [str(number) for number in range(1, 25, 2)]
    assert client.ask("list", {"state": "dead"}) == {"jobs": [], "next": None}
    worker(daemon, "even", 2)
    running = client.ask("list", {"state": "waiting", "func": "even"})["jobs"]
    daemon.later(100)
    assert len(running) == 13, "a claim may be written a little after its job was given out"
    assert len(client.ask("list", {"state": "running"})["jobs"]) == 2
