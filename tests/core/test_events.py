"""What the operator is told of, beside what peers are told: lost workers, leases that ran out, jobs that died."""

from periodicd.scheduler.events import Died, LeaseRanOut, Missed, WorkerLost
from periodicd.scheduler.step import EVENTS_MAX
from tests.core.script import Daemon, worker


def test_a_job_that_runs_and_is_done_or_fails_or_comes_again_is_no_event() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    peer.submit("a", retry={"limit": 1, "delay_ms": 0})
    peer.take().fail()
    peer.take().respond({"outcome": "later", "delay_ms": 0})
    peer.take().respond()
    assert daemon.gone("f", "a")
    peer.ask("unsubscribe_all")
    peer.close()
    assert daemon.take_events() == []


def test_a_lease_that_runs_out() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    peer.submit("a", lease_ms=2_000)
    run = peer.take()
    daemon.later(1_999)
    assert daemon.take_events() == []
    daemon.later(1)
    assert daemon.take_events() == [LeaseRanOut(peer.me, "f", "a", run.job["run"], 2_000)]
    assert daemon.take_events() == [], "each is told once"


def test_a_job_dies_of_its_failures() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    peer.submit("a", retry={"limit": 1, "delay_ms": 0})
    peer.take().fail()
    peer.take().fail()
    assert daemon.take_events() == [Died("f", "a", 2, 2, 0)]


def test_a_job_dies_at_once_or_late() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    peer.submit("a")
    peer.take().respond({"outcome": "failed", "final": True})
    assert daemon.take_events() == [Died("f", "a", 1, 1, 0)]
    peer.submit("b", lease_ms=1_000)
    late = peer.take()
    daemon.later(1_000)
    daemon.take_events()
    peer.ask("finish", late.handle, {"outcome": "failed", "final": True})
    assert daemon.take_events() == [Died("f", "b", 1, 1, 0)]


def test_a_job_that_gives_way_to_the_one_behind_is_not_dead() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    peer.submit("a")
    assert peer.submit("a") == "queued_behind"
    peer.take().respond({"outcome": "failed", "final": True})
    assert peer.names() == ["a"]
    assert daemon.job("f", "a")["state"] == "running"
    assert daemon.take_events() == []


def test_a_worker_that_is_lost_with_its_jobs() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    for name in "abc":
        peer.submit(name)
    peer.take().respond()
    assert peer.names() == ["b", "c"]
    peer.close()
    assert daemon.take_events() == [WorkerLost(peer.me, 2)]


def test_a_worker_that_has_no_jobs_or_says_goodbye_is_no_loss() -> None:
    daemon = Daemon()
    worker(daemon).close()
    peer = worker(daemon)
    peer.submit("a")
    assert peer.names() == ["a"]
    peer.ask("unsubscribe_all")
    peer.close()
    assert daemon.job("f", "a")["state"] == "waiting"
    assert daemon.take_events() == []


def test_a_job_dies_of_its_crashes() -> None:
    daemon = Daemon()
    daemon.connect().submit("a")
    for _ in range(5):
        peer = worker(daemon)
        assert peer.names() == ["a"]
        peer.close()
    lost, dead = daemon.take_events()[-2:]
    assert lost == WorkerLost(peer.me, 1)
    assert dead == Died("f", "a", 5, 0, 5)


def test_events_are_bounded_and_the_rest_are_counted() -> None:
    daemon = Daemon()
    for func in ("f", "g"):
        peer = worker(daemon, func, limit=1000)
        peer.ask("submit_batch", [{"func": func, "name": str(number), "lease_ms": 1_000} for number in range(1000)])
        assert len(peer.runs) == 1_000
    daemon.later(1_000)
    events = daemon.take_events()
    assert len(events) == EVENTS_MAX + 1
    assert {type(event) for event in events[:-1]} == {LeaseRanOut}
    assert events[-1] == Missed(1_000)
    assert daemon.take_events() == []
