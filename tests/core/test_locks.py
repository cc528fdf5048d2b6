"""Locks: who may run beside whom, who is next, and that nothing is held for ever."""

from typing import Any

import pytest

from periodic_client.wire import Invalid
from periodic_client.wire.limits import LEASE_MS, LOCKS_SET_MAX
from periodicd.scheduler.locks import PARKED_A_STEP
from tests.core.script import Daemon, Peer, Run, worker

LEASE = LEASE_MS[0]


def submitted(daemon: Daemon, names: str, lock: str = "k", weight: int = 1, **job: Any) -> Peer:
    client = daemon.connect()
    for name in names:
        client.submit(name, **({"locks": {lock: weight}} | job))
    return client


def states(daemon: Daemon, names: str) -> dict[str, str]:
    return {name: daemon.job("f", name)["state"] for name in names}


def shown(daemon: Daemon, lock: str = "k") -> dict[str, Any]:
    (found,) = [each for each in daemon.connect().ask("locks")["locks"] if each["lock"] == lock]
    return dict(found)


def give_back(runs: list[Run]) -> None:
    for run in runs:
        run.respond()


# -- one lock ----------------------------------------------------------------------------------------------------------


def test_a_lock_of_which_nothing_is_set_is_held_by_one_run() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    submitted(daemon, "abc")
    assert states(daemon, "abc") == {"a": "running", "b": "parked", "c": "parked"}
    for name in "abc":
        run = runner.take()
        assert run.name == name
        assert runner.names() == []
        run.respond()
    assert daemon.connect().ask("locks")["locks"] == []


def test_as_many_run_as_the_capacity_allows() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_lock", "k", {"capacity": 3})
    runner = worker(daemon)
    submitted(daemon, "abcde", weight=1)
    assert runner.names() == ["a", "b", "c"]
    runner.runs.popleft().respond()
    assert runner.names() == ["b", "c", "d"]


def test_parked_jobs_take_no_room() -> None:
    daemon = Daemon()
    runner = worker(daemon, limit=2)
    submitted(daemon, "ab")
    daemon.connect().submit("free")
    assert runner.names() == ["a", "free"]


def test_a_lock_counts_over_functions_and_takes() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    waits = client.send("take", {"funcs": ["g"]})
    daemon.step()
    submitted(daemon, "a")
    submitted(daemon, "b", func="g")
    assert runner.names() == ["a"]
    assert not client.answers
    runner.take().respond()
    (job,) = client.answer(waits)["jobs"]
    submitted(daemon, "c")
    assert runner.names() == []
    client.ask("finish", job["handle"], None)
    assert runner.names() == ["c"]


@pytest.mark.parametrize("how", ["done", "failed", "later", "lease", "lost", "removed", "ended", "goodbye"])
def test_each_end_of_a_run_frees_its_locks(how: str) -> None:
    daemon = Daemon()
    first, second = worker(daemon, limit=1), worker(daemon, "g")
    client = daemon.connect()
    client.submit("a", locks={"k": 1}, lease_ms=LEASE, retry={"limit": 9, "backoff": "fixed", "delay_ms": 60_000})
    client.submit("b", "g", locks={"k": 1})
    run = first.take()
    assert second.names() == []
    match how:
        case "done":
            run.respond()
        case "failed":
            run.fail()
        case "later":
            run.respond({"outcome": "later", "delay_ms": 60_000})
        case "lease":
            daemon.later(LEASE)
        case "lost":
            first.close()
        case "removed":
            client.ask("remove", "f", "a")
            assert first.notices
        case "ended":
            client.ask("end_run", "f", "a")
            assert first.notices
        case "goodbye":
            first.ask("unsubscribe_all")
            first.close()
    assert second.names() == ["b"]


def test_a_lost_connection_holds_its_locks_for_its_grace() -> None:
    daemon = Daemon()
    first, second = worker(daemon, disconnect_grace_ms=5_000), worker(daemon, "g")
    submitted(daemon, "a")
    submitted(daemon, "b", func="g")
    first.take()
    first.close()
    daemon.later(4_999)
    assert second.names() == []
    daemon.later(1)
    assert second.names() == ["b"]


