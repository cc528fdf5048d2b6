"""Waiting for a job: its end, its result, what its run tells meanwhile."""

from typing import Any

import pytest

from periodic_client.wire import Busy, DuplicateMsgid, Invalid, LeaseLost
from periodic_client.wire.limits import CONNECTION_WAITS_MAX, TAIL_BYTES_MAX, TAIL_CHUNKS_MAX, WAITS_MAX
from periodicd.scheduler.watches import LINGER_MS
from tests.core.script import Daemon, Peer, Run, worker

MINUTE_MS = 60_000


def one_job(daemon: Daemon, **job: Any) -> tuple[Peer, Run]:
    runner = worker(daemon)
    daemon.connect().submit("a", **job)
    return runner, runner.take()


def watched(peer: Peer, **options: Any) -> Any:
    """What there is to tell now."""
    return peer.ask("watch", "f", "a", options)


def test_the_first_look_tells_how_things_stand() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert watched(client)["result"] == "absent"
    client.submit("a")
    told = watched(client)
    assert (told["result"], told["ended"], told["state"], told["attempt"]) == ("found", False, "waiting", 0)
    one = worker(daemon).take()
    told = watched(client)
    assert (told["state"], told["attempt"], told["chunks"], told["missed"]) == ("running", 1, [], 0)
    one.respond()
    assert daemon.gone("f", "a")


def test_who_waits_is_told_the_end_and_the_result() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    assert not client.answers
    worker(daemon).take().respond(b"the result")
    told = client.answer(waits)
    assert (told["ended"], told["ending"], told["data"], told["data_bytes"]) == (True, "done", b"the result", 10)


def test_run_and_wait_is_one_write() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    client = daemon.connect()
    submitted = client.send("submit", {"func": "f", "name": "a", "result_ms": MINUTE_MS})
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    assert client.answer(submitted)["result"] == "created"
    runner.take().respond({"outcome": "done", "data": b"x"})
    assert client.answer(waits)["data"] == b"x"


@pytest.mark.parametrize(
    ("how", "ending"),
    [
        ("final", "dead"),
        ("remove", "removed"),
        ("cancel", "cancelled"),
        ("replace", "replaced"),
    ],
)
def test_every_ending_has_its_word(how: str, ending: str) -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=0 if how == "final" else MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    if how == "final":
        worker(daemon).take().respond({"outcome": "failed", "reason": "no picture", "final": True})
    elif how == "replace":
        client.submit("a")
    else:
        client.ask(how, "f", "a")
    told = client.answer(waits)
    assert (told["ended"], told["ending"], told["id"]) == (True, ending, 1)
    assert told["reason"] == ("no picture" if how == "final" else None)


def test_a_failure_that_is_tried_again_is_news_and_no_end() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, retry={"limit": 1, "backoff": "fixed", "delay_ms": 100})
    told = watched(client)
    waits = client.send("watch", "f", "a", {"after": told["next"]})
    end = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    run.fail("broken")
    told = client.answer(waits)
    assert (told["ended"], told["state"], told["reason"]) == (False, "waiting", "broken")
    assert end not in client.answers
    daemon.later(100)
    runner.take().fail("broken again")
    assert client.answer(end)["ending"] == "dead"


def test_a_waiter_on_a_job_that_waits_behind_another_follows_it() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon)
    assert client.submit("a") == "queued_behind"
    behind = daemon_id(client)
    waits = client.send("watch", "f", "a", {"id": behind, "only_end": True})
    daemon.step()
    run.respond(b"first")
    assert not client.answers
    runner.take().respond(b"second")
    assert client.answer(waits)["data"] == b"second"


def daemon_id(client: Peer) -> int:
    """Of the job that waits behind the one of this name."""
    (job,) = [job for job in client.ask("list")["jobs"] if job["state"] == "behind"]
    return int(job["id"])


def test_a_waiter_is_told_that_what_was_behind_was_replaced() -> None:
    daemon = Daemon()
    client = daemon.connect()
    _, run = one_job(daemon)
    client.submit("a")
    waits = client.send("watch", "f", "a", {"id": daemon_id(client), "only_end": True})
    daemon.step()
    client.submit("a")
    assert client.answer(waits)["ending"] == "replaced"
    run.respond()
    daemon.allow("run")


