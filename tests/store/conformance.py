"""What every store must do, one promise a test: ``test_memory.py`` and ``test_sqlite.py`` run them on their store."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from periodicd.calendar import Recurrence
from periodicd.function import Function, Rate
from periodicd.job import Broadcast, Error, Job, State
from periodicd.lock import Lock
from periodicd.retry import Retry
from periodicd.schedule import Schedule
from periodicd.store import Store, ops, order, room
from periodicd.store.ops import Key, Op

RETRY = Retry(limit=16, backoff="quadratic", jitter_percent=10)


def job(job_id: int, name: str = "a", func: str = "f", **fields: Any) -> Job:
    workload = fields.pop("workload", b"w")
    return Job(job_id, func, name, fields.pop("due_at_ms", 100), 50, workload, len(workload), **fields)


def end(job_id: int, handle: str | None = None, *follow_ons: ops.Put) -> ops.End:
    return ops.End(job_id, handle, 250, follow_ons)


def delete(job_id: int) -> ops.Delete:
    return ops.Delete(end(job_id))


def release(job_id: int) -> ops.Release:
    return ops.Release(end(job_id), 200, "1-1-1", ops.History(1))


def bury(job_id: int, ended_at_ms: int = 300) -> ops.Bury:
    return ops.Bury(end(job_id), ended_at_ms, "1-1-1", ops.History(1, 1, reason="broken"))


def remove(name: str = "a", job_id: int | None = None) -> ops.Remove:
    return ops.Remove("f", name, 250, job_id)


EVERYTHING = ops.Count("", "", 1_000)


def ended_by(how: ops.Delete | ops.Release | ops.Bury, handle: str | None, *follow_ons: ops.Put) -> Op[ops.Ended]:
    return msgspec.structs.replace(how, end=end(how.end.id, handle, *follow_ons))


def claim(job_id: int) -> ops.Claim:
    return ops.Claim(job_id, f"1-{job_id}-{job_id}", 1, 9_000, 100)


@contextmanager
def short_turns() -> Iterator[None]:
    """Threads interrupt each other as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Conformance:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def do(self, store: Store, *asked: Op[Any]) -> Any:
        """Apply and commit; the answer to the last."""
        results = store.apply(list(asked))
        store.commit()
        assert len(results) == len(asked)
        return results[-1]

    def fetch(self, store: Store, job_id: int) -> Job:
        found = self.do(store, ops.Fetch(job_id))
        assert isinstance(found, Job)
        return found

    def count(self, store: Store, func: str = "f") -> ops.FunctionCount:
        counted = self.do(store, EVERYTHING)
        assert not counted.more
        return counted.functions.get(func, ops.FunctionCount())  # type: ignore[no-any-return]

    def test_a_job_comes_back_with_every_field(self, store: Store) -> None:
        put = job(
            7,
            "näme\x00",
            "fünc",
            workload=b"\x00\xff",
            due_at_ms=2**53,
            priority=-100,
            lease_ms=86_400_000,
            retry=RETRY,
            dated=True,
            headers={"ä": "ö", "": ""},
        )
        assert self.do(store, ops.Put(put)) == ops.PutResult("created", 7)
        assert self.fetch(store, 7) == put
        assert self.do(store, ops.Get("fünc", "näme\x00")) == ops.GetResult("found", ops.Shown(put, False))
        self.do(store, ops.Claim(7, "2-3-7", 1, 9_000, 100))
        assert self.fetch(store, 7) == replace(
            put, state=State.RUNNING, handle="2-3-7", attempt=1, lease_until_at_ms=9_000, started_at_ms=100
        )
        self.do(
            store,
            ops.Release(end(7), 2**53 + 1, "2-3-7", ops.History(1, 2, 3, 4, True, "why", (Error(1, 5, "why"),), 150)),
        )
        released = replace(
            put, due_at_ms=2**53 + 1, handle="2-3-7", attempt=1, failures=2, crashes=3, restarts=4, suspect=True,
            reason="why", dated=False, errors=(Error(1, 5, "why"),), started_at_ms=150,
        )  # fmt: skip
        assert self.fetch(store, 7) == released
        self.do(store, ops.Bury(end(7), 400, "2-4-7", ops.History(2, 3, 3, 5, True, "ende", (), 160)))
        assert self.fetch(store, 7) == replace(
            released, state=State.DEAD, handle="2-4-7", attempt=2, failures=3, restarts=5, reason="ende",
            ended_at_ms=400, errors=(), started_at_ms=160,
        )  # fmt: skip

    @pytest.mark.parametrize("size", [0, 1, 4096, 4097, 100_000])
    def test_a_workload_of_any_size_follows_its_job(self, store: Store, size: int) -> None:
        workload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        self.do(store, ops.Put(job(1, workload=workload)))
        assert self.fetch(store, 1).workload == workload
        self.do(store, ops.Put(job(2, workload=workload + b"2")))
        assert self.fetch(store, 2).workload == workload + b"2"
        self.do(store, claim(2), bury(2), ops.Requeue("f", "a", 3, 500))
        assert self.fetch(store, 3).workload == workload + b"2"
        page = self.do(store, ops.Page("f", 0, None, 10, 4096, 10**6))
        assert page.jobs[0].workload == (workload + b"2" if size + 1 <= 4096 else None)
        self.do(store, delete(3))
        assert self.do(store, ops.Fetch(3)) is None

    def test_put_says_what_was_there(self, store: Store) -> None:
        assert self.do(store, ops.Put(job(1))) == ops.PutResult("created", 1)
        assert self.do(store, ops.Put(job(2), "keep")) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(job(2), "keep_live")) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(job(2), "refuse")) == ops.PutResult("refused", 1)
        assert self.do(store, ops.Put(job(3))) == ops.PutResult("replaced", 3, 1)
        assert self.do(store, ops.Fetch(1)) is None
        self.do(store, claim(3))
        assert self.do(store, ops.Put(job(4))) == ops.PutResult("queued_behind", 4)
        assert self.do(store, ops.Put(job(5))) == ops.PutResult("queued_behind", 5, 4)
        assert self.do(store, ops.Put(job(6), "keep_live")) == ops.PutResult("kept", 3)
        assert self.do(store, ops.Fetch(4)) is None
        assert self.fetch(store, 5).state is State.BEHIND
        front = self.do(store, ops.Get("f", "a"))
        assert (front.shown.job.id, front.shown.behind) == (3, True)
        behind = self.do(store, ops.Get("f", "a", 5, workload=False))
        assert (behind.shown.job.id, behind.shown.job.workload, behind.shown.behind) == (5, None, False)
        assert self.do(store, ops.Get("f", "a", 4)) == ops.GetResult("changed")
        assert self.do(store, ops.Get("f", "b", 4)) == ops.GetResult("absent")

    def test_put_supersedes_the_dead(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), bury(1))
        assert self.do(store, ops.Put(job(2), "keep")) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(job(2), "refuse")) == ops.PutResult("refused", 1)
        assert self.do(store, ops.Put(job(2), "keep_live")) == ops.PutResult("created", 2, 1)
        self.do(store, claim(2), bury(2))
        assert self.do(store, ops.Put(job(3))) == ops.PutResult("created", 3, 2)
        assert self.do(store, ops.Fetch(2)) is None
        assert self.count(store) == ops.FunctionCount(1, 0, 0, 100)

    def test_ops_of_one_step_see_each_other(self, store: Store) -> None:
        results = store.apply([ops.Put(job(1)), ops.Put(job(2)), delete(2), ops.Put(job(3)), ops.Fetch(3)])
        assert [type(result).__name__ for result in results] == ["PutResult", "PutResult", "Ended", "PutResult", "Job"]
        assert results[3] == ops.PutResult("created", 3)

    def test_a_claim_is_granted_once(self, store: Store) -> None:
        self.do(store, claim(1))
        self.do(store, ops.Put(job(1)), claim(1))
        first = self.fetch(store, 1)
        self.do(store, ops.Claim(1, "another", 9, 9, 8))
        assert self.fetch(store, 1) == first
        assert self.do(store, ops.Extend(1, 10_000)) is True
        assert self.fetch(store, 1).lease_until_at_ms == 10_000
        self.do(store, release(1))
        assert self.do(store, ops.Extend(1, 11_000)) is False

    def kept(self, job_id: int = 1, until_at_ms: int = 500, data: bytes = b"result") -> ops.Kept:
        return ops.Kept("f", "a", ops.JobEnd(job_id, "done", 250, 1, None, data, len(data)), until_at_ms)

    def last(self, store: Store, at_ms: int = 0, job_id: int | None = None) -> ops.JobEnd | None:
        found: ops.GetResult = self.do(store, ops.Get("f", "a", job_id, at_ms=at_ms, data=True))
        return found.last

    def end_kept(self, store: Store, job_id: int, until_at_ms: int = 500, data: bytes = b"result") -> None:
        kept = self.kept(job_id, until_at_ms, data)
        self.do(store, ops.Put(job(job_id)), ops.Delete(msgspec.structs.replace(end(job_id), kept=kept)))

    def test_an_ending_is_kept_until_its_time_is_over(self, store: Store) -> None:
        assert self.last(store) is None
        self.end_kept(store, 1)
        assert self.last(store, 499) == self.kept().end
        assert self.last(store, 500) is None
        assert self.do(store, ops.FetchEnd(1)) == self.kept().end
        without_data = self.kept().end._replace(data=None)
        assert self.do(store, ops.Get("f", "a")) == ops.GetResult("absent", None, without_data)

    def test_the_newest_ending_is_the_last_and_one_is_found_by_its_id(self, store: Store) -> None:
        self.end_kept(store, 1)
        self.end_kept(store, 2)
        self.do(store, ops.Put(job(3)))
        assert self.last(store) == self.kept(2).end
        assert self.last(store, job_id=1) == self.kept(1).end
        assert self.last(store, job_id=9) == self.kept(2).end

    def test_an_end_of_a_run_that_is_not_found_keeps_nothing(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Delete(ops.End(1, "another", 250, (), self.kept())))
        assert self.last(store) is None

    def test_a_job_that_waits_again_has_not_ended_unless_another_takes_its_place(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1))
        again = ended_by(release(1), "1-1-1")
        again = msgspec.structs.replace(again, end=msgspec.structs.replace(end(1), kept=self.kept()))
        self.do(store, again)
        assert self.last(store) is None
        self.do(store, claim(1), ops.Put(job(2)), again)
        assert self.last(store) == self.kept().end

    def test_whatever_takes_a_record_away_keeps_its_ending_if_that_was_asked_for(self, store: Store) -> None:
        for number, (ask, ending) in enumerate(
            [
                (ops.Put(job(90)), "replaced"),
                (remove(), "removed"),
                (ops.Cancel("f", "a", 250, "why"), "cancelled"),
            ],
            1,
        ):
            self.do(store, ops.Put(job(number, result_ms=1_000)), ask)
            last = self.last(store, job_id=number)
            assert last is not None
            assert (last.id, last.ending, last.data_bytes) == (number, ending, 0)
            self.do(store, remove())
        self.do(store, ops.Put(job(10)), remove())
        assert self.do(store, ops.FetchEnd(10)) is None

    @pytest.mark.parametrize(
        "goes",
        [ops.Put(job(2)), remove(), ops.Requeue("f", "a", 2, 500), ops.Purge(300, 0, 10)],
        ids=lambda op: type(op).__name__,
    )
    def test_how_a_dead_job_ended_is_kept_when_its_record_goes(self, store: Store, goes: Op[Any]) -> None:
        died = self.kept()._replace(end=ops.JobEnd(1, "dead", 250, 1, "broken"))
        buried = msgspec.structs.replace(bury(1), end=msgspec.structs.replace(end(1), kept=died))
        self.do(store, ops.Put(job(1, result_ms=1_000)), claim(1), buried, goes)
        assert self.do(store, ops.Fetch(1)) is None
        assert self.last(store, job_id=1) == died.end

    def test_keep_keeps_a_remembered_ending_too(self, store: Store) -> None:
        self.end_kept(store, 1)
        again = job(2)
        again.submitted_at_ms = 499
        assert self.do(store, ops.Put(again, "keep")) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(again, "keep_live")) == ops.PutResult("created", 2)
        assert self.do(store, ops.Put(job(3), "keep")) == ops.PutResult("kept", 2)
        self.do(store, remove())
        later = job(4)
        later.submitted_at_ms = 500
        assert self.do(store, ops.Put(later, "keep")) == ops.PutResult("created", 4)

    def test_endings_past_their_budget_are_forgotten_those_that_end_soonest_first(self, store: Store) -> None:
        for number, until_at_ms in enumerate((900, 300, 600), 1):
            self.end_kept(store, number, until_at_ms, bytes(10))
        assert self.do(store, ops.Forget(299, 3, 30, 10)) == 0
        assert self.do(store, ops.Forget(299, 3, 29, 10)) == 1
        assert self.do(store, ops.FetchEnd(2)) is None
        assert self.do(store, ops.Forget(299, 1, 99, 10)) == 1
        assert self.do(store, ops.FetchEnd(3)) is None
        assert self.do(store, ops.Forget(900, 9, 99, 10)) == 1
        for number in (4, 5):
            self.end_kept(store, number)
        assert self.do(store, ops.Forget(500, 9, 99, 1)) == 1

    def test_cancel_takes_what_waits_and_marks_what_runs(self, store: Store) -> None:
        cancel = ops.Cancel("f", "a", 250, "why")
        assert self.do(store, cancel) == ops.CancelResult("absent")
        self.do(store, ops.Put(job(1)))
        assert self.do(store, cancel) == ops.CancelResult("cancelled", (1,))
        self.do(store, ops.Put(job(2)), claim(2), ops.Put(job(3)))
        assert self.do(store, cancel) == ops.CancelResult("asked", (3,), 2)
        assert self.fetch(store, 2).cancelled == "why"
        assert self.count(store) == ops.FunctionCount(1, 0, 0, None)
        self.do(store, bury(2))
        assert self.do(store, cancel) == ops.CancelResult("not_live")

    def test_move_changes_when_and_in_which_lane_a_job_waits(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, dated=True)))
        result: ops.MoveResult = self.do(store, ops.Move("f", "a", None, False, 5))
        assert result == ops.MoveResult("moved", replace(job(1, priority=5, dated=True), workload=None))
        result = self.do(store, ops.Move("f", "a", 900, False, None, 1))
        assert result.job is not None
        assert (result.job.due_at_ms, result.job.dated) == (900, False)
        page: ops.PageResult = self.do(store, ops.Page("f", 5, None, 9, 9_999, 9_999))
        assert [each.id for each in page.jobs] == [1]
        self.do(store, claim(1))
        assert self.do(store, ops.Move("f", "a", 900, False, None)) == ops.MoveResult("not_waiting")

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_a_run_s_end_hands_over_to_the_job_behind(self, store: Store, how: Any) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2, due_at_ms=700, priority=4)))
        ended = self.do(store, how)
        assert ended.found
        assert ended.behind == replace(job(2, due_at_ms=700, priority=4), workload=None)
        assert self.do(store, ops.Fetch(1)) is None
        assert self.fetch(store, 2).state is State.WAITING
        assert self.do(store, ops.Get("f", "a")).shown.behind is False
        assert self.count(store) == ops.FunctionCount(1, 0, 0, 700)

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_the_end_of_a_job_that_is_gone_is_not_found(self, store: Store, how: Any) -> None:
        assert self.do(store, how) == ops.Ended(False)

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_a_run_may_end_before_its_claim_was_written(self, store: Store, how: Any) -> None:
        self.do(store, ops.Put(job(1)))
        assert self.do(store, how) == ops.Ended(True)

    def test_remove_takes_any_state_and_what_is_behind(self, store: Store) -> None:
        assert self.do(store, remove()) == ops.RemoveResult("absent")
        self.do(store, ops.Put(job(1)))
        assert self.do(store, remove()) == ops.RemoveResult("removed", (1,))
        self.do(store, ops.Put(job(2)), claim(2), ops.Put(job(3)))
        assert self.do(store, remove()) == ops.RemoveResult("removed", (3, 2))
        self.do(store, ops.Put(job(4)), bury(4))
        assert self.do(store, remove()) == ops.RemoveResult("removed", (4,))
        assert self.count(store) == ops.FunctionCount()
        assert store.list_jobs(ops.Listing()).jobs == []

    def test_remove_by_id_takes_that_one_only(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2)), ops.Put(job(3, due_at_ms=900)))
        assert self.do(store, remove(job_id=2)) == ops.RemoveResult("changed")
        assert self.do(store, remove("b", 2)) == ops.RemoveResult("absent")
        assert self.count(store) == ops.FunctionCount(2, 1, 0, None)
        waits = replace(job(3, due_at_ms=900), workload=None)
        assert self.do(store, remove(job_id=1)) == ops.RemoveResult("removed", (1,), waits)
        assert self.count(store) == ops.FunctionCount(1, 0, 0, 900)
        self.do(store, claim(3), ops.Put(job(4)))
        assert self.do(store, remove(job_id=4)) == ops.RemoveResult("removed", (4,))
        assert self.fetch(store, 3).state is State.RUNNING
        assert self.do(store, remove(job_id=3)) == ops.RemoveResult("removed", (3,))
        assert self.count(store) == ops.FunctionCount()

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_an_end_that_speaks_for_another_run_is_not_found_and_leaves_nothing(self, store: Store, how: Any) -> None:
        follow_on = ops.Put(job(9, "next", "g"))
        for behind in (False, True):
            self.do(store, ops.Put(job(1)), claim(1))
            if behind:
                self.do(store, ops.Put(job(2)))
            assert self.do(store, ended_by(how, "1-7-1", follow_on)) == ops.Ended(False)
            assert self.fetch(store, 1).state is State.RUNNING
            assert self.do(store, ops.Fetch(9)) is None
            assert self.do(store, ended_by(how, "1-1-1")).found
            self.do(store, remove())

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_follow_ons_are_put_with_the_end(self, store: Store, how: Any) -> None:
        self.do(store, ops.Put(job(1)), claim(1))
        asked = ended_by(how, "1-1-1", ops.Put(job(8, "x", "g")), ops.Put(job(9, "x", "g"), "keep"), ops.Put(job(10)))
        ended = self.do(store, asked)
        # The run's own record is gone, waits or is dead when its own name is put.
        of_own_name: ops.PutResult = {
            ops.Delete: ops.PutResult("created", 10),
            ops.Release: ops.PutResult("replaced", 10, 1),
            ops.Bury: ops.PutResult("created", 10, 1),
        }[type(how)]  # type: ignore[index]
        assert ended == ops.Ended(True, None, (ops.PutResult("created", 8), ops.PutResult("kept", 8), of_own_name))
        assert self.fetch(store, 10).state is State.WAITING
        assert self.count(store) == ops.FunctionCount(1, 0, 0, 100)

    @pytest.mark.parametrize("how", [delete(1), release(1), bury(1)])
    def test_a_follow_on_of_the_run_s_name_gives_way_to_the_job_behind(self, store: Store, how: Any) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2)))
        ended = self.do(store, ended_by(how, "1-1-1", ops.Put(job(8)), ops.Put(job(9, "x"))))
        assert ended.behind.id == 2
        assert ended.follow_ons == (None, ops.PutResult("created", 9))
        assert self.do(store, ops.Fetch(8)) is None
        assert self.count(store) == ops.FunctionCount(2, 0, 0, 100)

    def test_what_takes_a_place_is_due_at_the_earliest_when_it_takes_it(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2, due_at_ms=100)))
        assert self.do(store, delete(1)).behind.due_at_ms == 250
        assert self.fetch(store, 2).due_at_ms == 250

    def test_a_shift_moves_what_waits_for_no_date(self, store: Store) -> None:
        self.do(store, *(ops.Put(job(number, name, due_at_ms=5_000)) for number, name in enumerate("abcd", 1)))
        self.do(store, ops.Put(job(5, "dated", due_at_ms=5_000, dated=True)))
        self.do(store, ops.Put(job(6, "behind a date", due_at_ms=5_000, dated=True)), claim(6), release(6))
        self.do(store, claim(2), claim(3), bury(3), claim(4), ops.Put(job(7, "d", due_at_ms=6_000)))
        assert self.do(store, ops.Shift(1_500)) is None
        due = {number: self.fetch(store, number).due_at_ms for number in range(1, 8)}
        assert due == {1: 3_500, 2: 5_000, 3: 5_000, 4: 5_000, 5: 5_000, 6: 0, 7: 4_500}, "6 waits by its release"

    def test_who_takes_a_place_after_its_date_waits_for_it_no_more(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2, due_at_ms=200, dated=True)))
        assert not self.do(store, delete(1)).behind.dated
        self.do(store, ops.Put(job(3, "b")), claim(3), ops.Put(job(4, "b", due_at_ms=700, dated=True)))
        assert self.do(store, delete(3)).behind.dated
        self.do(store, claim(4), bury(4), ops.Requeue("f", "b", 5, 800))
        assert not self.fetch(store, 5).dated

    def test_requeue_starts_the_dead_anew(self, store: Store) -> None:
        assert self.do(store, ops.Requeue("f", "a", 2, 500)) == ops.RequeueResult("absent")
        self.do(store, ops.Put(job(1, priority=3, retry=RETRY, workload=b"x" * 9_000)))
        assert self.do(store, ops.Requeue("f", "a", 2, 500)) == ops.RequeueResult("not_dead")
        self.do(store, bury(1))
        assert self.do(store, ops.Requeue("f", "a", 2, 500, 7)) == ops.RequeueResult("changed")
        fresh = job(3, priority=3, retry=RETRY, workload=b"x" * 9_000, due_at_ms=500)
        assert self.do(store, ops.Requeue("f", "a", 3, 500)) == ops.RequeueResult(
            "requeued", replace(fresh, workload=None), 1
        )
        assert self.fetch(store, 3) == fresh
        assert self.count(store) == ops.FunctionCount(1, 0, 0, 500)

    def test_pages_are_in_order_and_say_whether_there_is_more(self, store: Store) -> None:
        for job_id, due_at_ms in ((1, 30), (2, 10), (3, 20), (4, 10), (5, 40)):
            self.do(store, ops.Put(job(job_id, str(job_id), due_at_ms=due_at_ms)))
        self.do(store, ops.Put(job(6, "6", priority=1)), ops.Put(job(7, "7", "g")), claim(1))
        first = self.do(store, ops.Page("f", 0, None, 2, 4096, 10**6))
        assert ([found.id for found in first.jobs], first.more) == ([2, 4], True)
        second = self.do(store, ops.Page("f", 0, Key(10, 4), 2, 4096, 10**6))
        assert ([found.id for found in second.jobs], second.more) == ([3, 5], False)
        assert self.do(store, ops.Lanes("f")) == [0, 1]
        assert self.do(store, ops.Lanes("nobody")) == []

    def test_a_page_ends_early_when_its_workloads_are_large_but_not_before_its_first(self, store: Store) -> None:
        for job_id in range(1, 6):
            self.do(store, ops.Put(job(job_id, str(job_id), workload=b"x" * 3_000)))
        page = self.do(store, ops.Page("f", 0, None, 10, 4096, 5_000))
        assert ([found.id for found in page.jobs], page.more) == ([1, 2], True)
        page = self.do(store, ops.Page("f", 0, None, 10, 4096, 0))
        assert ([found.id for found in page.jobs], page.more) == ([1], True)

    def test_count_tells_live_dead_and_the_earliest_due(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, "1", due_at_ms=30)), ops.Put(job(2, "2", due_at_ms=20, priority=7)))
        self.do(store, ops.Put(job(3, "3", due_at_ms=1)), claim(3), ops.Put(job(4, "3", due_at_ms=0)))
        self.do(store, ops.Put(job(5, "5", due_at_ms=2)), bury(5))
        assert self.count(store) == ops.FunctionCount(4, 1, 1, 20)
        self.do(store, delete(5))
        assert self.count(store) == ops.FunctionCount(4, 1, 0, 20)

    def test_listings_filter_and_page_by_id(self, store: Store) -> None:
        for job_id in range(1, 8):
            self.do(store, ops.Put(job(job_id, str(job_id), "f" if job_id % 2 else "g")))
        self.do(store, claim(1), bury(3))
        assert [found.job.id for found in store.list_jobs(ops.Listing()).jobs] == [1, 2, 3, 4, 5, 6, 7]
        first = store.list_jobs(ops.Listing("f", limit=2))
        assert ([found.job.id for found in first.jobs], first.next) == ([1, 3], ops.Place(3))
        second = store.list_jobs(ops.Listing("f", limit=5, after=ops.Place(3)))
        assert ([found.job.id for found in second.jobs], second.next) == ([5, 7], None)
        assert [found.job.id for found in store.list_jobs(ops.Listing(state=State.DEAD)).jobs] == [3]
        assert [found.job.id for found in store.list_jobs(ops.Listing("f", State.RUNNING)).jobs] == [1]
        assert all(found.job.workload is None for found in store.list_jobs(ops.Listing()).jobs)

    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            ({"prefix": "a"}, [1, 2, 5, 6]),
            ({"prefix": "ab"}, [2]),
            ({"prefix": "A"}, []),
            ({"prefix": "%"}, []),
            ({"func": "f", "prefix": "a"}, [2, 1]),
            ({"func": "f", "prefix": "a", "state": State.BEHIND}, []),
            ({"func": "g", "prefix": "a", "state": State.BEHIND}, [6]),
            ({"func": "g", "prefix": "a", "state": State.RUNNING}, [5]),
            ({"func": "g", "prefix": "a"}, [5, 6]),
            ({"due_from_at_ms": 30}, [3, 4, 5, 6]),
            ({"due_before_at_ms": 30}, [1, 2]),
            ({"due_from_at_ms": 20, "due_before_at_ms": 40}, [2, 3]),
            ({"reason": "roke"}, [4]),
            ({"reason": "Broken"}, []),
            ({"reason": "broken", "func": "f"}, [4]),
            ({"before_id": 3}, [1, 2]),
            ({"before_id": 3, "func": "f", "prefix": "a"}, [2, 1]),
            ({"state": State.DEAD, "before_id": 4}, []),
        ],
    )
    def test_a_listing_means_what_all_of_it_applies_to(
        self, store: Store, query: dict[str, Any], ids: list[int]
    ) -> None:
        for job_id, (func, name) in enumerate([("f", "aä"), ("f", "ab"), ("f", "ä"), ("f", "b"), ("g", "a")], 1):
            self.do(store, ops.Put(job(job_id, name, func, due_at_ms=10 * job_id)))
        self.do(store, bury(4), claim(5), ops.Put(job(6, "a", "g", due_at_ms=60)))
        assert [found.job.id for found in store.list_jobs(ops.Listing(**query)).jobs] == ids
        listed, after = [], None
        while True:
            page = store.list_jobs(ops.Listing(**query, limit=1, after=after))
            listed += [found.job.id for found in page.jobs]
            if page.next is None:
                break
            after = page.next
        assert listed == ids, "in pages"
        assert store.list_jobs(ops.Listing(**query, only_count=True)) == ops.ListingResult([], None, len(ids))

    @pytest.mark.parametrize(
        "name", ["\0", "a\0b", "a\nb", 'a"b\\', "ä", "\U0010ffff" * 63, "%_", "\x1f\x7f", "\ud7ff\ue000"]
    )
    def test_names_of_all_kinds_are_listed_as_they_are(self, store: Store, name: str) -> None:
        self.do(store, ops.Put(job(1, name, headers={name: name})), bury(1))
        self.do(store, ops.Put(job(2, "other")))
        for query in (ops.Listing("f", prefix=name), ops.Listing(prefix=name), ops.Listing("f", prefix=name[:1])):
            (found,) = (shown.job for shown in store.list_jobs(query).jobs if shown.job.id == 1)
            assert (found.name, found.headers) == (name, {name: name})
            assert len(store.list_jobs(query).jobs) == 1

    def test_what_is_removed_is_in_the_state_that_was_asked_for(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2)))
        for job_id, state in ((1, State.RUNNING), (2, State.BEHIND)):
            for other in State:
                if other is not state:
                    assert self.do(store, ops.Remove("f", "a", 250, job_id, other)) == ops.RemoveResult("changed")
        assert self.do(store, ops.Remove("f", "a", 250, 2, State.BEHIND)) == ops.RemoveResult("removed", (2,))
        assert self.do(store, ops.Remove("f", "a", 250, 1, State.RUNNING)) == ops.RemoveResult("removed", (1,))

    def test_a_listing_beside_changes_sees_each_whole(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)))
        found: set[tuple[int, State, int]] = set()
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                jobs = store.list_jobs(ops.Listing()).jobs
                found.update((len(jobs), one.job.state, one.job.attempt) for one in jobs)

        with ThreadPoolExecutor() as threads, short_turns():
            looking = threads.submit(look)
            for job_id in range(1, 1_000):
                self.do(store, claim(job_id))
                self.do(store, ops.Put(job(job_id + 1)), delete(job_id))
            over.set()
            looking.result()
        assert found <= {(1, State.WAITING, 0), (1, State.RUNNING, 1)}

    def test_listings_show_who_has_a_job_behind(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2)), ops.Put(job(3, "b")), claim(3))
        listed = [(found.job.id, found.behind) for found in store.list_jobs(ops.Listing()).jobs]
        assert listed == [(1, True), (2, False), (3, False)]

    def test_counts_come_in_pages_by_name(self, store: Store) -> None:
        for job_id, func in enumerate(("b", "a", "ab", "ba", "ä"), 1):
            self.do(store, ops.Put(job(job_id, func=func)))
        for query, funcs, more in (
            (("", "", 2), ["a", "ab"], True),
            (("", "ab", 9), ["b", "ba", "ä"], False),
            (("a", "", 9), ["a", "ab"], False),
            (("b", "b", 9), ["ba"], False),
            (("x", "", 9), [], False),
        ):
            counted = self.do(store, ops.Count(*query))
            assert (list(counted.functions), counted.more) == (funcs, more)

    def test_room_tells_of_the_endings_that_are_kept(self, store: Store) -> None:
        assert self.do(store, room.Room())[:2] == (0, 0)
        for job_id in (1, 2):
            last = ops.JobEnd(job_id, "done", 250, 1, None, b"abc", 3)
            ended = ops.Delete(ops.End(job_id, None, 250, kept=ops.Kept("f", "a", last, 300 * job_id)))
            self.do(store, ops.Put(job(job_id)), claim(job_id), ended)
        assert self.do(store, room.Room())[:2] == (2, 6)
        assert self.do(store, ops.Forget(300, 9, 100, 9)) == 1
        assert self.do(store, room.Room())[:2] == (1, 3)

    def test_boots_count_and_tell_who_runs(self, store: Store) -> None:
        assert self.do(store, ops.Boot()) == ops.BootResult(1, 1, [])
        self.do(store, ops.Reserve(1_000_001), ops.Put(job(2, "2")), ops.Put(job(1, "1")), claim(2), claim(1))
        boot = self.do(store, ops.Boot())
        assert (boot.boot, boot.next_id) == (2, 1_000_001)
        assert [(found.id, found.handle, found.workload) for found in boot.running] == [
            (1, "1-1-1", None), (2, "1-2-2", None),
        ]  # fmt: skip

    def test_purge_forgets_the_old_and_the_many(self, store: Store) -> None:
        for job_id in range(1, 7):
            self.do(store, ops.Put(job(job_id, str(job_id))), bury(job_id, ended_at_ms=100 * job_id))
        assert self.do(store, ops.Purge(250, 3, 9)) == 3
        assert [found.job.id for found in store.list_jobs(ops.Listing()).jobs] == [4, 5, 6]
        assert self.do(store, ops.Purge(0, 3, 9)) == 0

    def test_values_are_copies(self, store: Store) -> None:
        put = job(1)
        self.do(store, ops.Put(put))
        put.workload, put.due_at_ms = None, 0
        found = self.fetch(store, 1)
        assert (found.workload, found.due_at_ms) == (b"w", 100)
        found.failures = 9
        assert self.fetch(store, 1).failures == 0

    # -- functions -----------------------------------------------------------------------------------------------------

    def test_what_is_set_of_functions_is_told_at_the_start(self, store: Store) -> None:
        set_ = Function(True, 3, Rate(2, 100), 9, 5_000, RETRY, 7, 2**62)
        self.do(store, order.SetFunction("f", set_), order.SetFunction("g", Function(paused=True)))
        assert self.do(store, ops.Boot()).functions == {"f": set_, "g": Function(paused=True)}
        self.do(store, order.SetFunction("f", Function(queue_max=1)), order.SetFunction("g", None))
        assert self.do(store, ops.Boot()).functions == {"f": Function(queue_max=1)}

    @pytest.mark.parametrize("existing", ["replace", "keep", "keep_live", "refuse"])
    def test_one_more_than_may_be_there_is_full(self, store: Store, existing: ops.Existing) -> None:
        self.do(store, ops.Put(job(1)), ops.Put(job(2, "b", "g")))
        assert self.do(store, ops.Put(job(3, "b"), existing, 1)) == ops.PutResult("full", 0)
        assert self.do(store, ops.Fetch(3)) is None
        assert self.count(store).live == 1
        assert self.do(store, ops.Put(job(4, "b"), existing, 2)) == ops.PutResult("created", 4)

    def test_full_is_only_who_would_be_one_more(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)))
        assert self.do(store, ops.Put(job(2), "keep", 1)) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(job(3), "keep_live", 1)) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Put(job(4), "refuse", 1)) == ops.PutResult("refused", 1)
        assert self.do(store, ops.Put(job(5), "replace", 1)) == ops.PutResult("replaced", 5, 1)
        self.do(store, claim(5))
        assert self.do(store, ops.Put(job(6), "replace", 1)) == ops.PutResult("full", 0)
        assert self.do(store, ops.Put(job(7), "replace", 2)) == ops.PutResult("queued_behind", 7)
        assert self.do(store, ops.Put(job(8), "replace", 2)) == ops.PutResult("queued_behind", 8, 7)

    @pytest.mark.parametrize("existing", ["replace", "keep_live"])
    def test_the_dead_do_not_count_but_who_takes_the_place_of_one_does(
        self, store: Store, existing: ops.Existing
    ) -> None:
        self.do(store, ops.Put(job(1)), claim(1), bury(1))
        assert self.do(store, ops.Put(job(2, "b"), existing, 1)) == ops.PutResult("created", 2)
        assert self.do(store, ops.Put(job(3), existing, 1)) == ops.PutResult("full", 0)
        assert self.fetch(store, 1).state is State.DEAD
        assert self.do(store, ops.Put(job(4), "keep", 1)) == ops.PutResult("kept", 1)

    # -- locks ---------------------------------------------------------------------------------------------------------

    def test_what_is_set_of_locks_is_told_at_the_start(self, store: Store) -> None:
        set_ = Lock(7, Rate(2, 100), 2**62)
        self.do(store, order.SetLock("k", set_), order.SetLock("l", Lock(2)))
        assert self.do(store, ops.Boot()).locks == {"k": set_, "l": Lock(2)}
        self.do(store, order.SetLock("k", Lock(3)), order.SetLock("l", None))
        assert self.do(store, ops.Boot()).locks == {"k": Lock(3)}

    def parked(self, store: Store, job_id: int, name: str, func: str = "f", **fields: Any) -> Job:
        put = job(job_id, name, func, **({"locks": {"k": 1}} | fields))
        self.do(store, order.SetLock("k", Lock(9)), order.SetLock("l", Lock(9)), ops.Put(put), order.Park(put))
        return self.fetch(store, job_id)

    def heads(self, store: Store, lock: str = "k") -> list[int]:
        return [each.id for each in self.do(store, order.Heads((lock,)))[lock]]

    def test_a_parked_job_stands_in_line_and_does_not_wait(self, store: Store) -> None:
        put = self.parked(store, 1, "a", locks={"k": 2, "l": 1}, priority=3)
        assert (put.state, put.locks) == (State.PARKED, {"k": 2, "l": 1})
        assert self.do(store, order.Heads(("k", "l", "m"))) == {
            "k": [order.InLine(3, 100, 1, "f", {"k": 2, "l": 1})],
            "l": [order.InLine(3, 100, 1, "f", {"k": 2, "l": 1})],
            "m": [],
        }
        assert self.do(store, ops.Boot()).lines == ("k", "l")
        assert self.do(store, ops.Page("f", 3, None, 9, 9, 9)).jobs == []
        assert self.count(store) == ops.FunctionCount(1, parked=1)
        assert self.do(store, order.LineLengths(("k", "m"), 2)) == {"k": 1, "m": 0}
        self.do(store, claim(1))
        assert self.fetch(store, 1).state is State.PARKED, "it is not given out from there"

    def test_only_what_waits_is_parked(self, store: Store) -> None:
        put = job(1, locks={"k": 1})
        self.do(store, order.Park(put), ops.Put(put), claim(1), order.Park(put))
        assert self.fetch(store, 1).state is State.RUNNING
        assert self.heads(store) == []

    def test_of_each_function_the_first_in_line_is_told(self, store: Store) -> None:
        self.parked(store, 1, "a", due_at_ms=90)
        self.parked(store, 2, "b", due_at_ms=80)
        self.parked(store, 3, "c", due_at_ms=99, priority=-1)
        self.parked(store, 4, "d", "g")
        assert self.heads(store) == [3, 4]
        assert self.do(store, order.LineLengths(("k",), 3)) == {"k": 3}, "four, and more than three are not counted"
        self.do(store, remove("c", 3))
        assert self.heads(store) == [2, 4]

    def test_who_wants_more_of_any_lock_than_there_is_is_passed_over(self, store: Store) -> None:
        self.parked(store, 1, "a", locks={"k": 1, "l": 5})
        self.parked(store, 2, "b", locks={"k": 3})
        for capacity, first in ((9, [1]), (5, [1]), (4, [2])):
            self.do(store, order.SetLock("l", Lock(capacity)))
            assert self.heads(store) == first
        self.do(store, order.SetLock("k", None))
        assert self.heads(store) == [], "of a lock that is not set there is one"

    def test_a_clock_that_was_stepped_back_moves_who_stands_in_line_but_for_dates(self, store: Store) -> None:
        self.parked(store, 1, "a", due_at_ms=90)
        self.parked(store, 2, "b", "g", due_at_ms=80, dated=True)
        self.do(store, ops.Shift(30))
        heads = self.do(store, order.Heads(("k",)))["k"]
        assert [(each.id, each.due_at_ms) for each in heads] == [(1, 60), (2, 80)]
        assert self.fetch(store, 1).due_at_ms == 60

    def test_a_job_that_is_parked_no_more_waits(self, store: Store) -> None:
        self.parked(store, 1, "a")
        unparked = self.do(store, order.Unpark(1, 90))
        assert (unparked.id, unparked.state, unparked.workload) == (1, State.WAITING, None)
        assert unparked.due_at_ms == 90, "it was due, whatever the clock says now"
        assert self.do(store, order.Unpark(1, 90)) is None
        assert self.do(store, order.Unpark(2, 90)) is None
        assert (self.heads(store), self.count(store).parked) == ([], 0)
        assert [each.id for each in self.do(store, ops.Page("f", 0, None, 9, 9, 9)).jobs] == [1]

    @pytest.mark.parametrize(
        "op",
        [
            remove(), ops.Cancel("f", "a", 250, ""), ops.Put(job(2)), ops.Move("f", "a", 300, True, None),
            delete(1), release(1), bury(1),
        ],
    )  # fmt: skip
    def test_whatever_becomes_of_it_it_has_left_the_line(self, store: Store, op: Op[Any]) -> None:
        self.parked(store, 1, "a", locks={"k": 1, "l": 1})
        self.do(store, op)
        assert (self.heads(store), self.heads(store, "l"), self.count(store).parked) == ([], [], 0)
        assert self.do(store, ops.Boot()).lines == ()
        assert set(self.do(store, order.Left())) == {"k", "l"}
        assert self.do(store, order.Left()) == (), "it is told once"

    def test_a_parked_job_that_is_moved_waits(self, store: Store) -> None:
        self.parked(store, 1, "a")
        moved = self.do(store, ops.Move("f", "a", 300, True, 2))
        assert (moved.result, moved.job.state, moved.job.due_at_ms) == ("moved", State.WAITING, 300)

    def test_a_job_that_waits_again_may_have_other_locks(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, locks={"k": 1})), claim(1))
        for said, kept in ((None, {"k": 1}), ({"l": 2}, {"l": 2}), ({}, None)):
            self.do(store, msgspec.structs.replace(release(1), locks=said))
            assert self.fetch(store, 1).locks == kept

    # -- groups --------------------------------------------------------------------------------------------------------

    def group(self, store: Store, *names: str, sealed: bool = True, **fields: Any) -> order.PutGroupResult:
        """That of the job 1, ``then``; the members are 2, 3, ..."""
        puts = tuple(ops.Put(job(number, name)) for number, name in enumerate(names, 2))
        result: order.PutGroupResult = self.do(store, order.PutGroup(ops.Put(job(1, "then", **fields)), puts, sealed))
        return result

    def figures(self, store: Store) -> ops.Group | None:
        found: ops.GetResult = self.do(store, ops.Get("f", "then", 1))
        return found.group

    def freed(self, store: Store) -> list[int]:
        return [each.id for each in self.do(store, order.Freed())]

    def test_a_group_s_job_is_parked_until_all_have_ended_and_is_told_how(self, store: Store) -> None:
        result = self.group(store, "a", "b", "c", "d", "e", headers={"x": "y"})
        assert (result.result, result.id, [put.id for put in result.jobs]) == ("created", 1, [2, 3, 4, 5, 6])
        assert self.fetch(store, 1).state is State.PARKED
        assert self.fetch(store, 2).group_id == 1
        assert self.figures(store) == ops.Group(True, 5, 5)
        assert self.count(store).parked == 1
        ends = (
            ops.Delete(msgspec.structs.replace(end(2), group_id=1)), ops.Bury(
                msgspec.structs.replace(end(3), group_id=1), 300, None, ops.History(1)
            ), remove("c"), ops.Cancel("f", "d", 250, ""),
        )  # fmt: skip
        self.do(store, *ends)
        assert self.figures(store) == ops.Group(True, 5, 1, 1, 1, 1, 1)
        assert self.freed(store) == []
        self.do(store, remove("b"))
        assert self.figures(store) == ops.Group(True, 5, 1, 1, 1, 1, 1), "who was dead has ended before"
        self.do(store, ops.Put(job(7, "e", due_at_ms=200)))
        assert self.figures(store) is None
        assert self.freed(store) == [1]
        assert self.freed(store) == [], "it is told once"
        then = self.fetch(store, 1)
        assert (then.state, then.due_at_ms) == (State.WAITING, 100)
        assert then.headers == {
            "x": "y", "group-members": "5", "group-done": "1", "group-dead": "1", "group-removed": "2",
            "group-cancelled": "1", "group-expired": "0",
        }  # fmt: skip
        assert self.count(store).parked == 0

    def test_a_group_without_members_has_finished(self, store: Store) -> None:
        self.group(store)
        assert (self.freed(store), self.fetch(store, 1).state) == ([1], State.WAITING)

    def test_a_group_s_job_is_due_when_it_goes_free_or_later(self, store: Store) -> None:
        for due_at_ms, wanted in ((10, 250), (900, 900)):
            self.group(store, "a", due_at_ms=due_at_ms, dated=True)
            self.do(store, ops.Delete(msgspec.structs.replace(end(2), group_id=1)))
            then = self.fetch(store, 1)
            assert (then.due_at_ms, then.dated) == (wanted, wanted == 900)
            self.do(store, remove("then"))

    def test_a_group_takes_jobs_until_it_is_sealed(self, store: Store) -> None:
        self.group(store, "a", sealed=False)
        self.do(store, ops.Delete(msgspec.structs.replace(end(2), group_id=1)))
        assert self.figures(store) == ops.Group(False, 1, 0, 1)
        more = order.PutGroup(ops.Put(job(3, "then")), (ops.Put(job(4, "b")),), True)
        assert self.do(store, more) == order.PutGroupResult("added", 1, None, (ops.PutResult("created", 4),))
        assert self.figures(store) == ops.Group(True, 2, 1, 1)
        again = order.PutGroup(ops.Put(job(5, "then")), (ops.Put(job(6, "c")),), True)
        assert self.do(store, again) == order.PutGroupResult("kept", 1)
        assert self.do(store, ops.Fetch(6)) is None

    def test_a_group_is_put_as_a_whole_or_not_at_all(self, store: Store) -> None:
        self.do(store, ops.Put(job(9, "there")))
        puts = tuple(ops.Put(job(number, name), queue_max=3) for number, name in ((2, "a"), (3, "b")))
        assert self.do(store, order.PutGroup(ops.Put(job(1, "then")), puts, True)) == order.PutGroupResult("full", 0)
        refused = order.PutGroup(ops.Put(job(1, "there"), "refuse"), (ops.Put(job(2)),), True)
        assert self.do(store, refused) == order.PutGroupResult("refused", 9)
        assert self.count(store).live == 1

    def test_a_group_behind_a_run_is_parked_when_it_takes_its_place(self, store: Store) -> None:
        self.do(store, ops.Put(job(9, "then")), claim(9))
        assert self.group(store, "a").result == "queued_behind"
        again = order.PutGroup(ops.Put(job(5, "then")), (), True)
        assert self.do(store, again) == order.PutGroupResult("kept", 1)
        assert self.do(store, delete(9)).behind.state is State.PARKED
        assert self.count(store) == ops.FunctionCount(2, 0, 0, 100, 1)
        self.do(store, remove("a"))
        assert self.freed(store) == [1]

    def test_a_group_that_finishes_behind_a_run_waits_when_it_takes_its_place(self, store: Store) -> None:
        self.do(store, ops.Put(job(9, "then")), claim(9))
        self.group(store, "a")
        self.do(store, remove("a"))
        assert (self.freed(store), self.fetch(store, 1).state) == ([], State.BEHIND)
        assert self.do(store, delete(9)).behind.state is State.WAITING

    def test_a_group_goes_with_its_job_and_its_members_stay(self, store: Store) -> None:
        for op in (remove("then"), ops.Cancel("f", "then", 250, ""), ops.Put(job(8, "then", due_at_ms=200))):
            self.group(store, "a")
            self.do(store, op)
            self.do(store, remove("a"))
            assert self.freed(store) == []
            assert self.count(store).parked == 0
        assert self.fetch(store, 8).state is State.WAITING

    def test_a_group_s_job_that_is_moved_stays_parked(self, store: Store) -> None:
        self.group(store, "a")
        moved = self.do(store, ops.Move("f", "then", 900, True, 2))
        assert (moved.result, moved.job.state, moved.job.due_at_ms, moved.job.priority) == (
            "moved", State.PARKED, 900, 2,
        )  # fmt: skip

    def test_a_follow_on_joins_before_its_forerunner_has_ended(self, store: Store) -> None:
        self.group(store, "a")
        follow_on = ops.Put(job(3, "b", group_id=1))
        self.do(store, ops.Delete(ops.End(2, None, 250, (follow_on,), group_id=1)))
        assert self.figures(store) == ops.Group(True, 2, 1, 1)
        self.do(store, ops.Delete(ops.End(3, None, 250, group_id=1)))
        assert self.freed(store) == [1]

    def test_a_dead_member_whose_place_its_own_follow_on_takes_was_dead(self, store: Store) -> None:
        self.group(store, "a")
        again = ops.Put(job(3, "a"))
        self.do(store, ops.Bury(ops.End(2, None, 250, (again,), group_id=1), 300, None, ops.History(1)))
        assert (self.fetch(store, 1).headers or {})["group-dead"] == "1"

    def test_follow_ons_can_be_a_group(self, store: Store) -> None:
        def ended(number: int, then_id: int) -> ops.Ended:
            puts = (ops.Put(job(number, "b")), ops.Put(job(number + 1, "c")))
            done = ops.Delete(ops.End(number - 1, None, 250, puts, then=ops.Put(job(then_id, "then"))))
            result: ops.Ended = self.do(store, ops.Put(job(number - 1, "a")), done)
            return result

        assert ended(3, 1).then == ops.PutResult("created", 1)
        assert self.figures(store) == ops.Group(True, 2, 2)
        again = ended(6, 9)
        assert again.then == ops.PutResult("kept", 1), "the same picture once more"
        assert again.follow_ons == (ops.PutResult("replaced", 6, 3), ops.PutResult("replaced", 7, 4))
        assert self.figures(store) == ops.Group(True, 4, 2, removed=2)

    def test_a_requeued_member_is_none_any_more(self, store: Store) -> None:
        self.group(store, "a")
        self.do(store, ops.Bury(msgspec.structs.replace(end(2), group_id=1), 300, None, ops.History(1)))
        assert self.freed(store) == [1]
        self.do(store, ops.Requeue("f", "a", 7, 400))
        assert self.fetch(store, 7).group_id is None

    def test_open_groups_are_told_at_the_start(self, store: Store) -> None:
        assert not self.do(store, ops.Boot()).has_groups
        self.group(store, "a")
        assert self.do(store, ops.Boot()).has_groups

    # -- schedules -----------------------------------------------------------------------------------------------------

    SCHEDULE = Schedule(
        Recurrence(cron="30 2 * * *", zone="Europe/Berlin", from_at_ms=5, until_at_ms=2**40),
        {"func": "f", "workload": b"\x00\xff", "headers": {"a": "ä"}}, 7, "once", "queue", True, 2**41, 9,
    )  # fmt: skip

    def test_schedules_are_told_at_the_start(self, store: Store) -> None:
        every = Schedule(Recurrence(every_ms=60_000), {"func": "g"})
        self.do(store, order.SetSchedule("s", self.SCHEDULE), order.SetSchedule("t", every))
        assert self.do(store, ops.Boot()).schedules == {"s": self.SCHEDULE, "t": every}
        self.do(store, order.SetSchedule("s", None))
        assert self.do(store, ops.Boot()).schedules == {"t": every}

    def test_an_occurrence_is_put_with_its_schedule_s_row(self, store: Store) -> None:
        schedule = msgspec.structs.replace(self.SCHEDULE, last_id=0)
        fire = order.Fire("s", schedule, ops.Put(job(1, "s@1"), "keep"), None)
        assert self.do(store, fire) == ops.PutResult("created", 1)
        assert self.do(store, ops.Boot()).schedules == {"s": msgspec.structs.replace(schedule, last_id=1)}
        again = order.Fire("s", msgspec.structs.replace(schedule, last_id=1), ops.Put(job(2, "s@1"), "keep"), None)
        assert self.do(store, again) == ops.PutResult("kept", 1)
        assert self.do(store, ops.Boot()).schedules["s"].last_id == 1

    @pytest.mark.parametrize(
        ("before", "is_live"),
        [((), True), ((claim(9),), True), ((bury(9),), False), ((remove("last"),), False), ((delete(9),), False)],
    )
    def test_an_occurrence_is_left_out_while_the_last_one_is_live(
        self, store: Store, before: tuple[Op[Any], ...], is_live: bool
    ) -> None:
        self.do(store, ops.Put(job(9, "last")), *before)
        put = self.do(store, order.Fire("s", self.SCHEDULE, ops.Put(job(10, "s@1"), "keep"), 9))
        assert put == (None if is_live else ops.PutResult("created", 10))
        assert self.do(store, ops.Boot()).schedules["s"].last_id == (9 if is_live else 10)

    # -- expiry --------------------------------------------------------------------------------------------------------

    def expire(self, store: Store, at_ms: int, limit: int = 9) -> tuple[list[int], int | None]:
        result: order.ExpireResult = self.do(store, order.Expire(at_ms, limit))
        return [each.id for each in result.ended], result.next_at_ms

    def test_what_has_not_begun_by_its_time_is_dead(self, store: Store) -> None:
        for number, name in enumerate("abc", 1):
            self.do(store, ops.Put(job(number, name, expires_at_ms=100 * number, result_ms=1_000)))
        assert self.do(store, ops.Boot()).expires_at_ms == 100
        assert self.expire(store, 99) == ([], 100)
        assert self.expire(store, 200, 1) == ([1], 200)
        assert self.expire(store, 200) == ([2], 300)
        dead = self.fetch(store, 1)
        assert (dead.state, dead.ended_at_ms, dead.reason) == (State.DEAD, 200, "it had not begun when it expired")
        assert self.do(store, ops.FetchEnd(1)).ending == "expired"
        assert self.count(store) == ops.FunctionCount(1, 0, 2, 100)
        self.do(store, ops.Requeue("f", "a", 9, 400))
        assert self.fetch(store, 9).expires_at_ms is None

    def test_what_has_begun_does_not_expire(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, expires_at_ms=100)), claim(1))
        assert self.expire(store, 500) == ([], None)
        self.do(store, release(1))
        assert self.expire(store, 500) == ([], None)

    def test_what_is_behind_or_parked_expires_too(self, store: Store) -> None:
        self.do(store, ops.Put(job(1)), claim(1), ops.Put(job(2, expires_at_ms=100)))
        self.parked(store, 3, "b", expires_at_ms=100)
        assert self.expire(store, 100) == ([2, 3], None)
        assert self.do(store, ops.Fetch(2)) is None
        assert (self.heads(store), self.count(store)) == ([], ops.FunctionCount(1, 0, 1))
        assert self.do(store, order.Left()) == ("k",)

    def test_a_member_or_a_group_that_expires_has_ended(self, store: Store) -> None:
        puts = (ops.Put(job(2, "a", expires_at_ms=100)), ops.Put(job(3, "b")))
        self.do(store, order.PutGroup(ops.Put(job(1, "then", expires_at_ms=200)), puts, True))
        assert self.expire(store, 100) == ([2], 200)
        assert self.figures(store) == ops.Group(True, 2, 1, expired=1)
        assert self.expire(store, 200) == ([1], None)
        self.do(store, remove("b"))
        assert self.freed(store) == []
        assert self.fetch(store, 1).state is State.DEAD

    def test_a_group_that_expires_with_the_last_of_its_members_is_dead(self, store: Store) -> None:
        puts = (ops.Put(job(2, "a", expires_at_ms=100)),)
        self.do(store, order.PutGroup(ops.Put(job(1, "then", expires_at_ms=200)), puts, True))
        assert self.expire(store, 200) == ([2, 1], None)
        assert self.count(store) == ops.FunctionCount(0, 0, 2)
        assert (self.freed(store), self.fetch(store, 1).state) == ([], State.DEAD)

    # -- broadcasts ----------------------------------------------------------------------------------------------------

    def broadcasts(self, store: Store, at_ms: int, limit: int = 9) -> tuple[list[int], int | None]:
        found: order.BroadcastsResult = self.do(store, order.Broadcasts(at_ms, limit))
        assert all(each.workload == b"x" * 5_000 for each in found.jobs)
        return [each.id for each in found.jobs], found.next_at_ms

    def broadcast(self, job_id: int, name: str, func: str = "f", **fields: Any) -> ops.Put:
        return ops.Put(job(job_id, name, func, broadcast=Broadcast(), workload=b"x" * 5_000, **fields))

    def test_broadcasts_that_wait_are_told_in_the_order_of_their_due_times(self, store: Store) -> None:
        assert self.do(store, ops.Boot()).broadcast_at_ms is None
        for number, (name, due_at_ms) in enumerate([("a", 300), ("b", 200), ("c", 100)], 1):
            self.do(store, self.broadcast(number, name, due_at_ms=due_at_ms))
        self.do(store, ops.Put(job(4, "d", due_at_ms=50)))
        assert self.do(store, ops.Boot()).broadcast_at_ms == 100
        assert self.broadcasts(store, 200) == ([3, 2], 300)
        assert self.broadcasts(store, 300, 1) == ([3], 200)
        self.do(store, claim(3), claim(2), remove("a"))
        assert self.broadcasts(store, 300) == ([], None)

    def test_broadcasts_of_paused_functions_and_expired_ones_are_passed_over(self, store: Store) -> None:
        self.do(store, order.SetFunction("g", Function(paused=True)))
        self.do(store, self.broadcast(1, "a", "g"), self.broadcast(2, "b", expires_at_ms=200), self.broadcast(3, "c"))
        assert self.broadcasts(store, 199) == ([2, 3], None)
        assert self.broadcasts(store, 200) == ([3], None)
        self.do(store, order.SetFunction("g", None))
        assert self.broadcasts(store, 200, 1) == ([1], 100)

    def test_broadcasts_stand_in_no_lane(self, store: Store) -> None:
        self.do(store, self.broadcast(1, "a"), ops.Put(job(2, "b")))
        page = self.do(store, ops.Page("f", 0, None, 1, 4096, 10**6))
        assert ([each.id for each in page.jobs], page.more) == ([2], False)

    def test_a_broadcast_s_figures_are_kept_while_it_runs(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, broadcast=Broadcast(), dated=True)), claim(1))
        assert self.fetch(store, 1).broadcast == Broadcast()
        follow_on = ops.Put(job(2, "b"))
        tally = ops.Tally(end(1, "1-1-1", follow_on), Broadcast(3, 1, 0, 1))
        assert self.do(store, tally) == ops.Ended(True, None, (ops.PutResult("created", 2),))
        kept = self.fetch(store, 1)
        assert (kept.broadcast, kept.state) == (Broadcast(3, 1, 0, 1), State.RUNNING)
        assert self.do(store, ops.Boot()).running[0].broadcast == Broadcast(3, 1, 0, 1)

    def test_a_follow_on_of_a_broadcast_s_name_waits_behind_it_or_gives_way_to_who_does(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, broadcast=Broadcast())), claim(1))
        first = ops.Tally(end(1, "1-1-1", ops.Put(job(2))), Broadcast(3, 1))
        assert self.do(store, first).follow_ons == (ops.PutResult("queued_behind", 2),)
        second = ops.Tally(end(1, "1-1-1", ops.Put(job(3)), ops.Put(job(4, "b"))), Broadcast(3, 2))
        assert self.do(store, second).follow_ons == (None, ops.PutResult("created", 4))

    @pytest.mark.parametrize("how", [remove(), delete(1), ops.Bury(end(1), 300, None, ops.History(1))])
    def test_what_is_over_has_no_figures_to_be_kept_and_no_follow_ons(self, store: Store, how: Op[Any]) -> None:
        self.do(store, ops.Put(job(1, broadcast=Broadcast())), claim(1), how)
        tally = ops.Tally(end(1, "1-1-1", ops.Put(job(2, "b"))), Broadcast(1, 1))
        assert self.do(store, tally) == ops.Ended(False)
        assert self.do(store, ops.Fetch(2)) is None

    def test_figures_of_a_run_that_is_not_the_latest_are_not_kept(self, store: Store) -> None:
        self.do(store, ops.Put(job(1, broadcast=Broadcast())), claim(1))
        assert self.do(store, ops.Tally(end(1, "0-0-0"), Broadcast(1, 1))) == ops.Ended(False)
        assert self.fetch(store, 1).broadcast == Broadcast()
