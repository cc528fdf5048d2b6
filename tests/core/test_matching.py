"""Requests on many jobs: whom they find, what is looked at again, where they end."""

from typing import Any

import pytest

from periodic_client.wire import Busy, Invalid
from periodicd.engine import Listed
from periodicd.scheduler.listings import LISTINGS_MAX
from periodicd.scheduler.matching import WAITING_MAX
from tests.core.script import Daemon, Peer, worker

DEAD_AT_ONCE = {"retry": {"limit": 0}}
HOUR_MS = 3_600_000


def names(daemon: Daemon, **query: Any) -> list[str]:
    return [job["name"] for job in daemon.connect().ask("list", query)["jobs"]]


def matching(client: Peer, word: str, query: dict[str, Any], **options: Any) -> list[int]:
    """The counts of all requests, until there is nothing more."""
    counts: list[int] = []
    after: str | None = None
    while True:
        answer = client.ask(f"{word}_matching", query, {"after": after, **options})
        counts.append(answer["count"])
        after = answer["next"]
        if after is None:
            return counts


def die(daemon: Daemon, *names: str, reason: str = "failed", func: str = "f") -> None:
    """Jobs of these names are submitted, fail, and are dead."""
    client, mortal = daemon.connect(), worker(daemon, func, limit=100)
    for name in names:
        client.submit(name, func, **DEAD_AT_ONCE)
        mortal.take().fail(reason)
    mortal.ask("unsubscribe_all")
    mortal.close()


def test_a_list_is_of_what_all_of_the_query_applies_to() -> None:
    daemon = Daemon()
    client = daemon.connect()
    die(daemon, "a1", reason="disk full")
    die(daemon, "a2", reason="timed out")
    for name in ("a3", "b"):
        client.submit(name, delay_ms=HOUR_MS)
    client.submit("a4", "g", delay_ms=2 * HOUR_MS)
    in_an_hour = daemon.now.wall_ms + HOUR_MS
    assert names(daemon, prefix="a") == ["a1", "a2", "a3", "a4"]
    assert names(daemon, prefix="a", func="f", state="waiting") == ["a3"]
    assert names(daemon, reason="disk") == ["a1"]
    assert names(daemon, due_from_at_ms=in_an_hour) == ["a3", "b", "a4"]
    assert names(daemon, due_from_at_ms=in_an_hour, due_before_at_ms=in_an_hour + 1) == ["a3", "b"]


def test_with_function_and_prefix_a_list_is_by_name() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for name in ("ac", "b", "aa", "ab"):
        client.submit(name)
    first = client.ask("list", {"func": "f", "prefix": "a", "limit": 2})
    assert [job["name"] for job in first["jobs"]] == ["aa", "ab"]
    client.submit("aa0")
    assert names(daemon, func="f", prefix="a", after=first["next"]) == ["ac"]


def test_what_matches_is_removed_a_hundred_at_a_time() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": f"x{number}"} for number in range(230)])
    client.submit("y")
    assert matching(client, "remove", {"prefix": "x"}, dry_run=True) == [230]
    assert matching(client, "remove", {"prefix": "x"}) == [100, 100, 30]
    assert matching(client, "remove", {"prefix": "x"}) == [0]
    assert names(daemon) == ["y"]


def test_all_must_be_said() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    for query in ({}, {"func": None}, {"all": False}):
        with pytest.raises(Invalid, match="names no jobs; say which, or all: true"):
            client.ask("remove_matching", query)
    assert matching(client, "remove", {"all": True}) == [1]


def test_what_is_submitted_after_the_first_request_is_not_met() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": f"x{number:03}"} for number in range(101)])
    first = client.ask("remove_matching", {"func": "f", "prefix": "x"})
    client.submit("x999")
    rest = client.ask("remove_matching", {"func": "f", "prefix": "x"}, {"after": first["next"]})
    assert (first["count"], rest) == (100, {"count": 1, "next": None})
    assert names(daemon) == ["x999"]


def test_dead_jobs_are_requeued_once_though_they_die_again() -> None:
    daemon = Daemon(dead_kept=1_000)
    die(daemon, *(f"x{number:03}" for number in range(150)))
    client, mortal = daemon.connect(), worker(daemon, limit=1_000)
    first = client.ask("requeue_matching", {"func": "f"})
    while mortal.names():
        mortal.take().fail()
    rest = client.ask("requeue_matching", {"func": "f"}, {"after": first["next"]})
    while mortal.names():
        mortal.take().fail()
    assert (first["count"], rest) == (100, {"count": 50, "next": None})
    assert len(names(daemon, state="dead", limit=1_000)) == 150


def test_only_the_dead_that_match_are_requeued() -> None:
    daemon = Daemon()
    die(daemon, "a", reason="disk full")
    die(daemon, "b")
    client = daemon.connect()
    client.submit("c", delay_ms=HOUR_MS)
    assert matching(client, "requeue", {"reason": "disk"}) == [1]
    assert names(daemon, state="dead") == ["b"]
    assert matching(client, "requeue", {"all": True}) == [1]
    assert (daemon.job("f", "b")["failures"], daemon.job("f", "c")["state"]) == (0, "waiting")
    with pytest.raises(Invalid, match=r"query\.state is dead or left out, not behind"):
        client.ask("requeue_matching", {"state": "behind"})


