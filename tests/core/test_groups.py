"""Groups: one job waits until others have ended, however they do, and is told how."""

from typing import Any

import pytest

from periodic_client.wire import Full, Invalid
from periodic_client.wire.limits import LEASE_MS
from tests.core.script import Daemon, Peer, Run, worker

LEASE = LEASE_MS[0]
NONE = {"done": 0, "dead": 0, "removed": 0, "cancelled": 0, "expired": 0}


def grouped(daemon: Daemon, names: str, then: str = "then", **group: Any) -> dict[str, Any]:
    jobs = [{"func": "f", "name": name} for name in names]
    answer = daemon.connect().ask("submit_group", {"then": {"func": "g", "name": then}, "jobs": jobs, **group})
    return dict(answer)


def figures(daemon: Daemon, then: str = "then") -> dict[str, Any] | None:
    found: dict[str, Any] | None = daemon.connect().ask("get", "g", then)["group"]
    return found


def told(run: Run) -> dict[str, int]:
    """What the group's job says of its members."""
    headers = run.job["headers"]
    return {name.removeprefix("group-"): int(headers[name]) for name in headers if name.startswith("group-")}


def take_all(runner: Peer) -> dict[str, Run]:
    return {run.name: run for run in [runner.take() for _ in list(runner.runs)]}


def test_the_job_of_a_group_runs_when_all_have_ended() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    assert grouped(daemon, "abc") == {"result": "created", "id": 1, "results": ["created"] * 3, "ids": [2, 3, 4]}
    runs = take_all(runner)
    runs["a"].respond()
    runs["b"].peer.ask("finish", runs["b"].handle, {"outcome": "failed", "final": True})
    assert listener.names() == []
    assert figures(daemon) == NONE | {"sealed": True, "members": 3, "open": 1, "done": 1, "dead": 1}
    daemon.connect().ask("cancel", "f", "c")
    assert runner.notices == [(runs["c"].handle, "cancel")]
    runs["c"].fail()
    assert told(listener.take()) == NONE | {"members": 3, "done": 1, "dead": 1, "cancelled": 1}
    assert figures(daemon) is None


def test_a_failure_that_is_tried_again_is_no_end() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "a")
    runner.take().fail()
    assert listener.names() == []
    daemon.later(5_000)
    runner.take().respond()
    assert told(listener.take()) == NONE | {"members": 1, "done": 1}


def test_what_was_removed_or_replaced_has_ended() -> None:
    daemon = Daemon()
    listener, client = worker(daemon, "g"), daemon.connect()
    grouped(daemon, "ab")
    client.ask("remove", "f", "a")
    assert client.submit("b") == "replaced"
    assert told(listener.take()) == NONE | {"members": 2, "removed": 2}


def test_a_run_whose_job_gave_way_to_a_newer_one_has_ended() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "a")
    run = runner.take()
    assert daemon.connect().submit("a") == "queued_behind"
    run.fail()
    assert told(listener.take()) == NONE | {"members": 1, "removed": 1}
    runner.take().respond()


def test_a_group_survives_the_daemon() -> None:
    daemon = Daemon()
    grouped(daemon, "a")
    daemon.start()
    listener = worker(daemon, "g")
    assert listener.names() == []
    worker(daemon).take().respond()
    listener.take()


def test_a_group_that_finished_while_nobody_had_its_function_waits() -> None:
    daemon = Daemon()
    grouped(daemon, "a")
    worker(daemon).take().respond()
    assert daemon.job("g", "then")["state"] == "waiting"
    worker(daemon, "g").take()


def test_a_group_without_jobs_has_finished() -> None:
    daemon = Daemon()
    listener = worker(daemon, "g")
    grouped(daemon, "")
    assert told(listener.take()) == NONE | {"members": 0}


def test_a_group_sent_again_while_it_is_open_puts_nothing_twice() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    grouped(daemon, "ab")
    assert grouped(daemon, "ab") == {"result": "kept", "id": 1, "results": [], "ids": []}
    assert runner.names() == ["a", "b"]


def test_jobs_are_added_until_it_is_sealed() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "a", sealed=False)
    runner.take().respond()
    assert listener.names() == []
    (gate,) = daemon.connect().ask("explain", "g", "then")["gates"]
    assert gate["text"] == "of the 1 jobs of its group 0 have not ended; more can be added, since it is not sealed"
    assert grouped(daemon, "b", sealed=False)["result"] == "added"
    assert grouped(daemon, "")["result"] == "added"
    assert grouped(daemon, "c")["result"] == "kept"
    runner.take().respond()
    assert told(listener.take()) == NONE | {"members": 2, "done": 2}