# -- the line ----------------------------------------------------------------------------------------------------------


def test_the_line_goes_by_priority_then_due_time_then_id() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    submitted(daemon, "0")
    submitted(daemon, "c", due_at_ms=daemon.now.wall_ms)
    submitted(daemon, "d")
    submitted(daemon, "a", priority=-1)
    submitted(daemon, "e", priority=1)
    order = []
    while runner.runs:
        order.append(runner.runs[0].name)
        runner.take().respond()
    assert order == ["0", "a", "c", "d", "e"]


def test_nobody_overtakes_who_wants_much() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_lock", "k", {"capacity": 3})
    runner = worker(daemon)
    submitted(daemon, "ab")
    submitted(daemon, "m", weight=3)
    submitted(daemon, "cd")
    assert runner.names() == ["a", "b"], "c would fit, but m is before it"
    give_back([runner.take(), runner.take()])
    assert runner.names() == ["m"]


def test_who_wants_more_than_there_is_blocks_nobody() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), submitted(daemon, "m", weight=2)
    submitted(daemon, "a")
    assert runner.names() == ["a"]
    assert states(daemon, "m") == {"m": "parked"}
    runner.take().respond()
    client.ask("set_lock", "k", {"capacity": 2})
    assert runner.names() == ["m"]


def test_who_has_no_worker_or_is_paused_blocks_nobody() -> None:
    daemon = Daemon()
    client, runner, other = daemon.connect(), worker(daemon), worker(daemon, "g")
    holder = worker(daemon, "h")
    submitted(daemon, "0", func="h")
    submitted(daemon, "a")
    submitted(daemon, "b", func="g")
    runner.ask("unsubscribe", "f")
    client.ask("pause", "g")
    submitted(daemon, "c", func="h")
    holder.take().respond()
    assert holder.take().name == "c", "a and b are before it"
    client.ask("resume", "g")
    runner.ask("subscribe", "f", {"limit": 1})
    assert [runner.names(), other.names()] == [[], []], "c holds it"
    client.ask("remove", "h", "c")
    assert holder.notices
    assert [runner.names(), other.names()] == [["a"], []]


def test_who_has_no_room_keeps_nothing_and_is_next_when_it_has() -> None:
    daemon = Daemon()
    runner, other = worker(daemon, limit=1), worker(daemon, "g")
    submitted(daemon, "0", func="g")
    submitted(daemon, "a")
    daemon.connect().submit("busy")
    busy = runner.take()
    other.take().respond()
    assert (states(daemon, "a"), shown(daemon)["used"]) == ({"a": "parked"}, 0)
    submitted(daemon, "b", func="g")
    other.take().respond()
    assert runner.names() == []
    busy.respond()
    assert runner.names() == ["a"]


def test_a_connection_that_has_credit_again_is_looked_at_for_parked_jobs_too() -> None:
    daemon = Daemon()
    runner, other = worker(daemon, credit=1), worker(daemon, "g")
    runner.ask("subscribe", "h", {"limit": 1})
    submitted(daemon, "0", func="g")
    submitted(daemon, "a")
    daemon.connect().submit("busy", "h")
    busy = runner.take()
    other.take().respond()
    assert runner.names() == []
    busy.respond()
    assert runner.names() == ["a"]


def test_a_job_before_it_in_its_lane_may_take_the_room() -> None:
    daemon = Daemon()
    runner, other = worker(daemon, limit=1), worker(daemon, "g")
    submitted(daemon, "0", func="g")
    submitted(daemon, "a")
    client = daemon.connect()
    client.submit("busy")
    client.submit("urgent", priority=-1)
    holder, busy = other.take(), runner.take()
    client.send("submit", {"func": "g", "name": "b", "locks": {"k": 1}, "delay_ms": 60_000})
    holder.respond()
    busy.respond()
    assert runner.take().name == "urgent"
    assert shown(daemon)["used"] == 0
    daemon.allow("answer")


