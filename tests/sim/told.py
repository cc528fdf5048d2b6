"""What was said must stay true: cancelled, ended, kept, and how a job ended."""

from typing import Any

from periodicd.clock import Now
from periodicd.job import State, run_of
from periodicd.scheduler import Scheduler, Settings
from periodicd.scheduler.clocks import GAP_MS
from periodicd.scheduler.runs import AFTER_GAP_MS
from tests.sim.book import LARGE_BYTES, Book, Broken, job_of
from tests.sim.broadcasts import Broadcasts
from tests.sim.network import Asked
from tests.sim.store import Image

Key = tuple[str, str]


class Told:
    def __init__(self, book: Book, broadcasts: Broadcasts) -> None:
        self._book = book
        self._cancelled: set[int] = set()
        """Jobs of which it was answered that they are cancelled, or are to end with their run."""
        self._ended_runs: set[str] = set()
        """Handles of runs that were ended by others."""
        self._endings: dict[int, tuple[str, int]] = {}
        """By job, as it was told: how it ended, and of how many bytes its result was."""
        self._broadcasts = broadcasts
        self._done: set[int] = set()
        """Jobs whose ``finish`` with done was answered."""
        self._now = Now(0, 0)
        self._seen = Image({}, {}, {}, {}, {}, {}, 0, 0)
        """The disk when it was last looked at."""

    def new_life(self, disk: Image) -> None:
        self._judged_from_ms = 0
        """After the daemon slept nobody is judged for a moment."""
        self._begun_ms: dict[int, int] = {}
        """By run, on the monotonic clock."""
        self._running = {
            job.handle: job.key for job in disk.jobs.values() if job.state is State.RUNNING and job.handle is not None
        }
        """Handles of the runs that were in progress, and of which job."""

    def cut_off(self, disk: Image) -> None:
        """The daemon ended in the middle of a step, of which nobody heard, though it may be on disk."""
        self._seen = disk

    # -- what a step says ----------------------------------------------------------------------------------------------

    def begin(self, now: Now, before: Image, after: Image) -> None:
        """A step has changed the disk so, and what it says is judged next."""
        if now.mono_ms - self._now.mono_ms > GAP_MS:
            self._judged_from_ms = now.mono_ms + AFTER_GAP_MS
        self._now, self._before, self._after = now, before, after
        self._put: dict[Key, list[int]] = {}
        """By name: the jobs that were put in this step, as far as that was answered."""

    def answered(self, asked: Asked, result: dict[str, Any]) -> None:
        method, params = asked.method, asked.params
        match method:
            case "submit":
                self._is_put(params[0], result["result"], result["id"])
            case "submit_batch":
                self._are_put(params[0], result)
            case "submit_group":
                self._group_is_put(params[0], result)
            case "cancel" if result["result"] in ("cancelled", "asked"):
                self._is_cancelled(params[:2], params[2].get("id"))
            case "end_run" if result["result"] == "ended":
                self._ended_runs |= {handle for handle, key in self._running.items() if key == params[:2]}
            case "finish":
                is_part = asked.memo is not None and asked.memo[0]["broadcast"]
                self._is_finished(params[0], params[1], is_part)
            case "extend":
                if job_of(params[0]) in self._cancelled and not result["cancelled"]:
                    raise Broken(f"{params[0]} is to end, and was extended without a word of it")
            case "watch" if result["ended"]:
                self._has_ended(params[:2], result["id"], result["ending"], result["data"], result["data_bytes"])
            case "get" if result["last"] is not None:
                last = result["last"]
                wanted = (params[2] or {}).get("data")
                data = last["data"] if wanted else None
                self._has_ended(params[:2], last["id"], last["ending"], data, last["data_bytes"])

    def _are_put(self, jobs: list[dict[str, Any]], result: dict[str, Any]) -> None:
        for job, word, job_id in zip(jobs, result["results"], result["ids"], strict=True):
            self._is_put(job, word, job_id)

    def _group_is_put(self, group: dict[str, Any], result: dict[str, Any]) -> None:
        if result["result"] != "added":
            self._is_put(group["then"], result["result"], result["id"])
        if result["results"]:
            self._are_put(group["jobs"], result)

    def _is_put(self, job: dict[str, Any], word: str, job_id: int) -> None:
        key = job["func"], job["name"]
        self._put.setdefault(key, []).append(job_id)
        if job["existing"] != "keep" or word == "kept":
            return
        for kept in self._before.endings.values():
            stays = kept.end.id in self._after.endings and kept.until_at_ms > self._now.wall_ms
            if stays and kept[:2] == key:
                raise Broken(f"{key} was to be kept, has {kept}, and is {word}")

    def _is_cancelled(self, key: tuple[Any, ...], job_id: int | None) -> None:
        there = {job.id for job in self._before.jobs.values() if job.key == key}
        there.update(self._put.get((key[0], key[1]), ()))
        self._cancelled |= there if job_id is None else {job_id}

    def _is_finished(self, handle: str, outcome: Any, is_part: bool) -> None:
        """``is_part``: of a broadcast, which goes on, or may be removed."""
        if handle in self._ended_runs:
            raise Broken(f"{handle} was ended by others, and its report was accepted")
        if is_part:
            return
        if outcome is None or isinstance(outcome, bytes) or outcome["outcome"] == "done":
            self._done.add(job_of(handle))
            kept = self._after.endings.get(job_of(handle))
            if kept is not None and kept.end.ending != "done":
                raise Broken(f"{handle} is done, says the answer, and what is kept is {kept}")

    def _has_ended(self, key: tuple[Any, ...], job_id: int, ending: str, data: bytes | None, data_bytes: int) -> None:
        """So it was told."""
        book, what = self._book, f"job {job_id} of {key} ended {ending} with {data!r}"
        results = book.done_sent.get(job_id, set())
        if ending == "done" and self._broadcasts.was_one(job_id, (key[0], key[1])):
            self._broadcasts.has_ended(job_id, data)
        elif ending == "done":
            if data_bytes not in {len(result or b"") for result in results} or data not in {None, *results}:
                raise Broken(f"{what}, and of it was said {results}")
        elif data is not None or data_bytes:
            raise Broken(what)
        elif job_id in self._done and ending != "dead":
            # Who watches a dead job is told so for a while, even if its last worker reports after all.
            raise Broken(f"{what}, and its worker was answered that it is done")
        sent = {"removed": "remove", "cancelled": "cancel"}.get(ending)
        if sent is not None and not book.sent[sent, (key[0], key[1])]:
            raise Broken(f"{what}, and nobody asked for that")
        if ending == "replaced" and len(book.latest[key[0], key[1]]) < 2:
            raise Broken(f"{what}, and there was no other")
        before = self._endings.setdefault(job_id, (ending, data_bytes))
        # A late report of a dead job's last run still counts.
        if before != (ending, data_bytes) and (before[0], ending) != ("dead", "done"):
            raise Broken(f"{what}, and before it was told {before}")

    def given(self, jobs: list[dict[str, Any]]) -> None:
        """Runs that a step begins."""
        for job in jobs:
            self._begun_ms[job["run"]] = self._now.mono_ms
            if job_of(job["handle"]) in self._cancelled:
                raise Broken(f"{job} was cancelled, and runs again")

    # -- after every step that ended well ------------------------------------------------------------------------------

    def check(self, scheduler: Scheduler) -> None:
        self._no_run_outlives_its_longest_time(scheduler)
        self._taken_runs_end_by_lease_or_report(scheduler)
        self._what_is_cancelled_is_marked_or_gone()
        self._endings_are_kept(scheduler.settings)
        self._seen = self._after

    def _no_run_outlives_its_longest_time(self, scheduler: Scheduler) -> None:
        for run in scheduler.runs.in_progress:
            begun_ms, longest_ms = self._begun_ms.get(run.number), run.job.run_max_ms
            if begun_ms is None or longest_ms is None:
                continue
            if self._now.mono_ms >= max(begun_ms + longest_ms, self._judged_from_ms):
                raise Broken(f"run {run.number} began at {begun_ms}, may take {longest_ms}, and goes on")

    def _taken_runs_end_by_lease_or_report(self, scheduler: Scheduler) -> None:
        """Never with a connection or a life of the daemon; unless their job is gone, or others have ended them."""
        book = self._book
        before, self._running = self._running, {run.handle: run.job.key for run in scheduler.runs.in_progress}
        self._running |= {run.handle: run.job.key for run in scheduler.runs.in_progress.of_peers()}
        for handle in before.keys() - self._running.keys():
            run, job = run_of(handle), self._after.jobs.get(job_of(handle))
            if run not in book.taken or run in book.ran_out or job is None or job.run_max_ms is not None:
                continue
            if not book.reports_sent[handle] and not book.sent["end_run", job.key]:
                raise Broken(f"run {run} was taken, and ended by itself: {job}")

    def _what_is_cancelled_is_marked_or_gone(self) -> None:
        for job in self._after.jobs.values():
            if job.id in self._cancelled and (job.state is not State.RUNNING or job.cancelled is None):
                raise Broken(f"{job} was cancelled")

    def _endings_are_kept(self, settings: Settings) -> None:
        """From the end of each job that is to have it kept until its time is over, or there are too many."""
        after, wall_ms = self._after.endings, self._now.wall_ms
        # A large result may be too much by itself, and of too many a new one may be the first to be forgotten.
        size = sum(kept.end.data_bytes for kept in after.values())
        is_roomy = len(after) < settings.results_kept and size + LARGE_BYTES <= settings.results_bytes
        for job in self._seen.jobs.values():
            there = self._after.jobs.get(job.id)
            has_ended = job.state is not State.DEAD and (there is None or there.state is State.DEAD)
            kept = after.get(job.id)
            if (
                job.result_ms
                and has_ended
                and ((kept is None and is_roomy) or (kept and kept.until_at_ms < kept.end.ended_at_ms + job.result_ms))
            ):
                raise Broken(f"{job} has ended, and what is kept is {kept}")
        before = self._seen.endings
        lost = {job_id for job_id in before.keys() - after.keys() if before[job_id].until_at_ms > wall_ms}
        if not lost:
            return
        all_ = before | after
        # One that was kept and forgotten in this very step is in neither, and may be a large one.
        unseen = [
            job for job in self._seen.jobs.values() if job.result_ms and job.id not in {*self._after.jobs, *after}
        ]
        size = sum(kept.end.data_bytes for kept in all_.values()) + len(unseen) * LARGE_BYTES
        if len(all_) <= settings.results_kept and size <= settings.results_bytes:
            raise Broken(f"of {len(all_)} endings with {size} bytes {[before[job_id] for job_id in lost]} are gone")
        last = max((before[job_id].until_at_ms, job_id) for job_id in lost)
        for job_id in before.keys() & after.keys():
            if (before[job_id].until_at_ms, job_id) < last:
                raise Broken(f"{before[job_id]} is kept, and others that were to be kept for longer are not")