def test_who_is_kept_is_no_member() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", delay_ms=60_000)
    jobs = [{"func": "f", "name": "a", "existing": "keep"}]
    answer = client.ask("submit_group", {"then": {"func": "g", "name": "then"}, "jobs": jobs})
    assert (answer["results"], answer["ids"]) == (["kept"], [1])
    assert told(worker(daemon, "g").take()) == NONE | {"members": 0}


def test_members_that_have_the_name_of_the_group_s_job_are_refused() -> None:
    daemon = Daemon()
    then = {"func": "g", "name": "then"}
    with pytest.raises(Invalid, match=r"^group.jobs\[1\] has the name of the group's own job, `then`"):
        daemon.connect().ask("submit_group", {"then": then, "jobs": [{"func": "f", "name": "a"}, then]})


def test_a_group_is_full_as_a_whole() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"queue_max": 1})
    with pytest.raises(Full, match="would have more jobs than its queue_max allows"):
        grouped(daemon, "ab")
    assert daemon.gone("f", "a")
    assert daemon.gone("g", "then")
    assert grouped(daemon, "a")["result"] == "created"


def test_a_group_behind_a_run_of_its_job_s_name() -> None:
    daemon = Daemon()
    listener = worker(daemon, "g")
    daemon.connect().submit("then", func="g")
    run = listener.take()
    assert grouped(daemon, "a")["result"] == "queued_behind"
    run.respond()
    assert listener.names() == []
    worker(daemon).take().respond()
    listener.take()


def test_who_takes_the_group_s_job_away_leaves_its_members() -> None:
    daemon = Daemon()
    client, runner, listener = daemon.connect(), worker(daemon), worker(daemon, "g")
    for how in ("cancel", "remove"):
        grouped(daemon, "a")
        client.ask(how, "g", "then")
        runner.take().respond()
    grouped(daemon, "a")
    assert client.submit("then", func="g") == "replaced"
    assert told(listener.take()) == {}
    runner.take().respond()


# -- follow-ons --------------------------------------------------------------------------------------------------------


def test_follow_ons_join_the_group_of_their_forerunner_if_they_say_so() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "a")
    submit = [{"func": "f", "name": "b", "join_group": True}, {"func": "f", "name": "c", "delay_ms": 60_000}]
    runner.take().respond({"outcome": "done", "submit": submit})
    assert daemon.job("f", "b")["group_id"] == 1
    assert daemon.job("f", "c")["group_id"] is None
    assert listener.names() == []
    runner.take().respond()
    assert told(listener.take()) == NONE | {"members": 2, "done": 2}


def test_follow_ons_of_a_dead_member_join_nothing() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "ab")
    runs = take_all(runner)
    daemon.connect().ask("end_run", "f", "a", {"reason": "stuck"})
    daemon.connect().ask("remove", "f", "b")
    assert listener.names() == []
    daemon.allow("notice")
    daemon.connect().ask("remove", "f", "a")
    assert told(listener.take()) == NONE | {"members": 2, "removed": 2}
    runs["a"].respond({"outcome": "done", "submit": [{"func": "f", "name": "z", "join_group": True}]})
    assert daemon.gone("f", "z")


def test_the_late_report_of_a_run_that_was_lost_counts_once() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    jobs = [{"func": "f", "name": "a", "lease_ms": LEASE, "retry": {"limit": 0}}]
    daemon.connect().ask("submit_group", {"then": {"func": "g", "name": "then"}, "jobs": jobs})
    run = runner.take()
    daemon.later(LEASE)
    assert told(listener.take()) == NONE | {"members": 1, "dead": 1}
    run.respond()
    assert daemon.gone("f", "a")
    assert listener.names() == []


def test_only_a_follow_on_can_join() -> None:
    daemon = Daemon()
    with pytest.raises(Invalid, match=r"^job\.join_group is for follow-on jobs"):
        daemon.connect().submit("a", join_group=True)


def test_the_follow_ons_of_a_run_can_be_a_group() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    daemon.connect().submit("a")
    submit = [{"func": "f", "name": name} for name in "bc"]
    runner.take().respond({"outcome": "done", "submit": submit, "then": {"func": "g", "name": "a"}})
    assert daemon.job("g", "a")["state"] == "parked"
    for run in take_all(runner).values():
        assert listener.names() == []
        run.respond()
    assert told(listener.take()) == NONE | {"members": 2, "done": 2}


