"""What is set of a function: how many of its jobs run, how often, how many there are, and what they say by default."""

from typing import Any

import pytest

from periodic_client.wire import Full, Invalid
from periodic_client.wire.limits import FUNCTIONS_SET_MAX
from tests.core.script import Daemon, Peer, worker

RESTART_GRACE_MS = 30_000


def submitted(daemon: Daemon, names: str, **job: Any) -> Peer:
    client = daemon.connect()
    for name in names:
        client.submit(name, **job)
    return client


def shown(client: Peer, func: str = "f") -> dict[str, Any]:
    """The function as ``status`` shows it."""
    (function,) = [each for each in client.ask("status")["functions"] if each["func"] == func]
    return dict(function)


# -- paused ------------------------------------------------------------------------------------------------------------


def test_a_paused_function_takes_jobs_and_gives_out_none() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), submitted(daemon, "a")
    running = runner.take()
    assert client.ask("pause", "f") == {}
    assert client.submit("b") == "created"
    daemon.later(60_000 - 1)
    assert runner.names() == []
    running.respond()
    assert daemon.gone("f", "a"), "what runs goes on"
    assert shown(client)["paused"]
    assert client.ask("resume", "f") == {}
    assert runner.names() == ["b"]
    assert not shown(client)["paused"]


def test_a_take_is_given_nothing_of_a_paused_function() -> None:
    daemon = Daemon()
    client = submitted(daemon, "a")
    client.ask("pause", "f")
    now = client.send("take", {"funcs": ["f"], "wait_ms": 0})
    daemon.step()
    daemon.later(1)
    assert client.answer(now)["jobs"] == []
    waits = client.send("take", {"funcs": ["f"]})
    daemon.step()
    client.ask("resume", "f")
    assert [job["name"] for job in client.answer(waits)["jobs"]] == ["a"]


def test_other_functions_go_on() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    runner.ask("subscribe", "g", {"limit": 1})
    client = daemon.connect()
    client.ask("pause", "f")
    client.submit("a")
    client.submit("b", func="g")
    assert runner.names() == ["b"]


def test_a_pause_is_there_after_a_restart() -> None:
    daemon = Daemon()
    daemon.connect().ask("pause", "f")
    daemon.start()
    runner, client = worker(daemon), submitted(daemon, "a")
    assert runner.names() == []
    client.ask("resume", "f")
    assert runner.names() == ["a"]
    daemon.start()
    assert not shown(daemon.connect())["paused"]


# -- running_max -------------------------------------------------------------------------------------------------------


def test_no_more_run_at_once_than_running_max() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"running_max": 2})
    one, two = worker(daemon), worker(daemon)
    submitted(daemon, "abcd")
    runs = [*one.runs, *two.runs]
    assert sorted(run.name for run in runs) == ["a", "b"]
    for run in runs:
        run.respond()
    assert sorted(one.names() + two.names()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("how", ["done", "failed", "lost", "removed", "lease", "raised"])
def test_each_end_of_a_run_makes_room(how: str) -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"running_max": 1})
    first, second = worker(daemon, limit=1), worker(daemon)
    client.submit("a", lease_ms=1_000, retry={"limit": 0})
    client.submit("b", delay_ms=1)
    run = first.take()
    daemon.later(10)
    assert second.names() == []
    match how:
        case "done":
            run.respond()
        case "failed":
            run.fail()
        case "lost":
            first.ask("unsubscribe_all")
            first.close()
        case "removed":
            client.ask("remove", "f", "a")
            assert first.notices
        case "lease":
            daemon.later(1_000)
        case "raised":
            client.ask("set_function", "f", {"running_max": 2})
    assert second.names() == ["b"] or first.names() == ["b"]


def test_runs_of_the_life_before_count_until_their_worker_is_given_up() -> None:
    daemon = Daemon(claim_delay_ms=0)
    daemon.connect().ask("set_function", "f", {"running_max": 1})
    runner = worker(daemon)
    submitted(daemon, "ab")
    daemon.later(1)
    assert runner.take().name == "a"
    daemon.start()
    runner = worker(daemon)
    daemon.later(RESTART_GRACE_MS - 1)
    assert runner.names() == []
    daemon.later(1)
    assert runner.take().name == "b"
    daemon.allow("run")


# -- rate --------------------------------------------------------------------------------------------------------------


def begun(daemon: Daemon, runner: Peer, ms: int, step_ms: int = 50) -> list[int]:
    """After how many milliseconds runs began, each ended at once."""
    found = []
    for after_ms in range(0, ms, step_ms):
        while runner.runs:
            found.append(after_ms)
            runner.take().respond()
        daemon.later(step_ms)
    return found


def test_runs_begin_no_more_often_than_the_rate() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"rate": {"count": 1, "per_ms": 200}})
    runner = worker(daemon)
    submitted(daemon, "abcd")
    assert begun(daemon, runner, 1_000) == [0, 200, 400, 600]


def test_after_a_quiet_time_as_many_as_the_count_begin_at_once() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"rate": {"count": 3, "per_ms": 300}})
    runner = worker(daemon)
    submitted(daemon, "abcdefg")
    assert begun(daemon, runner, 700, 100) == [0, 0, 0, 100, 200, 300, 400]
    daemon.later(10_000)
    submitted(daemon, "hijk")
    assert begun(daemon, runner, 300, 100) == [0, 0, 0, 100]