def test_many_are_cancelled_and_those_that_run_are_asked_to_end() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner = worker(daemon, limit=1)
    for name in ("a1", "a2", "b"):
        client.submit(name)
    run = runner.take()
    assert matching(client, "cancel", {"prefix": "a"}, dry_run=True) == [2]
    assert matching(client, "cancel", {"prefix": "a"}, reason="not wanted") == [2]
    assert runner.notices == [(run.handle, "cancel")]
    assert daemon.job("f", "a1")["cancelled"] == "not wanted"
    run.fail()
    assert daemon.gone("f", "a1")
    assert daemon.gone("f", "a2")
    assert runner.take().name == "b"


def test_many_are_moved_once_each() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": f"{number:03}", "delay_ms": HOUR_MS} for number in range(150)])
    assert sum(matching(client, "move", {"func": "f"}, delay_ms=5, priority=-1)) == 150
    daemon.later(5)
    runner = worker(daemon, limit=200)
    assert len(runner.runs) == 150
    assert {run.job["priority"] for run in runner.runs} == {-1}
    assert sum(matching(client, "move", {"func": "f"}, delay_ms=5)) == 0, "they run"


def test_a_job_that_began_to_run_since_it_was_found_waits_no_more() -> None:
    """Its claim is not even written."""
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    client.submit("b", delay_ms=HOUR_MS)
    asked = client.send("remove_matching", {"state": "waiting"})
    ((peer, msgid, listing),) = daemon.said().listings
    runner = worker(daemon)
    run = runner.take()
    daemon.engine.tell(peer, Listed(msgid, daemon.store.list_jobs(listing)))
    daemon.step()
    assert client.answer(asked) == {"count": 1, "next": None}
    run.respond()
    assert daemon.gone("f", "a"), "its report counted"
    assert daemon.gone("f", "b")


def test_a_job_that_was_replaced_since_it_was_found_is_another() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    asked = client.send("remove_matching", {"func": "f"})
    ((peer, msgid, listing),) = daemon.said().listings
    page = daemon.store.list_jobs(listing)
    client.submit("a")
    daemon.engine.tell(peer, Listed(msgid, page))
    daemon.step()
    assert client.answer(asked) == {"count": 0, "next": None}
    assert names(daemon) == ["a"]


def test_a_worker_is_told_that_its_run_no_longer_counts_and_what_waits_behind_it_runs() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    run = runner.take()
    daemon.later(100)
    client.submit("a", workload=b"behind")
    assert matching(client, "remove", {"state": "running"}) == [1]
    assert runner.notices == [(run.handle, "lost")]
    assert runner.take().job["workload"] == b"behind"


def test_what_waits_behind_is_meant_too_where_the_state_is_left_out() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    run = runner.take()
    daemon.later(100)
    client.submit("a")
    assert matching(client, "remove", {"func": "f"}) == [2]
    assert runner.notices == [(run.handle, "lost")]
    assert (daemon.gone("f", "a"), runner.names()) == (True, [])


def test_a_step_changes_what_one_request_has_found() -> None:
    """However many ask at once, so that jobs which are due need not wait for all of them."""
    daemon = Daemon()
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": str(number)} for number in range(300)])
    asked = [client.send("remove_matching", {"func": "f"}) for _ in range(3)]
    listings = daemon.said().listings
    for peer, msgid, listing in listings:
        daemon.engine.tell(peer, Listed(msgid, daemon.store.list_jobs(listing)))
    for number, msgid in enumerate(asked):
        daemon.step()
        assert len(client.answers) == 1
        assert client.answer(msgid)["count"] == (0 if number else 100), "all had found the same"
        assert daemon.engine.wakeup_ms(daemon.now) == 0 or number == 2


def test_a_request_whose_connection_is_gone_is_still_carried_out() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    client.send("remove_matching", {"all": True})
    client.detach()
    daemon.step()
    assert names(daemon) == []


def test_what_was_found_and_waits_for_its_step_has_a_limit() -> None:
    """More is found in a step than is changed in one."""
    daemon = Daemon()
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": str(number)} for number in range(5)])
    asked = []
    for _ in range(10):
        asked += [client.send("remove_matching", {"all": True}) for _ in range(LISTINGS_MAX)]
        for peer, msgid, listing in (said := daemon.said()).listings:
            daemon.engine.tell(peer, Listed(msgid, daemon.store.list_jobs(listing)))
        for me, message in said.messages:
            daemon.peers[me.number].hear(message)
    daemon.later(100)
    answers = [client.answers[msgid] for msgid in asked]
    done = [answer for answer in answers if answer.error is None]
    assert len(done) + sum(str(answer.error).startswith("BUSY retry_after_ms=100: ") for answer in answers) == 80
    assert len(done) <= 10 + WAITING_MAX + LISTINGS_MAX


def test_too_many_at_once_are_told_to_come_again() -> None:
    daemon = Daemon()
    client = daemon.connect()
    asked = [client.send("remove_matching", {"all": True}) for _ in range(LISTINGS_MAX + 1)]
    daemon.step()
    with pytest.raises(Busy) as busy:
        client.answer(asked[-1])
    assert busy.value.details == {"retry_after_ms": "100"}
    daemon.later(10)
    assert [client.answer(msgid) for msgid in asked[:-1]] == [{"count": 0, "next": None}] * LISTINGS_MAX
