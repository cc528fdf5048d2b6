"""The checker finds what it is there for: each story is one that must not happen, beside those that may."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crashloop.check import A_STEP_NS, IN_FLIGHT_NS, check
from tests.crashloop.known import Listed
from tests.crashloop.record import (
    BATCH_JOBS,
    CROWD_JOBS,
    Acknowledged,
    Answered,
    Asked,
    BatchAcknowledged,
    BatchAsked,
    Called,
    CancelAsked,
    Cancelled,
    CrowdAcknowledged,
    CrowdAsked,
    GroupAsked,
    MatchingAnswered,
    MatchingAsked,
    Record,
    RecordFile,
    Refused,
    RemoveAsked,
    Removed,
    Reported,
    SettingAcknowledged,
    SettingAsked,
    Started,
    Told,
    name_of_locked,
    name_of_member,
    read,
)

GONE = Listed()
STILL_THERE = Listed({"a": 1})


def kinds(records: list[Record], listed: Listed = GONE) -> list[str]:
    return [violation.kind for violation in check(records, listed).violations]


def submitted(version: int, at_ns: int, outcome: str = "created", not_before_at_ms: int = 0) -> list[Record]:
    return [Asked("a", version, not_before_at_ms, at_ns), Acknowledged("a", version, outcome, at_ns + 1)]


def started(version: int, at_ns: int, handle: str = "1-1-1", due_at_ms: int = 0, wall_at_ms: int = 1000) -> Record:
    return Started("a", version, handle, due_at_ms, wall_at_ms, at_ns)


def reported(
    version: int,
    at_ns: int,
    outcome: str = "done",
    *,
    handle: str = "1-1-1",
    not_before_at_ms: int = 0,
    follow_on: str | None = None,
) -> list[Record]:
    """Reported and answered."""
    return [
        Reported("a", version, handle, outcome, not_before_at_ms, follow_on, at_ns),
        Answered(handle, at_ns + 1),
    ]


def test_a_job_that_is_done_or_still_there_is_well() -> None:
    done = [*submitted(1, 10), started(1, 20), *reported(1, 30)]
    assert kinds(done) == []
    assert check(done, GONE).figures["done_acknowledged"] == 1
    assert kinds(submitted(1, 10), STILL_THERE) == []


def test_a_report_whose_answer_was_lost_may_be_given_out_again() -> None:
    unanswered = Reported("a", 1, "1-1-1", "done", 0, None, 30)
    again = [started(1, 40, "1-2-1"), *reported(1, 50, handle="1-2-1")]
    records = [*submitted(1, 10), started(1, 20), unanswered, *again]
    assert kinds(records) == []
    assert check(records, GONE).figures["done_unacknowledged_twice"] == 1


def test_an_unanswered_submit_may_be_there_or_not() -> None:
    assert kinds([Asked("a", 1, 0, 10)]) == []
    assert kinds([Asked("a", 1, 0, 10)], STILL_THERE) == []
    assert kinds([*submitted(1, 10), Asked("a", 2, 0, 20)], Listed({"a": 2})) == []


@pytest.mark.parametrize("outcome", ["created", "replaced", "queued_behind"])
def test_lost(outcome: str) -> None:
    assert kinds(submitted(1, 10, outcome)) == ["lost"]
    assert kinds([*submitted(1, 10), started(1, 20)]) == ["lost"]
    assert kinds([*submitted(1, 10), started(1, 20), *reported(1, 30, "again")]) == ["lost"]
    assert kinds([*submitted(1, 10), started(1, 20), *reported(1, 30), *submitted(2, 40, outcome)]) == ["lost"]


def test_a_follow_on_job_is_acknowledged_with_its_run() -> None:
    records = [*submitted(1, 10), started(1, 20), *reported(1, 30, follow_on="a~1-1-1")]
    assert kinds(records) == ["lost"]
    assert kinds(records, Listed({"a~1-1-1": 1})) == []


def test_run_again() -> None:
    assert kinds([*submitted(1, 10), started(1, 20), *reported(1, 30), started(1, 40, "1-2-1")]) == ["run again"]


def test_a_run_that_was_given_out_before_may_begin_late() -> None:
    done = [*submitted(1, 10), started(1, 20, "2-1-1"), *reported(1, 30, handle="2-1-1")]
    assert kinds([*done, started(1, 40, "1-1-1")]) == []
    assert kinds([*done, started(1, 40, "2-2-1")]) == ["run again"]


@pytest.mark.parametrize("outcome", ["created", "replaced", "queued_behind"])
def test_superseded(outcome: str) -> None:
    done = [*submitted(1, 10), *submitted(2, 20, outcome), started(2, 60), *reported(2, 70)]
    assert kinds(done) == []
    assert kinds([*done, started(1, 30, "0-1-1")]) == []
    assert kinds([*done, started(1, 22 + IN_FLIGHT_NS, "0-1-1")]) == ["superseded"]


def test_kept_means_that_nothing_changed() -> None:
    records = [*submitted(1, 10), *submitted(2, 20, "kept")]
    assert kinds(records, STILL_THERE) == []
    assert kinds([*records, started(2, 30), *reported(2, 40)]) == ["kept"]


def test_came_back() -> None:
    done = [*submitted(1, 10), started(1, 20), *reported(1, 30)]
    assert kinds(done, STILL_THERE) == ["came back"]
    assert kinds([*submitted(1, 10), *submitted(2, 20, "replaced"), started(2, 30), *reported(2, 40)], STILL_THERE) == [
        "came back"
    ]
    removed = [*submitted(1, 10), RemoveAsked("a", 20), Removed("a", 30)]
    assert kinds(removed) == []
    assert kinds(removed, STILL_THERE) == ["came back"]
    assert kinds([*removed, started(1, 31 + IN_FLIGHT_NS)]) == ["came back"]
    assert kinds([], STILL_THERE) == ["came back"]


@pytest.mark.parametrize("result", ["cancelled", "asked", "absent"])
def test_cancelled_and_runs(result: str) -> None:
    cancelled = [*submitted(1, 10), started(1, 20), CancelAsked("a", 30), Cancelled("a", result, 31)]
    assert kinds([*cancelled, *reported(1, 40, "again")]) == []
    assert kinds([*cancelled, *reported(1, 40)]) == [], "done stays done"
    assert kinds(cancelled, STILL_THERE) == ["cancelled, runs"]
    assert kinds([*cancelled, started(1, 32 + IN_FLIGHT_NS, "1-2-1")]) == ["cancelled, runs"]


def test_the_dead_are_not_cancelled() -> None:
    dead = [*submitted(1, 10), started(1, 20), *reported(1, 30, "dead")]
    assert kinds([*dead, CancelAsked("a", 40), Cancelled("a", "not_live", 41)], STILL_THERE) == []


def in_crowd(record: Record, number: int) -> Record:
    return replace(record, name=f"c-{number}") if isinstance(record, Started | Reported) else record


def crowd(method: str, *records: Record, asked_ns: int = 50) -> list[Record]:
    """A crowd that is changed, and what is known of the first of its jobs."""
    of_the_first = [in_crowd(each, 0) for each in records]
    asked: list[Record] = [CrowdAsked("c", 0, 10), CrowdAcknowledged("c", 11), MatchingAsked("c", method, asked_ns)]
    return [*asked, *of_the_first, MatchingAnswered("c", method, 60)]


CROWD = Listed({f"c-{number}": 1 for number in range(CROWD_JOBS)})
FIRST = Listed({"c-0": 1})
FIRST_IS_DEAD = Listed({"c-0": 1}, {"c-0"})


def test_what_a_request_on_many_removed_does_not_come_back() -> None:
    assert kinds(crowd("remove_matching")) == []
    assert kinds(crowd("remove_matching"), FIRST) == ["came back"]
    assert kinds(crowd("remove_matching", started(1, 61 + IN_FLIGHT_NS))) == ["came back"]
    assert kinds(crowd("remove_matching")[:-1], FIRST) == [], "it was not answered"


def test_what_a_request_on_many_cancelled_is_gone_unless_it_was_dead() -> None:
    assert kinds(crowd("cancel_matching")) == []
    assert kinds(crowd("cancel_matching"), FIRST) == ["cancelled, runs"]
    assert kinds(crowd("cancel_matching", started(1, 61 + IN_FLIGHT_NS))) == ["cancelled, runs"]
    dead_before = crowd("cancel_matching", started(1, 20), *reported(1, 30, "dead"))
    assert kinds(dead_before, FIRST_IS_DEAD) == []
    assert kinds(dead_before, FIRST) == ["cancelled, runs"]
    dead_after = crowd("cancel_matching", started(1, 20), *reported(1, 70, "dead"))
    assert kinds(dead_after, FIRST_IS_DEAD) == ["cancelled, runs"]


def test_what_was_dead_runs_when_many_are_requeued() -> None:
    died = [started(1, 20), *reported(1, 30, "dead")]
    assert kinds(crowd("requeue_matching", *died), CROWD) == ["not requeued"]
    assert kinds(crowd("requeue_matching", *died)[:-1], CROWD) == [], "it was not answered"
    assert kinds(crowd("requeue_matching", *died, asked_ns=25), CROWD) == [], "it may have died later"
    again = [started(1, 55, "1-2-1"), *reported(1, 65, "dead", handle="1-2-1")]
    assert kinds(crowd("requeue_matching", *died, *again), CROWD) == []
    assert kinds(crowd("requeue_matching", *died, *again)).count("lost") == CROWD_JOBS


def test_the_jobs_of_a_crowd_are_due_one_after_the_other() -> None:
    asked: list[Record] = [CrowdAsked("c", 1000, 10), CrowdAcknowledged("c", 11)]
    first, second = (in_crowd(started(1, 20, wall_at_ms=1000), number) for number in (0, 1))
    assert kinds([*asked, first], CROWD) == []
    assert kinds([*asked, second], CROWD) == ["early"]


def test_a_result_that_was_acknowledged_is_kept() -> None:
    called = [Called("a", 5), *submitted(1, 10), started(1, 20)]
    done = [*called, *reported(1, 30)]
    assert kinds(done, Listed(results={"a": b"a"})) == []
    assert kinds([*done, Told("a", "done", 40)], Listed(results={"a": b"a"})) == []
    assert kinds(done) == ["result gone"]
    assert kinds(done, Listed(results={"a": b"other"})) == ["result gone"]
    unanswered = Reported("a", 1, "1-1-1", "done", 0, None, 30)
    assert kinds([*called, unanswered]) == []
    assert kinds([*called, unanswered, Told("a", "done", 40)]) == ["result gone"]


def expiring(*records: Record) -> list[Record]:
    return [Asked("a", 1, 0, 10, expires_at_ms=1000), Acknowledged("a", 1, "created", 11), *records]


def test_what_has_begun_does_not_expire() -> None:
    expired = Listed({"a": 1}, {"a"}, expired={"a"})
    assert kinds(expiring(), expired) == []
    assert kinds(expiring(started(1, 20, wall_at_ms=999), *reported(1, 30))) == []
    assert kinds(expiring(started(1, 20, wall_at_ms=999)), expired) == ["begun, expired"]
    told = [started(1, 20, wall_at_ms=999), Told("a", "expired", 25), *reported(1, 30)]
    assert kinds(expiring(*told)) == ["begun, expired"]


def test_what_has_expired_does_not_begin() -> None:
    begun_ns = 5_000_000_000
    run = Started("a", 1, "1-7-1", 0, 2000, begun_ns)
    end = reported(1, begun_ns + 1, handle="1-7-1")
    expired_ns = begun_ns - 1_000_000_000 + A_STEP_NS

    def beside(handle: str, asked_ns: int) -> list[Record]:
        ended = Reported("b", 1, handle, "done", 0, None, begun_ns + 1)
        return [Asked("b", 1, 0, asked_ns), Started("b", 1, handle, 0, 2000, begun_ns), ended]

    assert kinds(expiring(run, *end)) == [], "it lay in its worker's hands"
    assert kinds(expiring(run, *end, *beside("1-6-2", expired_ns))) == []
    assert kinds(expiring(run, *end, *beside("1-6-2", expired_ns + 1))) == ["expired, runs"]
    assert kinds(expiring(run, *end, *beside("1-8-2", expired_ns + 1))) == []
    again = replace(run, attempt=2)
    assert kinds(expiring(again, *end, *beside("1-6-2", expired_ns + 1))) == [], "it had begun before"


def test_early() -> None:
    ended = reported(1, 30)
    assert kinds([*submitted(1, 10), started(1, 20, due_at_ms=1000, wall_at_ms=1000), *ended]) == []
    assert kinds([*submitted(1, 10), started(1, 20, due_at_ms=1001, wall_at_ms=1000), *ended]) == ["early"]
    assert kinds([*submitted(1, 10, not_before_at_ms=1001), started(1, 20, wall_at_ms=1000), *ended]) == ["early"]


def test_a_delay_that_was_answered_holds() -> None:
    first = [*submitted(1, 10), started(1, 20), *reported(1, 30, "again", not_before_at_ms=2000)]
    end = reported(1, 50, handle="1-2-1")
    assert kinds([*first, started(1, 40, "1-2-1", wall_at_ms=2000), *end]) == []
    assert kinds([*first, started(1, 40, "1-2-1", wall_at_ms=1999), *end]) == ["early"]


def test_a_batch_is_whole() -> None:
    asked: list[Record] = [BatchAsked("g", 1, 10), BatchAcknowledged("g", 1, 11), BatchAsked("g", 2, 20)]
    assert kinds(asked, Listed(batches={"g": [1] * BATCH_JOBS})) == []
    assert kinds(asked, Listed(batches={"g": [2] * BATCH_JOBS})) == []
    for wrong in ([1] * (BATCH_JOBS - 1), [1] * (BATCH_JOBS - 1) + [2], [0] * BATCH_JOBS, [3] * BATCH_JOBS, []):
        assert kinds(asked, Listed(batches={"g": wrong})) == ["torn batch"]


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = RecordFile(tmp_path, "client")
    written = [*submitted(1, 10), started(1, 20), *reported(1, 30), RemoveAsked("a", 40), Removed("a", 50)]
    for record in written:
        records.write(record)
    (path,) = tmp_path.glob("*.records")
    with path.open("a") as file:
        file.write('["Started", {"na')
    assert list(read(tmp_path)) == written


def test_what_was_set_of_a_function_is_there_and_what_was_asked_last_may_be() -> None:
    records: list[Record] = [SettingAsked("f", 1, 10), SettingAcknowledged("f", 1, 11), SettingAsked("f", 2, 12)]
    assert [kinds(records, Listed(settings={"f": there})) for there in (1, 2)] == [[], []]
    assert [kinds(records, Listed(settings={"f": there})) for there in (0, 3)] == [["not set"], ["not set"]]
    assert kinds(records) == ["not set"]


def of_lock(lock: int, number: int, *records: Record) -> list[Record]:
    name = name_of_locked("c", lock, number)
    return [replace(each, name=name) if isinstance(each, Started | Reported) else each for each in records]


def held_twice(*records: Record) -> bool:
    return "held twice" in kinds(list(records))


def test_who_begins_while_another_holds_the_lock_is_found_if_that_one_s_end_counted() -> None:
    first = of_lock(0, 1, started(1, 20), *reported(1, 60))
    assert not held_twice(*first, *of_lock(0, 2, started(1, 61, "1-2-2"))), "it came free"
    assert held_twice(*first, *of_lock(0, 2, started(1, 40, "1-2-2")))
    assert held_twice(*first, *of_lock(0, 2, started(1, 10, "1-2-2"))), "the first lay in its worker's hands"
    assert held_twice(*first, *of_lock(0, 2, started(1, 40, "2-1-2"))), "after a restart as well"
    assert held_twice(*first, *of_lock(0, 1, started(1, 40, "1-2-1"))), "of the same job as well"
    short = of_lock(0, 3, started(1, 30, "1-2-3"), *reported(1, 35, handle="1-2-3"))
    assert held_twice(*first, *short, *of_lock(0, 2, started(1, 40, "1-3-2")))
    assert not held_twice(*first, *of_lock(1, 2, started(1, 40, "1-2-2"))), "another lock"


def test_of_a_run_that_was_forgotten_or_did_not_end_nothing_is_certain() -> None:
    other = of_lock(0, 2, started(1, 40, "1-2-2"))
    assert not held_twice(*of_lock(0, 1, started(1, 20)), *other)
    unanswered = of_lock(0, 1, started(1, 20), Reported("a", 1, "1-1-1", "done", 0, None, 60))
    assert not held_twice(*unanswered, *other)
    assert not held_twice(*unanswered, Refused("1-1-1", 61), *other)
    late = of_lock(0, 2, started(1, 40, "0-9-2"))
    first = of_lock(0, 1, started(1, 20), *reported(1, 60))
    assert not held_twice(*first, *late), "it was given out before, and lost"


TOLD = {"members": 2, "done": 1, "dead": 1, "removed": 0, "cancelled": 0, "expired": 0}


def member(number: int, end: str, at_ns: int) -> list[Record]:
    name, handle = name_of_member("a", number), f"1-{number}-{number}"
    return [
        Asked(name, 1, 0, 10), Started(name, 1, handle, 0, 1000, 20),
        Reported(name, 1, handle, end, 0, None, at_ns), Answered(handle, at_ns + 1),
    ]  # fmt: skip


def of_group(told: dict[str, int], begun_ns: int) -> list[Record]:
    """A group of two jobs, of which one dies, and its own job."""
    then = [Started("a", 1, "1-9-9", 0, 1000, begun_ns, told), *reported(1, 90, handle="1-9-9")]
    return [GroupAsked("a", 2, 0, 1, 10), *submitted(1, 11), *member(0, "dead", 30), *member(1, "done", 40), *then]


def test_a_group_s_job_runs_when_its_members_have_ended_and_is_told_how() -> None:
    assert kinds(of_group(TOLD, 50)) == []
    assert kinds(of_group(TOLD, 39)) == ["finished early"]
    assert kinds(of_group(TOLD | {"done": 2, "dead": 0}, 50)) == ["miscounted"]
    again = Started("a", 1, "1-10-9", 0, 1000, 100, TOLD)
    assert kinds([*of_group(TOLD, 50), again]) == ["run again"]


def test_a_group_s_job_that_is_parked_in_the_end_was_forgotten() -> None:
    records: list[Record] = [GroupAsked("a", 0, 0, 0, 10), *submitted(1, 11)]
    assert kinds(records, Listed({"a": 1}, parked={"a"})) == ["never finished"]
