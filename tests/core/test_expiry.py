"""Jobs that end since they have not begun by their time."""

import pytest

from periodic_client.wire import Invalid
from tests.core.script import START, Daemon, worker

SOON = START.wall_ms + 5_000


def test_what_has_not_begun_by_its_time_is_dead_and_its_end_is_told() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", expires_at_ms=SOON, result_ms=60_000)
    watched = client.send("watch", "f", "a", {"only_end": True})
    events = client.send("events", {"kinds": ["expired"]})
    daemon.later(4_999)
    assert daemon.job("f", "a")["state"] == "waiting"
    daemon.later(1)
    job = daemon.job("f", "a")
    assert (job["state"], job["reason"], job["attempt"]) == ("dead", "it had not begun when it expired", 0)
    assert client.answer(watched)["ending"] == "expired"
    assert client.answer(events)["events"][0]["name"] == "a"
    assert worker(daemon).names() == []
    assert client.ask("get", "f", "a")["last"]["ending"] == "expired"
    daemon.start()
    assert daemon.connect().ask("watch", "f", "a")["ending"] == "expired"


def test_what_has_begun_goes_on_through_failures() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a", expires_at_ms=SOON)
    run = runner.take()
    daemon.later(10_000)
    run.fail()
    daemon.later(10_000)
    runner.take().respond()
    assert daemon.gone("f", "a")


def test_what_has_begun_does_not_expire_after_a_restart() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a", expires_at_ms=SOON)
    runner.take()
    daemon.start()
    daemon.later(60_000)
    assert worker(daemon).take().job["attempt"] == 2


def test_what_expired_while_the_daemon_was_down_is_not_given_out() -> None:
    daemon = Daemon()
    daemon.connect().submit("a", expires_at_ms=SOON)
    daemon.now = daemon.now._replace(wall_ms=SOON)
    daemon.start()
    assert worker(daemon).names() == []
    assert daemon.job("f", "a")["state"] == "dead"


def test_what_has_expired_when_it_is_put_does_not_wait_for_a_clock_that_is_set_back() -> None:
    daemon = Daemon()
    daemon.connect().submit("a", expires_at_ms=START.wall_ms)
    daemon.now = daemon.now._replace(wall_ms=START.wall_ms - 10_000)
    assert daemon.job("f", "a")["state"] == "dead"


def test_many_at_once_end_some_in_a_step_and_none_of_them_begins() -> None:
    daemon = Daemon()
    client = daemon.connect()
    jobs = [{"func": "f", "name": f"{number}", "expires_at_ms": SOON} for number in range(250)]
    client.ask("submit_batch", jobs)
    daemon.later(5_000)
    assert worker(daemon).names() == []
    daemon.later(5)
    assert client.ask("status")["functions"][0]["dead"] == 250


def test_a_later_expiry_is_awaited_after_a_restart_and_after_an_earlier_one() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("late", expires_at_ms=SOON + 5_000)
    client.submit("soon", expires_at_ms=SOON)
    daemon.later(5_000)
    daemon.start()
    assert daemon.job("f", "late")["state"] == "waiting"
    daemon.later(5_000)
    assert daemon.job("f", "late")["state"] == "dead"


def test_a_dead_one_that_is_requeued_waits_for_ever() -> None:
    daemon = Daemon()
    daemon.connect().submit("a", expires_at_ms=SOON)
    daemon.later(5_000)
    daemon.connect().ask("requeue", "f", "a")
    daemon.later(60_000)
    assert worker(daemon).take().job["name"] == "a"


def test_a_member_of_a_group_that_expires_has_ended() -> None:
    daemon = Daemon()
    listener = worker(daemon, "g")
    jobs = [{"func": "f", "name": "a", "expires_at_ms": SOON}]
    daemon.connect().ask("submit_group", {"then": {"func": "g", "name": "then"}, "jobs": jobs})
    daemon.later(5_000)
    assert listener.take().job["headers"]["group-expired"] == "1"


def test_who_waits_behind_or_in_line_expires_too() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.submit("a", locks={"k": 1})
    client.submit("a", expires_at_ms=SOON)
    client.submit("b", locks={"k": 1}, expires_at_ms=SOON)
    assert daemon.job("f", "b")["state"] == "parked"
    daemon.later(5_000)
    assert daemon.job("f", "b")["state"] == "dead"
    runner.take().respond()
    assert daemon.gone("f", "a")


def test_it_must_be_after_the_due_time() -> None:
    daemon = Daemon()
    with pytest.raises(Invalid, match="expires_at_ms is not after due_at_ms, so it would never begin"):
        daemon.connect().submit("a", due_at_ms=SOON, expires_at_ms=SOON)
