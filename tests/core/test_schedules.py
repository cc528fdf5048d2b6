"""Schedules: what is submitted again and again, each instant once, whatever the clock and the daemon do."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from periodic_client.wire import Invalid
from periodic_client.wire.limits import SCHEDULE_JOB_BYTES_MAX, SCHEDULES_MAX
from periodicd.clock import Now
from tests.core.script import START, Daemon, Peer, worker

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def scheduled(daemon: Daemon, name: str = "s", func: str = "f", **options: Any) -> dict[str, Any]:
    """Every minute, unless it says otherwise."""
    said = {"job": {"func": func}} | ({} if "cron" in options else {"every_ms": MINUTE}) | options
    return dict(daemon.connect().ask("set_schedule", name, said))


def listed(daemon: Daemon, name: str = "s") -> dict[str, Any]:
    (found,) = [each for each in daemon.connect().ask("list_schedules")["schedules"] if each["schedule"] == name]
    return dict(found)


def occurrences(daemon: Daemon, func: str = "f") -> list[str]:
    return [job["name"] for job in daemon.connect().ask("list", {"func": func})["jobs"]]


def done(runner: Peer) -> list[str]:
    """All that was given, and ends now."""
    names = []
    while runner.runs:
        run = runner.take()
        names.append(run.name)
        run.respond()
    return names


def pass_time(daemon: Daemon, ms: int, *peers: Peer) -> None:
    """These are not silent meanwhile; others may be."""
    daemon.allow("closing")
    while ms > 0:
        daemon.later(min(ms, 30_000))
        ms -= 30_000
        for peer in peers:
            peer.ask("ping")


def at(zone: str, text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def begun(text: str, zone: str = "UTC") -> Daemon:
    """A daemon that starts then."""
    daemon = Daemon()
    daemon.now = Now(at(zone, text), START.mono_ms)
    daemon.start()
    return daemon


# -- firing ------------------------------------------------------------------------------------------------------------


def test_each_instant_submits_a_job_of_its_name() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    assert scheduled(daemon) == {"result": "created", "next_at_ms": START.wall_ms + MINUTE}
    pass_time(daemon, MINUTE - 1, runner)
    assert done(runner) == []
    pass_time(daemon, 1, runner)
    assert done(runner) == ["s@2023-11-14T22:14:20Z"]
    pass_time(daemon, 2 * MINUTE, runner)
    assert runner.names() == ["s@2023-11-14T22:15:20Z"], "the last is live, so the next is left out"
    assert done(runner) == ["s@2023-11-14T22:15:20Z"]
    pass_time(daemon, MINUTE, runner)
    assert done(runner) == ["s@2023-11-14T22:17:20Z"]


def test_the_job_is_as_it_was_said() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    job = {"func": "f", "workload": b"\x00w", "headers": {"a": "b"}, "priority": 3, "lease_ms": 5_000}
    scheduled(daemon, job=job)
    daemon.start()
    runner = worker(daemon)
    pass_time(daemon, MINUTE, runner)
    given = runner.take().job
    assert {key: given[key] for key in job} == job
    assert listed(daemon)["job"] == {key: value for key, value in job.items() if key != "workload"}


def test_cron_goes_by_the_clocks_of_its_zone() -> None:
    daemon = begun("2026-01-15T00:00", "Europe/Berlin")
    runner = worker(daemon)
    scheduled(daemon, cron="30 2 * * *", zone="Europe/Berlin", job={"func": "f", "lease_ms": DAY})
    pass_time(daemon, 3 * HOUR, runner)
    assert done(runner) == ["s@2026-01-15T01:30:00Z"]


def test_overlap_queue_fires_all_the_same() -> None:
    daemon = Daemon()
    scheduled(daemon, overlap="queue")
    daemon.later(3 * MINUTE)
    assert len(occurrences(daemon)) == 3


def test_an_occurrence_that_waits_to_be_tried_again_is_live_and_a_dead_one_is_not() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    scheduled(daemon, job={"func": "f", "retry": {"limit": 1, "delay_ms": 90_000, "jitter_percent": 0}})
    pass_time(daemon, MINUTE, runner)
    runner.take().fail()
    pass_time(daemon, MINUTE, runner)
    assert runner.names() == []
    pass_time(daemon, 30_000, runner)
    run = runner.take()
    assert run.name == "s@2023-11-14T22:14:20Z"
    run.fail()
    pass_time(daemon, 30_000, runner)
    assert done(runner) == ["s@2023-11-14T22:16:20Z"]


def test_jitter_makes_it_due_later_and_never_earlier() -> None:
    daemon = Daemon()
    scheduled(daemon, jitter_ms=30_000, overlap="queue")
    daemon.later(10 * MINUTE)
    late_ms = [job["due_at_ms"] - START.wall_ms - (number + 1) * MINUTE
               for number, job in enumerate(daemon.connect().ask("list")["jobs"])]  # fmt: skip
    assert all(0 <= each <= 30_000 for each in late_ms)
    assert len(set(late_ms)) > 5


def test_a_schedule_ends_before_until() -> None:
    daemon = Daemon()
    scheduled(daemon, until_at_ms=START.wall_ms + 2 * MINUTE, overlap="queue")
    daemon.later(5 * MINUTE)
    assert len(occurrences(daemon)) == 1
    assert listed(daemon)["next_at_ms"] is None


def test_a_full_function_leaves_an_occurrence_out() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.ask("set_function", "f", {"queue_max": 1})
    client.submit("there", delay_ms=DAY)
    asked = client.send("events", {"kinds": ["left_out"], "timeout_ms": HOUR})
    scheduled(daemon, overlap="queue")
    pass_time(daemon, MINUTE, client)
    (event,) = client.answer(asked)["events"]
    assert (event["func"], event["name"], event["text"]) == ("f", "s", "s@2023-11-14T22:14:20Z")
    assert occurrences(daemon) == ["there"]


# -- a daemon that was not there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missed", "fires"), [("skip", 0), ("once", 1)])
def test_what_was_missed_while_the_daemon_was_down_for_a_day(missed: str, fires: int) -> None:
    daemon = Daemon()
    scheduled(daemon, every_ms=HOUR, missed=missed, overlap="queue")
    daemon.now = Now(START.wall_ms + DAY + 30 * MINUTE, START.mono_ms)
    daemon.start()
    daemon.step()
    assert len(occurrences(daemon)) == fires
    daemon.later(30 * MINUTE)
    assert len(occurrences(daemon)) == fires + 1
    assert occurrences(daemon)[-1] == "s@2023-11-15T23:13:20Z"


def test_a_daemon_that_comes_a_little_late_has_missed_nothing() -> None:
    daemon = Daemon()
    scheduled(daemon, every_ms=HOUR)
    daemon.now = Now(START.wall_ms + HOUR + 59_000, START.mono_ms)
    daemon.start()
    daemon.step()
    assert occurrences(daemon) == ["s@2023-11-14T23:13:20Z"]


def test_a_restart_doubles_nothing() -> None:
    daemon = Daemon()
    scheduled(daemon, overlap="queue")
    for _ in range(4):
        daemon.later(30_000)
        daemon.start()
        daemon.step()
    assert len(occurrences(daemon)) == 2


def test_a_schedule_of_a_zone_that_this_machine_lacks_is_told_and_does_not_fire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon()
    scheduled(daemon, cron="* * * * *", zone="Europe/Berlin")
    monkeypatch.setattr("periodicd.calendar._zones", lambda: frozenset({"UTC"}))
    daemon.start()
    daemon.later(2 * MINUTE)
    assert [event for event in daemon.take_events() if type(event).__name__ == "UnknownZone"] == [
        ("s", "Europe/Berlin")
    ]
    assert occurrences(daemon) == []
    assert listed(daemon)["next_at_ms"] is None


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", ["skip", "once"])
def test_a_clock_stepped_forward_by_an_hour(missed: str) -> None:
    """Ten minutes past an instant: as if the daemon had been away."""
    daemon = Daemon()
    scheduled(daemon, every_ms=30 * MINUTE, missed=missed, overlap="queue")
    daemon.later(10 * MINUTE)
    daemon.later(0, wall_ms=HOUR)
    fired = [] if missed == "skip" else ["s@2023-11-14T23:13:20Z"]
    assert occurrences(daemon) == fired
    daemon.later(20 * MINUTE)
    assert occurrences(daemon) == [*fired, "s@2023-11-14T23:43:20Z"]


def test_a_clock_stepped_back_by_an_hour_fires_no_instant_again() -> None:
    daemon = Daemon()
    scheduled(daemon, every_ms=30 * MINUTE, overlap="queue")
    pass_time(daemon, HOUR)
    assert len(occurrences(daemon)) == 2
    daemon.later(0, wall_ms=-HOUR)
    pass_time(daemon, HOUR + 29 * MINUTE)
    assert len(occurrences(daemon)) == 2
    pass_time(daemon, MINUTE)
    assert occurrences(daemon)[2:] == ["s@2023-11-14T23:43:20Z"]


@pytest.mark.parametrize(
    ("zone", "day", "cron", "instants"),
    [
        # The clocks are set forward: what they leave out is when they are set.
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", ["01:00"]),
        ("America/New_York", "2026-03-08", "30 2 * * *", ["07:00"]),
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["15:30"]),
        ("America/Santiago", "2026-09-06", "0 0 * * *", ["04:00"]),
        ("Asia/Beirut", "2026-03-29", "0 0 * * *", ["22:00"]),
        # They are set back: what they show twice is once.
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["00:30"]),
        ("America/New_York", "2026-11-01", "30 1 * * *", ["05:30"]),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["14:45"]),
        ("America/Santiago", "2026-04-04", "30 23 * * *", ["02:30"]),
        ("Asia/Beirut", "2026-10-24", "30 23 * * *", ["20:30"]),
        # What means every hour goes on with the time.
        ("Europe/Berlin", "2026-10-25", "0 * * * *", [f"{(22 + hour) % 24:02}:00" for hour in range(25)]),
        ("Europe/Berlin", "2026-03-29", "0 * * * *", [f"{(23 + hour) % 24:02}:00" for hour in range(23)]),
    ],
)
def test_both_changes_of_the_clocks_in_five_zones(zone: str, day: str, cron: str, instants: list[str]) -> None:
    daemon = begun(f"{day}T00:00", zone)
    daemon.now = Now(daemon.now.wall_ms - 1, daemon.now.mono_ms)
    daemon.start()
    scheduled(daemon, cron=cron, zone=zone, overlap="queue")
    midnight = at(zone, f"{day}T23:59:59")
    pass_time(daemon, midnight - daemon.now.wall_ms)
    assert [name.split("T")[1].removesuffix(":00Z") for name in occurrences(daemon)] == instants


def test_leap_days() -> None:
    daemon = begun("2026-01-01T00:00")
    scheduled(daemon, cron="0 0 29 2 *")
    times = daemon.connect().ask("next_times", "s", {"count": 3})["times"]
    assert times == [at("UTC", f"{year}-02-29T00:00") for year in (2028, 2032, 2036)]


# -- set again, paused, run, removed -----------------------------------------------------------------------------------


def test_set_again_unchanged_it_goes_on_as_it_did() -> None:
    daemon = Daemon()
    scheduled(daemon)
    daemon.later(40_000)
    assert scheduled(daemon) == {"result": "kept", "next_at_ms": START.wall_ms + MINUTE}
    daemon.start()
    assert scheduled(daemon) == {"result": "kept", "next_at_ms": START.wall_ms + MINUTE}


def test_a_workload_said_as_text_is_the_same_as_bytes() -> None:
    daemon = Daemon()
    scheduled(daemon, job={"func": "f", "workload": "ä"})
    assert scheduled(daemon, job={"func": "f", "workload": "ä".encode()})["result"] == "kept"


def test_another_rhythm_begins_when_it_is_set_and_another_job_keeps_it() -> None:
    daemon = Daemon()
    scheduled(daemon)
    daemon.later(40_000)
    assert scheduled(daemon, func="g") == {"result": "replaced", "next_at_ms": START.wall_ms + MINUTE}
    assert scheduled(daemon, every_ms=2 * MINUTE)["next_at_ms"] == START.wall_ms + 40_000 + 2 * MINUTE
    assert scheduled(daemon, from_at_ms=START.wall_ms)["next_at_ms"] == START.wall_ms + MINUTE


def test_edited_while_an_occurrence_runs() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    scheduled(daemon)
    pass_time(daemon, MINUTE, runner)
    run = runner.take()
    scheduled(daemon, every_ms=2 * MINUTE)
    pass_time(daemon, 2 * MINUTE, runner)
    assert runner.names() == [], "it is live still"
    run.respond()
    pass_time(daemon, 2 * MINUTE, runner)
    assert done(runner) == ["s@2023-11-14T22:18:20Z"]


def test_what_passes_while_it_is_paused_is_not_made_up_for() -> None:
    daemon = Daemon()
    client = daemon.connect()
    scheduled(daemon, missed="once", overlap="queue")
    assert client.ask("pause_schedule", "s") == {"result": "paused"}
    assert listed(daemon)["paused"]
    assert listed(daemon)["next_at_ms"] is None
    assert client.ask("next_times", "s") == {"result": "found", "times": []}
    daemon.later(10 * MINUTE)
    daemon.start()
    daemon.later(30_000)
    client = daemon.connect()
    assert client.ask("resume_schedule", "s") == {"result": "resumed"}
    daemon.step()
    assert occurrences(daemon) == []
    daemon.later(30_000)
    assert occurrences(daemon) == ["s@2023-11-14T22:24:20Z"]


def test_run_now_is_beside_the_instants() -> None:
    daemon = Daemon()
    runner, client = worker(daemon), daemon.connect()
    scheduled(daemon)
    pass_time(daemon, 10_000, runner)
    assert client.ask("run_schedule", "s") == {"result": "fired", "id": 1}
    assert client.ask("run_schedule", "s") == {"result": "left_out", "id": None}, "the last is live"
    assert done(runner) == ["s@2023-11-14T22:13:30Z"]
    pass_time(daemon, 50_000, runner)
    assert done(runner) == ["s@2023-11-14T22:14:20Z"]


def test_a_schedule_that_is_removed_leaves_its_occurrences() -> None:
    daemon = Daemon()
    client = daemon.connect()
    scheduled(daemon)
    daemon.later(MINUTE)
    assert client.ask("remove_schedule", "s") == {"result": "removed"}
    daemon.later(MINUTE)
    assert len(occurrences(daemon)) == 1
    daemon.start()
    assert daemon.connect().ask("list_schedules") == {"schedules": [], "next": None}


def test_of_one_that_is_not_there() -> None:
    client = Daemon().connect()
    for method in ("remove_schedule", "pause_schedule", "resume_schedule"):
        assert client.ask(method, "s") == {"result": "absent"}
    assert client.ask("run_schedule", "s") == {"result": "absent", "id": None}
    assert client.ask("next_times", "s") == {"result": "absent", "times": []}


def test_schedules_are_listed_by_name_in_pages() -> None:
    daemon = Daemon()
    for name in ("b", "a2", "a1"):
        scheduled(daemon, name)
    page = daemon.connect().ask("list_schedules", {"prefix": "a", "limit": 1})
    assert [each["schedule"] for each in page["schedules"]] == ["a1"]
    page = daemon.connect().ask("list_schedules", {"prefix": "a", "limit": 1, "after": page["next"]})
    assert ([each["schedule"] for each in page["schedules"]], page["next"]) == (["a2"], None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"job": {"func": "f"}}, "options has one of every_ms and cron"),
        ({"job": {"func": "f"}, "every_ms": MINUTE, "cron": "* * * * *"}, "options has one of every_ms and cron"),
        ({"job": {"func": "f"}, "cron": "61 * * * *"}, "options.cron has the minute '61'"),
        ({"job": {"func": "f"}, "cron": "0 0 31 2 *"}, "options.cron never fires: there is no such day"),
        ({"job": {"func": "f"}, "cron": "* * * * *", "zone": "Mars/Olympus"}, "options.zone is no name of an IANA"),
        ({"job": {"func": "f"}, "every_ms": MINUTE, "zone": "UTC"}, "options.zone goes with cron"),
        ({"job": {"func": "f", "name": "n"}, "every_ms": MINUTE}, "options.job.name is not said: it is the schedule's"),
        ({"job": {"func": "f", "delay_ms": 1}, "every_ms": MINUTE}, "options.job.delay_ms is not said"),
        ({"job": {"func": ""}, "every_ms": MINUTE}, "options.job.func"),
        ({"job": {"func": "f", "wrkload": 1}, "every_ms": MINUTE}, "options.job.wrkload is not a key of a job; did"),
        ({"job": 5, "every_ms": MINUTE}, "options.job is a map, not an integer"),
        ({"job": {"func": "f"}, "every_ms": 999}, "options.every_ms is an integer from 1,000"),
        ({"job": {"func": "f", "workload": b"x" * (SCHEDULE_JOB_BYTES_MAX + 1)}, "every_ms": MINUTE},
         "options.job.workload has 16,385 bytes, and may have 16,384 in a schedule"),
        ({"job": {"func": "f"}, "every_ms": MINUTE, "from_at_ms": 9, "until_at_ms": 9}, "options.until_at_ms is not"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_said(options: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid) as refused:
        Daemon().connect().ask("set_schedule", "s", options)
    assert why in str(refused.value)


def test_there_is_a_limit() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for number in range(SCHEDULES_MAX):
        client.send("set_schedule", f"{number}", {"job": {"func": "f"}, "every_ms": DAY})
        client.me.unanswered.clear()
    daemon.step()
    daemon.allow("answer")
    with pytest.raises(Invalid, match="there are 10,000 schedules already; remove one"):
        scheduled(daemon)
    scheduled(daemon, "0", every_ms=HOUR)


def test_many_that_are_due_at_once_are_dealt_with_some_in_a_step() -> None:
    daemon = Daemon()
    for number in range(300):
        scheduled(daemon, f"{number}")
    daemon.later(MINUTE)
    assert daemon.connect().ask("status")["submitted"] == 256 + 44 * (daemon.engine.wakeup_ms(daemon.now) > 0)
    daemon.later(1)
    assert daemon.connect().ask("status")["submitted"] == 300


def test_an_occurrence_that_the_daemon_would_not_take_any_more_is_left_out() -> None:
    daemon = Daemon()
    scheduled(daemon, job={"func": "f", "workload": b"x" * 2_000})
    daemon.settings = type(daemon.settings)(workload_bytes=1_000)
    daemon.start()
    client = daemon.connect()
    asked = client.send("events", {"kinds": ["left_out"], "timeout_ms": HOUR})
    pass_time(daemon, MINUTE, client)
    assert "has 2,000 bytes, and may have 1,000" in client.answer(asked)["events"][0]["text"]
    assert client.ask("run_schedule", "s") == {"result": "left_out", "id": None}


# -- several messages in one step --------------------------------------------------------------------------------------


def test_a_schedule_that_is_removed_in_the_step_in_which_it_leaves_an_occurrence_out() -> None:
    daemon = Daemon()
    client = daemon.connect()
    scheduled(daemon)
    client.ask("run_schedule", "s")
    client.ask("events", {"timeout_ms": 0})
    run, removed = client.send("run_schedule", "s"), client.send("remove_schedule", "s")
    daemon.step()
    assert client.answer(run) == {"result": "left_out", "id": None}
    assert client.answer(removed) == {"result": "removed"}
    (event,) = [each for each in client.ask("events")["events"] if each["kind"] == "left_out"]
    assert (event["func"], event["name"]) == ("f", "s")


@pytest.mark.parametrize("change", ["pause_schedule", "set_schedule"])
def test_a_schedule_that_is_changed_in_the_step_in_which_it_fires_knows_its_last_occurrence(change: str) -> None:
    daemon = Daemon()
    client = daemon.connect()
    scheduled(daemon)
    more = [{"job": {"func": "f"}, "every_ms": HOUR}] if change == "set_schedule" else []
    client.send("run_schedule", "s")
    client.send(change, "s", *more)
    daemon.step()
    daemon.allow("answer")
    daemon.start()
    assert listed(daemon)["last_id"] == 1
    assert daemon.connect().ask("run_schedule", "s") == {"result": "left_out", "id": None}


def test_a_workload_is_measured_in_bytes() -> None:
    with pytest.raises(Invalid, match="has 16,386 bytes, and may have 16,384 in a schedule"):
        scheduled(Daemon(), job={"func": "f", "workload": "ä" * (SCHEDULE_JOB_BYTES_MAX // 2 + 1)})