@pytest.mark.parametrize("how", ["remove", "cancel", "move", "replace"])
def test_a_parked_job_can_be_taken_out_of_the_line(how: str) -> None:
    daemon = Daemon()
    runner, client = worker(daemon), submitted(daemon, "abc")
    match how:
        case "move":
            assert client.ask("move", "f", "b", {"delay_ms": 60_000}) == {"result": "moved"}
        case "replace":
            assert client.submit("b", delay_ms=60_000) == "replaced"
        case _:
            client.ask(how, "f", "b")
    runner.take().respond()
    assert runner.names() == ["c"]


def test_a_parked_job_that_is_submitted_again_runs_once_with_what_was_said_last() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), submitted(daemon, "ab")
    assert client.submit("b", locks={"k": 1}, workload=b"new") == "replaced"
    assert states(daemon, "ab") == {"a": "running", "b": "parked"}
    runner.take().respond()
    run = runner.take()
    assert (run.name, run.job["workload"]) == ("b", b"new")
    run.respond()
    assert not runner.runs
    assert daemon.gone("f", "b")


# -- several locks -----------------------------------------------------------------------------------------------------


def test_a_job_takes_all_its_locks_or_none() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    submitted(daemon, "a", locks={"k": 1})
    submitted(daemon, "b", locks={"l": 1})
    client = daemon.connect()
    client.submit("both", locks={"k": 1, "l": 1})
    first, second = runner.take(), runner.take()
    assert states(daemon, "ab") == {"a": "running", "b": "running"}
    first.respond()
    assert runner.names() == [], "it holds nothing of k while l is not free"
    assert shown(daemon)["used"] == 0
    second.respond()
    assert runner.names() == ["both"]


def test_a_job_goes_only_when_it_is_first_in_all_its_lines() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.ask("set_lock", "l", {"capacity": 2})
    client.submit("a", locks={"l": 1})
    client.submit("m", locks={"l": 2})
    client.submit("both", locks={"k": 1, "l": 1})
    assert runner.names() == ["a"], "k is free, and so is enough of l; but m is before it there"
    runner.take().respond()
    runner.take().respond()
    assert runner.names() == ["both"]


def test_two_that_want_the_same_locks_do_not_wait_for_each_other() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    client.submit("0", locks={"k": 1, "l": 1})
    client.submit("a", locks={"k": 1, "l": 1})
    client.submit("b", locks={"l": 1, "k": 1})
    order = []
    while runner.runs:
        order.append(runner.runs[0].name)
        runner.take().respond()
    assert order == ["0", "a", "b"]


# -- over restarts -----------------------------------------------------------------------------------------------------


def test_a_restart_knows_every_holder() -> None:
    daemon = Daemon()
    submitted(daemon, "ab")
    run = worker(daemon).take()
    daemon.start()
    runner = worker(daemon)
    daemon.later(29_999)
    assert runner.names() == []
    assert shown(daemon)["used"] == 1
    assert runner.ask("finish", run.handle, None) == {}
    assert runner.names() == ["b"]


def test_a_restart_knows_who_stands_in_line_and_what_was_set() -> None:
    daemon = Daemon()
    client = submitted(daemon, "abc", weight=2)
    client.ask("set_lock", "k", {"capacity": 4})
    runner = worker(daemon)
    assert runner.names() == ["a", "b"]
    runner.ask("unsubscribe_all")
    daemon.start()
    runner = worker(daemon)
    assert runner.names() == []
    daemon.later(30_000)
    assert runner.names() == ["c", "a"], "c was due before a was free to run again"
    assert shown(daemon)["parked"] == 1


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_lock_with_a_rate_is_taken_so_often() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_lock", "k", {"capacity": 10, "rate": {"count": 1, "per_ms": 200}})
    runner = worker(daemon)
    submitted(daemon, "abc")
    begun = []
    for after_ms in range(0, 600, 50):
        while runner.runs:
            begun.append((after_ms, runner.take().name))
        daemon.later(50)
    assert begun == [(0, "a"), (200, "b"), (400, "c")]


