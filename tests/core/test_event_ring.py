"""``events`` and ``workers``: what happened last, for who asks, and who takes jobs."""

from typing import Any

import pytest

from periodic_client.wire import Busy, Invalid
from periodicd.scheduler.event_ring import ASKED_MS, ASKING_MAX, EVENTS_KEPT
from tests.core.script import START, Daemon, Peer, worker

MINUTE_MS = 60_000


def told(peer: Peer, **query: Any) -> dict[str, Any]:
    answer: dict[str, Any] = peer.ask("events", {"timeout_ms": 0, **query})
    return answer


def kinds(answer: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in answer["events"]]


def test_a_job_s_life_is_told() -> None:
    daemon = Daemon()
    asker, client = daemon.connect(), daemon.connect()
    assert told(asker)["events"] == []
    runner = worker(daemon, client="resizer")
    client.submit("a", retry={"limit": 1, "backoff": "fixed", "delay_ms": 0})
    runner.take().fail("broken")
    runner.take().fail("for good")
    client.ask("requeue", "f", "a")
    runner.take().respond()
    client.submit("b", delay_ms=MINUTE_MS)
    client.submit("b", delay_ms=MINUTE_MS)
    client.ask("cancel", "f", "b")
    runner.ask("unsubscribe_all")
    answer = told(asker)
    assert kinds(answer) == [
        "worker_came", "submitted", "started", "failed", "started", "failed", "dead", "requeued", "started", "done",
        "submitted", "replaced", "submitted", "cancelled", "worker_went",
    ]  # fmt: skip
    started = answer["events"][2]
    worker_ = f"resizer (connection {runner.number})"
    assert started == {
        "at_ms": START.wall_ms, "kind": "started", "func": "f", "name": "a", "id": 1, "run": 2, "worker": worker_,
        "text": None,
    }  # fmt: skip
    assert [event["text"] for event in answer["events"] if event["kind"] == "failed"] == ["broken", "for good"]
    assert told(asker, after=answer["next"])["events"] == []


def test_who_waits_is_told_at_the_end_of_the_step() -> None:
    daemon = Daemon()
    asker, client = daemon.connect(), daemon.connect()
    waits = asker.send("events", {"kinds": ["removed"], "func": "f"})
    daemon.step()
    client.submit("a", delay_ms=MINUTE_MS)
    client.submit("a", func="g", delay_ms=MINUTE_MS)
    client.ask("remove", "g", "a")
    assert not asker.answers
    client.ask("remove", "f", "a")
    answer = asker.answer(waits)
    assert [(event["func"], event["name"]) for event in answer["events"]] == [("f", "a")]
    assert answer["missed"] == 0


def test_how_a_run_was_lost_is_told() -> None:
    daemon = Daemon()
    asker = daemon.connect()
    told(asker)
    runner = worker(daemon)
    for name in "ab":
        asker.submit(name, lease_ms=1_000, retry={"backoff": "fixed", "delay_ms": MINUTE_MS})
    runner.take()
    daemon.later(1_000)
    runner.close()
    texts = [event["text"] for event in told(asker)["events"] if event["kind"] == "lost"]
    assert texts == ["its lease ran out"] * 2
    daemon.allow("run")


def test_nothing_is_kept_while_nobody_asks() -> None:
    daemon = Daemon()
    asker = daemon.connect()
    asker.submit("before", delay_ms=MINUTE_MS)
    cursor = told(asker)["next"]
    asker.submit("a", delay_ms=MINUTE_MS)
    assert kinds(told(asker)) == ["submitted"]
    daemon.later(ASKED_MS)
    asker.submit("b", delay_ms=MINUTE_MS)
    answer = told(asker, after=cursor)
    assert (answer["events"], answer["missed"]) == ([], None), "nobody counted what came between"


def test_a_slow_reader_is_told_how_many_it_missed() -> None:
    daemon = Daemon()
    asker = daemon.connect()
    cursor = told(asker)["next"]
    for _ in range(EVENTS_KEPT // 1000 + 1):
        asker.ask("submit_batch", [{"func": "f", "name": str(number), "existing": "keep"} for number in range(1000)])
        for number in range(1000):
            asker.send("remove", "f", str(number))
        daemon.step()
        asker.answers.clear()
    answer = told(asker, after=cursor, limit=10)
    assert (len(answer["events"]), answer["missed"]) == (10, 2 * 11_000 - EVENTS_KEPT)
    more = told(asker, after=answer["next"], limit=1000)
    assert (len(more["events"]), more["missed"]) == (1000, 0)


def test_a_cursor_of_another_life_says_so() -> None:
    daemon = Daemon()
    cursor = told(daemon.connect())["next"]
    daemon.start()
    asker = daemon.connect()
    asker.submit("a")
    answer = told(asker, after=cursor)
    assert answer["missed"] is None
    with pytest.raises(Invalid, match="is not the `next` of events"):
        told(asker, after="x")


def test_only_so_many_wait_for_events() -> None:
    daemon = Daemon()
    asker = daemon.connect()
    for _ in range(ASKING_MAX):
        asker.send("events")
    with pytest.raises(Busy, match="100 wait for events already"):
        asker.ask("events")
    daemon.later(MINUTE_MS)
    assert len(asker.answers) == ASKING_MAX


def test_workers_are_told_with_what_they_take_and_run() -> None:
    daemon = Daemon()
    first = worker(daemon, "f", limit=2, client="resizer 2", credit=5)
    second = worker(daemon, "g")
    asker = daemon.connect()
    asker.submit("a")
    first.take()
    daemon.later(1_500)
    (told_first, told_second) = asker.ask("workers")["workers"]
    assert told_first == {
        "connection": first.number, "client": "resizer 2", "connected_at_ms": START.wall_ms, "silent_ms": 1_500,
        "silence_ms": 60_000, "credit": 5, "running": 1, "function_count": 1,
        "functions": [{"func": "f", "limit": 2, "running": 1}],
        "runs": [{"func": "f", "name": "a", "id": 1, "run": 2, "started_at_ms": START.wall_ms}],
    }  # fmt: skip
    assert (told_second["client"], told_second["connection"]) == ("", second.number)
    page = asker.ask("workers", {"limit": 1})
    assert asker.ask("workers", {"limit": 1, "after": page["next"]}) == {"workers": [told_second], "next": None}
    assert asker.ask("workers", {"func": "g"})["workers"] == [told_second]
    assert asker.ask("workers", {"func": "h"}) == {"workers": [], "next": None}


def test_locks_are_told_as_they_are_taken_and_freed() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.ask("events", {"timeout_ms": 0})
    for name in "ab":
        client.submit(name, locks={"k": 1})
    runner.take().respond()
    client.ask("remove", "f", "b")
    assert runner.take().name == "b"
    assert runner.notices
    told = client.ask("events", {"timeout_ms": 0, "kinds": ["lock_taken", "lock_freed"]})["events"]
    assert [(event["kind"], event["name"], event["text"]) for event in told] == [
        ("lock_taken", "a", "k"), ("lock_freed", "a", "k"), ("lock_taken", "b", "k"), ("lock_freed", "b", "k"),
    ]  # fmt: skip