def test_a_run_that_fails_before_a_newer_job_was_replaced() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, result_ms=MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True})
    client.submit("a")
    run.fail("broken")
    told = client.answer(waits)
    assert (told["ending"], told["reason"]) == ("replaced", "broken")
    assert client.ask("get", "f", "a")["last"]["ending"] == "replaced"
    assert runner.take().name == "a"


def test_what_a_run_tells_comes_in_order_and_once() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon)
    assert runner.ask("data", run.handle, b"one") == {}
    told = watched(client)
    assert told["chunks"] == [b"one"]
    waits = client.send("watch", "f", "a", {"after": told["next"]})
    daemon.step()
    runner.ask("data", run.handle, "two")
    told = client.answer(waits)
    assert told["chunks"] == [b"two"]
    runner.ask("data", run.handle, b"three")
    runner.ask("progress", run.handle, {"done": 3, "total": 9, "note": "cutting"})
    run.respond()
    told = watched(client, after=told["next"])
    assert (told["ended"], told["chunks"], told["missed"]) == (True, [b"three"], 0)
    assert told["progress"] == {"done": 3, "total": 9, "note": "cutting"}
    assert watched(client, after=told["next"])["chunks"] == []


def test_who_reads_slowly_is_told_how_much_was_missed() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon)
    runner.ask("data", run.handle, b"first")
    told = watched(client)
    for _ in range(TAIL_CHUNKS_MAX + 7):
        runner.send("data", run.handle, b"x")
    daemon.step()
    told = watched(client, after=told["next"])
    assert (len(told["chunks"]), told["missed"]) == (TAIL_CHUNKS_MAX, 7)
    for size in (TAIL_BYTES_MAX, 1):
        runner.send("data", run.handle, bytes(size))
    daemon.step()
    told = watched(client, after=told["next"])
    assert (told["chunks"], told["missed"]) == ([b"\0"], 1)
    daemon.allow("answer")


def test_a_new_run_begins_its_tail_anew() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, retry={"backoff": "fixed", "delay_ms": 0})
    runner.ask("data", run.handle, b"of the first run")
    run.fail()
    run = runner.take()
    runner.ask("data", run.handle, b"of the second")
    told = watched(client)
    assert (told["attempt"], told["chunks"], told["missed"]) == (2, [b"of the second"], 1)


def test_data_is_for_the_run_that_counts() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    run.respond()
    for method, more in (("data", b"x"), ("progress", {"done": 1})):
        with pytest.raises(LeaseLost):
            runner.ask(method, run.handle, more)
    with pytest.raises(Invalid, match="data has 65,537 bytes, and may have 65,536"):
        runner.ask("data", run.handle, bytes(TAIL_BYTES_MAX + 1))


def test_when_its_time_is_over_a_watch_says_how_things_stand() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True, "timeout_ms": 2_000})
    daemon.step()
    daemon.later(1_999)
    assert not client.answers
    daemon.later(1)
    told = client.answer(waits)
    assert (told["ended"], told["state"]) == (False, "waiting")
    assert watched(client, only_end=True, timeout_ms=0)["ended"] is False


def test_unwait_ends_a_wait_as_if_its_time_were_over() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    assert client.ask("unwait", waits) == {}
    assert client.answer(waits)["ended"] is False
    assert client.ask("unwait", waits) == {}


def test_a_number_that_waits_is_not_used_again() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    client._msgid = waits - 1
    with pytest.raises(DuplicateMsgid):
        client.send("ping")


def test_waits_have_a_limit_and_are_not_in_the_way() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    waits = [client.send("watch", "f", "a", {"only_end": True}) for _ in range(CONNECTION_WAITS_MAX + 1)]
    daemon.step()
    with pytest.raises(Busy, match="1,000 requests of a connection may wait"):
        client.answer(waits[-1])
    assert not client.me.unanswered
    client.ask("remove", "f", "a")
    assert len(client.answers) == CONNECTION_WAITS_MAX