def test_its_rate_goes_on_over_a_restart() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_lock", "k", {"capacity": 10, "rate": {"count": 1, "per_ms": 60_000}})
    runner = worker(daemon)
    submitted(daemon, "ab")
    runner.take().respond()
    daemon.start()
    runner = worker(daemon, silence_ms=3_600_000)
    daemon.later(59_999)
    assert runner.names() == []
    daemon.later(1)
    assert runner.names() == ["b"]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_locks_are_shown_with_who_holds_them_and_how_many_wait() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_lock", "k", {"capacity": 2, "rate": {"count": 5, "per_ms": 10}})
    run = (worker(daemon), submitted(daemon, "abc", weight=2))[0].take()
    found = shown(daemon)
    assert {key: found[key] for key in ("capacity", "rate", "used", "parked", "holder_count")} == {
        "capacity": 2, "rate": {"count": 5, "per_ms": 10}, "used": 2, "parked": 2, "holder_count": 1,
    }  # fmt: skip
    (holder,) = found["holders"]
    assert (holder["func"], holder["name"], holder["run"], holder["weight"]) == ("f", "a", run.job["run"], 2)
    (function,) = client.ask("status")["functions"]
    assert (function["waiting"], function["parked"], function["running"]) == (0, 2, 1)
    assert daemon.job("f", "b")["locks"] == {"k": 2}
    assert [job["name"] for job in client.ask("list", {"state": "parked"})["jobs"]] == ["b", "c"]


def test_locks_come_in_pages() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for name in "abc":
        client.ask("set_lock", name, {"capacity": 2})
    first = client.ask("locks", {"limit": 2})
    assert ([each["lock"] for each in first["locks"]], first["next"]) == (["a", "b"], "b")
    second = client.ask("locks", {"limit": 2, "after": "b"})
    assert ([each["lock"] for each in second["locks"]], second["next"]) == (["c"], None)
    assert [each["lock"] for each in client.ask("locks", {"prefix": "b"})["locks"]] == ["b"]
    client.ask("set_lock", "b")
    assert client.ask("locks", {"prefix": "b"})["locks"] == []


def test_so_many_are_parked_in_a_step_and_the_next_goes_on() -> None:
    daemon = Daemon()
    client = daemon.connect()
    many = [{"func": "f", "name": str(number), "locks": {"k": 1}} for number in range(2 * PARKED_A_STEP + 9)]
    client.ask("submit_batch", many)
    runner = worker(daemon)
    assert shown(daemon)["parked"] < len(many) - 1
    daemon.later(10)
    (function,) = client.ask("status")["functions"]
    assert (function["running"], function["parked"]) == (1, len(many) - 1)
    assert runner.names() == ["0"]


def test_a_clock_that_was_set_back_while_nobody_ran_keeps_no_lock_for_who_is_not_due() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    submitted(daemon, "ab")
    run = runner.take()
    daemon.now = daemon.now._replace(wall_ms=daemon.now.wall_ms - 3_600_000)
    daemon.start()
    runner = worker(daemon)
    assert runner.ask("finish", run.handle, None) == {}
    assert runner.names() == ["b"]


def test_what_is_kept_for_a_date_that_a_stepped_clock_has_before_it_again_is_free() -> None:
    daemon = Daemon()
    runner, other = worker(daemon, limit=1), worker(daemon, "g")
    submitted(daemon, "0", func="g")
    submitted(daemon, "a", due_at_ms=daemon.now.wall_ms + 10)
    daemon.later(10)
    daemon.connect().submit("busy")
    runner.take()
    other.take().respond()
    daemon.later(0, wall_ms=-3_600_000)
    submitted(daemon, "b", func="g")
    assert other.names() == ["b"]


def test_a_run_that_learns_what_it_needs_waits_for_it() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), submitted(daemon, "a", lock="big")
    client.submit("b")
    holder, run = runner.take(), runner.take()
    run.respond({"outcome": "later", "locks": {"big": 1}})
    assert daemon.job("f", "b")["locks"] == {"big": 1}
    assert states(daemon, "b") == {"b": "parked"}
    holder.respond()
    again = runner.take()
    assert (again.name, again.job["attempt"]) == ("b", 2)
    again.respond({"outcome": "later", "locks": {}})
    assert daemon.job("f", "b")["locks"] == {}
    daemon.allow("run")