def test_a_group_of_follow_ons_of_which_one_of_the_name_is_open_is_that_one() -> None:
    """The same picture once more: those that are replaced have ended, and the last of them is not the group's end."""
    daemon = Daemon()
    runner, listener = worker(daemon, limit=1), worker(daemon, "g")
    done = {"outcome": "done", "submit": [{"func": "h", "name": "b"}], "then": {"func": "g", "name": "a"}}
    for _ in range(2):
        daemon.connect().submit("a")
        runner.take().respond(done)
        assert listener.names() == []
    worker(daemon, "h").take().respond()
    assert told(listener.take()) == NONE | {"members": 2, "removed": 1, "done": 1}


def test_a_group_in_a_group() -> None:
    daemon = Daemon()
    runner, listener = worker(daemon), worker(daemon, "g")
    grouped(daemon, "a")
    inner = {"func": "g", "name": "inner", "join_group": True}
    runner.take().respond({"outcome": "done", "submit": [{"func": "f", "name": "b"}], "then": inner})
    runner.take().respond()
    assert listener.names() == ["inner"]
    listener.take().respond()
    assert told(listener.take()) == NONE | {"members": 2, "done": 2}


def test_then_that_is_not_put_leaves_the_follow_ons_without_a_group() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.submit("there", func="g", delay_ms=60_000)
    client.submit("a")
    then = {"func": "g", "name": "there", "existing": "keep"}
    runner.take().respond({"outcome": "done", "submit": [{"func": "f", "name": "b"}], "then": then})
    assert runner.take().name == "b"
    assert daemon.job("g", "there")["state"] == "waiting"


# -- looking -----------------------------------------------------------------------------------------------------------


def test_a_group_is_explained_listed_and_watched_by_its_job() -> None:
    daemon = Daemon()
    worker(daemon, "g")
    runner, client = worker(daemon), daemon.connect()
    answer = grouped(daemon, "ab")
    (gate,) = client.ask("explain", "g", "then")["gates"]
    assert (gate["code"], gate["text"]) == ("group", "of the 2 jobs of its group 2 have not ended")
    client.submit("other")
    listed = client.ask("list", {"group_id": answer["id"]})["jobs"]
    assert [job["name"] for job in listed] == ["a", "b"]
    assert client.ask("watch", "g", "then", {"timeout_ms": 0})["state"] == "parked"
    assert client.ask("cancel_matching", {"group_id": answer["id"]})["count"] == 2
    daemon.allow("notice", "run")
    assert [run.name for run in runner.runs] == ["a", "b", "other"]


def test_a_group_s_job_waits_for_its_date_too() -> None:
    daemon = Daemon()
    runner, listener, client = worker(daemon), worker(daemon, "g"), daemon.connect()
    then = {"func": "g", "name": "then", "delay_ms": 60_000}
    client.ask("submit_group", {"then": then, "jobs": [{"func": "f", "name": "a"}]})
    runner.take().respond()
    assert listener.names() == []
    assert client.ask("move", "g", "then", {"delay_ms": 0})["result"] == "moved"
    listener.take()


def test_a_group_s_job_that_is_moved_still_waits_for_its_members() -> None:
    daemon = Daemon()
    listener = worker(daemon, "g")
    grouped(daemon, "a")
    assert daemon.connect().ask("move", "g", "then", {"priority": -1})["result"] == "moved"
    assert listener.names() == []
    assert daemon.job("g", "then")["state"] == "parked"


def test_a_group_s_job_that_wants_locks_stands_in_line_when_it_is_free() -> None:
    daemon = Daemon()
    runner, listener, client = worker(daemon), worker(daemon, "g"), daemon.connect()
    client.submit("holder", locks={"k": 1})
    holder = runner.take()
    then = {"func": "g", "name": "then", "locks": {"k": 1}}
    client.ask("submit_group", {"then": then, "jobs": [{"func": "f", "name": "a"}]})
    runner.take().respond()
    assert daemon.job("g", "then")["state"] == "parked"
    (gate,) = client.ask("explain", "g", "then")["gates"]
    assert gate["code"] == "lock_held"
    holder.respond()
    listener.take()


def test_a_group_s_job_that_goes_free_and_is_moved_in_one_step_runs_once() -> None:
    daemon = Daemon()
    runner, listener, client = worker(daemon), worker(daemon, "g"), daemon.connect()
    grouped(daemon, "a")
    run = runner.take()
    finished = runner.send("finish", run.handle, None)
    moved = client.send("move", "g", "then", {"priority": 1})
    daemon.step()
    assert (runner.answer(finished), client.answer(moved)) == ({}, {"result": "moved"})
    assert listener.names() == ["then"]