def test_all_connections_together_have_a_limit_of_waits_too() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    crowd = [daemon.connect() for _ in range(WAITS_MAX // CONNECTION_WAITS_MAX)]
    for peer in crowd:
        for _ in range(CONNECTION_WAITS_MAX):
            peer.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    with pytest.raises(Busy, match="20,000 of all"):
        client.ask("watch", "f", "a", {"only_end": True})
    crowd.pop().close()
    waits = client.send("watch", "f", "a", {"only_end": True})
    client.ask("remove", "f", "a")
    assert client.answer(waits)["ending"] == "removed"
    assert all(len(peer.answers) == CONNECTION_WAITS_MAX for peer in crowd)


def test_a_waiter_on_a_dead_job_that_is_requeued_was_told_its_death() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, retry={"limit": 0})
    run.fail("broken")
    told = watched(client)
    assert (told["ended"], told["ending"], told["reason"]) == (True, "dead", "broken")
    requeued = client.ask("requeue", "f", "a")
    again = client.send("watch", "f", "a", {"id": requeued["id"], "only_end": True})
    daemon.step()
    runner.take().respond(b"x")
    assert client.answer(again)["ending"] == "done"
    assert watched(client, id=1)["ending"] == "dead"


def test_a_watcher_that_leaves_changes_nothing() -> None:
    daemon = Daemon()
    client, other = daemon.connect(), daemon.connect()
    _, run = one_job(daemon)
    for peer in (client, other):
        peer.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    client.close()
    run.respond(b"x")
    assert [told.result["data"] for told in other.answers.values()] == [b"x"]
    assert not len(daemon.engine.scheduler.waits)


def test_a_peer_that_sends_no_more_is_answered_at_once() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=MINUTE_MS)
    waits = client.send("watch", "f", "a", {"only_end": True})
    client.end()
    assert client.answer(waits)["ended"] is False


def test_the_end_is_there_for_a_moment_without_being_kept() -> None:
    daemon = Daemon()
    client = daemon.connect()
    _, run = one_job(daemon)
    told = watched(client)
    run.respond(b"x")
    daemon.allow("closing")
    daemon.later(LINGER_MS - 1)
    assert watched(client, after=told["next"])["data"] == b"x"
    daemon.later(LINGER_MS)
    assert watched(client, after=told["next"])["result"] == "absent"


def test_a_result_is_kept_for_as_long_as_its_submit_says() -> None:
    daemon = Daemon()
    client = daemon.connect()
    _, run = one_job(daemon, result_ms=10 * MINUTE_MS)
    run.respond(b"x" * 100_000)
    daemon.start()
    client = daemon.connect()
    told = watched(client)
    assert (told["ended"], told["ending"], told["data"]) == (True, "done", b"x" * 100_000)
    last = client.ask("get", "f", "a", {"data": True})["last"]
    assert (last["ending"], last["data"], last["data_bytes"]) == ("done", b"x" * 100_000, 100_000)
    assert client.ask("get", "f", "a")["last"]["data"] is None
    daemon.later(11 * MINUTE_MS)
    assert watched(client)["result"] == "absent"
    assert client.ask("get", "f", "a") == {"result": "absent", "job": None, "worker": None, "last": None, "group": None}


def test_a_kept_result_hinders_no_new_submit_but_one_that_keeps() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, result_ms=10 * MINUTE_MS)
    run.respond(b"x")
    again = client.ask("submit", {"func": "f", "name": "a", "existing": "keep", "result_ms": 10 * MINUTE_MS})
    assert again == {"result": "kept", "id": 1}
    assert client.submit("a", existing="keep_live") == "created"
    runner.take().respond(b"y")
    last = client.ask("get", "f", "a", {"data": True})["last"]
    assert (last["id"], last["data"]) == (1, b"x"), "the second asked for nothing to be kept"