def test_so_many_locks_can_be_set_and_no_more() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(LOCKS_SET_MAX):
        client.send("set_lock", f"k{number}", {"capacity": 2})
        if number % 500 == 0:
            daemon.step()
    daemon.step()
    daemon.allow("answer")
    with pytest.raises(Invalid, match="something is set of 10,000 locks already"):
        client.ask("set_lock", "one more", {"capacity": 2})
    client.ask("set_lock", "k7", {"capacity": 3})
    client.ask("set_lock", "k8")
    assert client.ask("set_lock", "one more", {"capacity": 2}) == {}


@pytest.mark.parametrize("how", ["remove", "cancel", "move", "replace", "pause", "unsubscribe_all", "close", "late"])
def test_whoever_leaves_a_line_lets_it_move_on(how: str) -> None:
    daemon = Daemon()
    holder, first, second = worker(daemon, "h"), worker(daemon), worker(daemon, "g")
    client = daemon.connect()
    client.submit("a", "h", locks={"l": 1})
    holder.take()
    if how == "late":
        client.submit("m", lease_ms=LEASE, retry={"limit": 9, "backoff": "fixed", "delay_ms": 0})
        late = first.take()
        late.respond({"outcome": "later", "delay_ms": 0, "locks": {"k": 1, "l": 1}})
    else:
        client.submit("m", locks={"k": 1, "l": 1})
    client.submit("x", "g", locks={"k": 1})
    assert second.names() == [], "m is before it, and waits for l"
    match how:
        case "late":
            client.ask("remove", "f", "m")
        case "move":
            client.ask("move", "f", "m", {"delay_ms": 60_000})
        case "replace":
            client.submit("m", delay_ms=60_000)
        case "pause":
            client.ask("pause", "f")
        case "unsubscribe_all":
            first.ask("unsubscribe_all")
        case "close":
            first.close()
        case _:
            client.ask(how, "f", "m")
    assert second.names() == ["x"]


def test_who_wants_too_much_of_one_lock_blocks_no_other() -> None:
    daemon = Daemon()
    _, second, client = worker(daemon), worker(daemon, "g"), daemon.connect()
    client.submit("w", locks={"l": 5, "k": 1})
    client.submit("x", "g", locks={"k": 1})
    assert second.names() == ["x"]


def test_nothing_is_kept_for_who_is_held_back_or_has_no_room() -> None:
    daemon = Daemon()
    first, second, client = worker(daemon, limit=1), worker(daemon, "g"), daemon.connect()
    client.ask("set_function", "f", {"rate": {"count": 1, "per_ms": 86_400_000}})
    client.submit("a", locks={"k": 1})
    client.submit("b", locks={"k": 1})
    client.submit("x", "g", locks={"k": 1})
    first.take().respond()
    assert second.take().name == "x", "the rate of f is used up for a day"
    client.ask("set_function", "f")
    assert first.names() == [], "x holds it"


def test_a_rate_is_one_of_runs_and_lost_by_nobody_who_waited_for_room() -> None:
    daemon = Daemon()
    runner, client = worker(daemon, limit=2, silence_ms=3_600_000), daemon.connect()
    client.ask("set_lock", "k", {"capacity": 100, "rate": {"count": 1, "per_ms": 1_000}})
    for name in "abcdefgh":
        client.submit(name, locks={"k": 1})
    client.submit("busy")
    assert sorted(runner.names()) == ["a", "busy"]
    daemon.later(10_000)
    second = worker(daemon)
    assert second.names() == ["b"], "not all that could have begun meanwhile"


def test_of_a_function_no_more_is_granted_than_there_is_room() -> None:
    daemon = Daemon()
    runner, client = worker(daemon, limit=2), daemon.connect()
    for number in range(50):
        client.submit(str(number), locks={"k": 1})
    client.ask("set_lock", "k", {"capacity": 1_000})
    daemon.later(10)
    assert runner.names() == ["0", "1"]
    assert shown(daemon)["used"] == 2
    (function,) = client.ask("status")["functions"]
    assert (function["parked"], function["waiting"]) == (48, 0)


def test_a_clock_that_was_stepped_back_lets_nobody_overtake() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    submitted(daemon, "0")
    submitted(daemon, "a")
    daemon.later(0, wall_ms=-3_600_000)
    submitted(daemon, "b")
    runner.take().respond()
    assert runner.names() == ["a"]