def test_a_restart_gives_no_run_more() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"rate": {"count": 1, "per_ms": 60_000}})
    runner = worker(daemon)
    submitted(daemon, "ab")
    runner.take().respond()
    daemon.start()
    runner = worker(daemon)
    daemon.later(40_000)
    runner.ask("ping")
    daemon.later(19_999)
    assert runner.names() == []
    daemon.later(1)
    assert runner.names() == ["b"]


def test_a_clock_that_was_set_back_by_a_day_costs_no_day() -> None:
    daemon = Daemon()
    daemon.connect().ask("set_function", "f", {"rate": {"count": 1, "per_ms": 10_000}})
    runner = worker(daemon)
    submitted(daemon, "ab")
    runner.take().respond()
    daemon.later(0, wall_ms=-86_400_000)
    daemon.later(10_000)
    assert runner.names() == ["b"]


def test_another_rate_begins_anew() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"rate": {"count": 1, "per_ms": 86_400_000}})
    runner = worker(daemon)
    submitted(daemon, "ab")
    runner.take().respond()
    client.ask("set_function", "f", {"rate": {"count": 1, "per_ms": 86_400_000}, "running_max": 5})
    assert runner.names() == [], "the same goes on"
    client.ask("set_function", "f", {"rate": {"count": 2, "per_ms": 1_000}})
    assert runner.names() == ["b"]


# -- queue_max ---------------------------------------------------------------------------------------------------------


def test_a_submit_of_one_more_is_refused() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"queue_max": 2})
    submitted(daemon, "ab", delay_ms=50)
    with pytest.raises(Full, match="f has as many jobs as its queue_max allows; try later"):
        client.submit("c")
    assert daemon.gone("f", "c")
    assert client.submit("a", delay_ms=50) == "replaced", "that is none more"
    assert client.submit("c", func="g") == "created"
    client.ask("remove", "f", "b")
    assert client.submit("c") == "created"


def test_of_a_batch_what_fits_is_stored() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"queue_max": 2})
    jobs = [{"func": "f", "name": name} for name in "abca"]
    assert client.ask("submit_batch", jobs) == {
        "results": ["created", "created", "full", "replaced"], "ids": [1, 2, None, 4],
    }  # fmt: skip


def test_follow_ons_are_never_refused() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"queue_max": 1})
    client.submit("a")
    worker(daemon).take().respond({"outcome": "done", "submit": [{"func": "f", "name": name} for name in "bc"]})
    daemon.allow("run")
    assert [daemon.job("f", name)["name"] for name in "bc"] == ["b", "c"]


# -- defaults ----------------------------------------------------------------------------------------------------------


def test_jobs_that_do_not_say_it_have_what_the_function_says() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"lease_ms": 5_000, "retry": {"limit": 3}, "result_ms": 7_000})
    client.submit("a", delay_ms=50)
    client.submit("b", delay_ms=50, lease_ms=9_000, retry={"limit": 1}, result_ms=0)
    client.submit("a", func="g", delay_ms=50)
    kept = ("lease_ms", "result_ms")
    assert [daemon.job("f", "a")[key] for key in kept] == [5_000, 7_000]
    assert daemon.job("f", "a")["retry"]["limit"] == 3
    assert [daemon.job("f", "b")[key] for key in kept] == [9_000, 0]
    assert daemon.job("f", "b")["retry"]["limit"] == 1
    assert [daemon.job("g", "a")[key] for key in kept] == [600_000, 0]


def test_follow_ons_have_it_too() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "g", {"lease_ms": 5_000})
    client.submit("a")
    worker(daemon).take().respond({"outcome": "done", "submit": [{"func": "g", "name": "b"}]})
    assert daemon.job("g", "b")["lease_ms"] == 5_000


# -- the row -----------------------------------------------------------------------------------------------------------

ALL = {
    "running_max": 3, "rate": {"count": 2, "per_ms": 100}, "queue_max": 9, "lease_ms": 5_000,
    "retry": {"limit": 3, "backoff": "fixed", "delay_ms": 10, "cap_ms": 20, "jitter_percent": 5}, "result_ms": 7,
}  # fmt: skip


def test_what_was_set_is_shown_and_there_after_a_restart() -> None:
    daemon = Daemon()
    client = daemon.connect()
    assert client.ask("set_function", "f", ALL) == {}
    assert shown(client)["settings"] == ALL
    daemon.start()
    assert shown(daemon.connect())["settings"] == ALL


def test_it_is_set_as_a_whole() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", ALL)
    client.ask("pause", "f")
    client.ask("set_function", "f", {"queue_max": 4})
    assert (shown(client)["settings"], shown(client)["paused"]) == ({"queue_max": 4}, True)
    client.ask("set_function", "f")
    assert (shown(client)["settings"], shown(client)["paused"]) == ({}, True)
    client.ask("resume", "f")
    assert client.ask("status")["functions"] == [], "nothing is left of it"


def test_so_many_functions_can_have_settings_and_no_more() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(FUNCTIONS_SET_MAX):
        client.send("pause", f"f{number}")
        if number % 500 == 0:
            daemon.step()
    daemon.step()
    daemon.allow("answer")
    with pytest.raises(Invalid, match="something is set of 10,000 functions already"):
        client.ask("pause", "g")
    client.ask("resume", "f7")
    assert client.ask("pause", "g") == {}


def test_who_asks_for_events_is_told() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("events", {"timeout_ms": 0})
    client.ask("pause", "f")
    client.ask("resume", "f")
    client.ask("set_function", "f", {"queue_max": 4})
    told = client.ask("events", {"timeout_ms": 0})["events"]
    assert [(event["kind"], event["func"]) for event in told] == [
        ("paused", "f"), ("resumed", "f"), ("function_set", "f"),
    ]  # fmt: skip