def test_results_past_their_budget_are_forgotten_and_said_to_be() -> None:
    daemon = Daemon(results_bytes=10_000_000)
    client = daemon.connect()
    runner = worker(daemon)
    for name in "abc":
        client.submit(name, result_ms=MINUTE_MS)
        runner.take().respond(bytes(9_000_000))
    told = client.ask("watch", "f", "c")
    assert (told["ended"], told["data_bytes"], len(told["data"])) == (True, 9_000_000, 9_000_000)
    assert client.ask("get", "f", "a")["last"] is None


def test_a_large_result_for_a_watcher_that_does_not_read_waits_until_it_does() -> None:
    daemon = Daemon()
    client = daemon.connect()
    _, run = one_job(daemon, result_ms=MINUTE_MS)
    waits = [client.send("watch", "f", "a", {"only_end": True}) for _ in range(10)]
    daemon.step()
    client.reads = False
    run.respond(bytes(900_000))
    assert len(client.answers) == 2, "each takes almost all that a connection may be sent ahead"
    client.reads = True
    for _ in range(10):
        client.read()
        daemon.step()
    assert [len(client.answer(waiting)["data"]) for waiting in waits] == [900_000] * 10


def test_a_dead_job_that_turns_out_to_have_been_done_was_done() -> None:
    daemon = Daemon()
    client = daemon.connect()
    runner, run = one_job(daemon, lease_ms=1_000, retry={"limit": 0})
    waits = client.send("watch", "f", "a", {"only_end": True})
    daemon.step()
    daemon.later(1_000)
    assert client.answer(waits)["ending"] == "dead"
    runner.ask("finish", run.handle, b"late")
    told = watched(client)
    assert (told["ending"], told["data"]) == ("done", b"late")


def test_a_cursor_of_a_former_life_tells_that_something_may_be_missing() -> None:
    daemon = Daemon()
    runner, run = one_job(daemon)
    runner.ask("data", run.handle, b"x")
    told = watched(daemon.connect())
    daemon.start()
    client = daemon.connect()
    told = watched(client, after=told["next"])
    assert (told["state"], told["chunks"], told["missed"]) == ("running", [], None)


def test_results_that_are_remembered_for_watchers_are_bounded_too() -> None:
    daemon = Daemon(tails_bytes=200_000)
    runner = worker(daemon)
    client = daemon.connect()
    for name in "abcdefgh":
        client.submit(name)
        waits = client.send("watch", "f", name, {"only_end": True})
        daemon.step()
        runner.take().respond(bytes(60_000))
        assert len(client.answer(waits)["data"]) == 60_000
    watches = daemon.engine.scheduler.watches
    assert watches.held_bytes == 180_000
    assert client.ask("watch", "f", "a")["result"] == "absent", "the oldest is forgotten"
    assert client.ask("watch", "f", "h")["data_bytes"] == 60_000
    client.submit("i")
    runner.ask("data", runner.take().handle, bytes(60_000))
    assert watches.held_bytes == 180_000
    assert client.ask("watch", "f", "i")["chunks"] == [bytes(60_000)]


def test_who_leaves_in_the_step_of_its_watch_waits_for_nothing() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    client.send("watch", "f", "a", {"only_end": True})
    client.detach()
    daemon.step()
    assert len(daemon.engine.scheduler.waits) == 0


def test_an_unwait_in_the_same_write_ends_the_watch() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    waits = client.send("watch", "f", "a", {"only_end": True})
    unwait = client.send("unwait", waits)
    daemon.step()
    assert client.answer(unwait) == {}
    assert client.answer(waits)["state"] == "waiting"


def test_thousands_of_tails_are_bounded() -> None:
    daemon = Daemon()
    runner = worker(daemon, limit=1000)
    client = daemon.connect()
    client.ask("submit_batch", [{"func": "f", "name": str(number)} for number in range(1000)])
    for run in list(runner.runs):
        for _ in range(2):
            runner.send("data", run.handle, bytes(TAIL_BYTES_MAX // 2))
    daemon.step()
    watches = daemon.engine.scheduler.watches
    assert watches.held_bytes <= 64 * 1024 * 1024
    assert watches.held_bytes == sum(held for held, _ in watches.snapshot().values())
    daemon.allow("answer")
