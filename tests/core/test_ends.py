"""What becomes of a job whose run ended: one table, and the diagram of protocol.md is drawn from it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from periodicd.job import CRASHES_MAX, RESTARTS_MAX, Job, State
from periodicd.protocol.requests import Outcome
from periodicd.retry import Retry
from periodicd.scheduler import ends
from periodicd.store.ops import Bury, Delete, End, Ending, History, Release

NOW = 1_000
RULE = Retry(limit=3, backoff="fixed", delay_ms=70)
JOB = Job(1, "f", "a", 500, 400, retry=RULE, state=State.RUNNING, attempt=2, failures=1, handle="h", reason="before")
PAST = History(2, 1, reason="before")
LAST = replace(JOB, failures=3)
RAN_OUT = "its lease ran out"

LATER, FAILED = Outcome("later", delay_ms=30), Outcome("failed", "broken")
TABLE: dict[str, tuple[Job, ends.How, type[Ending], int | None, str | None, History | None]] = {
    # What happened: the job, how its run ended, the op; then its due time, its handle and its history afterwards.
    "done": (JOB, Outcome("done"), Delete, None, None, None),
    "later": (JOB, LATER, Release, NOW + 30, None, PAST),
    "failed": (JOB, FAILED, Release, NOW + 70, None, PAST._replace(failures=2, reason="broken")),
    "failed, and says how long": (
        JOB, FAILED._replace(delay_ms=9), Release, NOW + 9, None, PAST._replace(failures=2, reason="broken"),
    ),
    "failed for good": (
        JOB, FAILED._replace(final=True), Bury, None, None, PAST._replace(failures=2, reason="broken"),
    ),
    "failed past its limit": (LAST, FAILED, Bury, None, None, PAST._replace(failures=4, reason="broken")),
    "lease ran out": (JOB, ends.RanOut(), Release, NOW + 70, "h", PAST._replace(failures=2, reason=RAN_OUT)),
    "lease ran out past its limit": (
        LAST, ends.RanOut(), Bury, None, "h", PAST._replace(failures=4, reason=RAN_OUT),
    ),
    "connection lost": (JOB, ends.Lost(False), Release, NOW, "h", PAST._replace(suspect=True)),
    "connection lost, alone": (JOB, ends.Lost(True), Release, NOW, "h", PAST._replace(crashes=1, suspect=True)),
    "connection lost under suspicion": (
        replace(JOB, suspect=True), ends.Lost(False), Release, NOW, "h", PAST._replace(crashes=1, suspect=True),
    ),
    "connection lost too often": (
        replace(JOB, crashes=CRASHES_MAX - 1), ends.Lost(True), Bury, None, "h",
        PAST._replace(
            crashes=CRASHES_MAX, suspect=True, reason="its worker's connection was lost 5 times while it ran",
        ),
    ),
    "cut off": (JOB, ends.CutOff(), Release, NOW, "h", PAST._replace(restarts=1)),
    "cut off too often": (
        replace(JOB, restarts=RESTARTS_MAX - 1), ends.CutOff(), Bury, None, "h",
        PAST._replace(restarts=RESTARTS_MAX, reason="its runs were cut off by 20 restarts of the daemon"),
    ),
    "goodbye": (JOB, ends.Returned(), Release, NOW, "h", PAST),
}  # fmt: skip


@pytest.mark.parametrize("what", TABLE)
def test_an_end_is_as_the_table_says(what: str) -> None:
    job, how, kind, due_at_ms, handle, history = TABLE[what]
    before, job = job, replace(job)
    ending = ends.after(job, how, "in the store", NOW)
    assert type(ending) is kind
    assert ending.end == End(1, "in the store", NOW)
    assert job == before, "the job changes only when the store has done it"
    if isinstance(ending, Release | Bury):
        assert (ending.handle, ending.history._replace(errors=())) == (handle, history)
        went_wrong = isinstance(how, ends.RanOut | ends.Lost) or (isinstance(how, Outcome) and how.outcome == "failed")
        assert [error[:2] for error in ending.history.errors] == ([(2, NOW)] if went_wrong else [])
    if isinstance(ending, Release):
        assert ending.due_at_ms == due_at_ms
        ends.carry_out(job, ending)
        past = History.of(job)._replace(errors=())
        assert (job.state, job.due_at_ms, job.handle, past) == (State.WAITING, due_at_ms, handle, history)
        assert not job.dated


@pytest.mark.parametrize("what", TABLE)
def test_a_job_that_was_cancelled_is_gone_after_any_end(what: str) -> None:
    job, how, *_ = TABLE[what]
    job = replace(job)
    job.cancelled = "why"
    ending = ends.after(job, how, "in the store", NOW)
    assert isinstance(ending, Delete)
    assert ending.ending == ("done" if what == "done" else "cancelled")


LATE = {
    "done": (State.WAITING, Outcome("done"), Delete, None),
    "later": (State.WAITING, LATER, Release, NOW + 30),
    "failed": (State.WAITING, FAILED, Release, JOB.due_at_ms),
    "failed, and says how long": (State.WAITING, FAILED._replace(delay_ms=9), Release, NOW + 9),
    "failed for good": (State.WAITING, FAILED._replace(final=True), Bury, None),
    "later, of a dead job": (State.DEAD, LATER, Bury, None),
    "done, of a dead job": (State.DEAD, Outcome("done"), Delete, None),
}


@pytest.mark.parametrize("what", LATE)
def test_a_late_report_counts_nothing(what: str) -> None:
    state, how, kind, due_at_ms = LATE[what]
    job = replace(JOB, state=state, ended_at_ms=700 if state is State.DEAD else None)
    ending = ends.after_late(job, how, NOW)
    assert type(ending) is kind
    assert ending.end.handle == "h", "it speaks for the run that it reports"
    if isinstance(ending, Release | Bury):
        assert (ending.handle, ending.history.failures, ending.history.attempt) == (None, 1, 2)
    if isinstance(ending, Release):
        assert ending.due_at_ms == due_at_ms
    if isinstance(ending, Bury):
        assert ending.ended_at_ms == (700 if state is State.DEAD else NOW)


def test_the_page_draws_the_table() -> None:
    """Each word on an arrow is a line of the table and leads where that says; every kind of end is drawn or told."""
    page = (Path(__file__).parent.parent.parent / "protocol.md").read_text().split("## 4. A job's life")[1]
    diagram = page.split("* A job")[0]
    (gone,) = re.findall(r"running ──(\w+)──> gone", diagram)
    (dead,) = re.findall(r"└──([\w ]+)──> dead", diagram)
    again = re.findall(r"[a-z][a-z ]+[a-z]", " ".join(re.findall(r"├──(.*?)─|│  ([a-z ]+?)  ", diagram)[0]))
    again += re.findall(r"│  ([a-z ]+[a-z])\s", diagram)
    leads = {word: TABLE[word][2] for word in (gone, dead, *again)}
    assert leads == {
        "done": Delete, "failed past its limit": Bury, "later": Release, "failed": Release, "lease ran out": Release,
        "connection lost": Release,
    }  # fmt: skip
