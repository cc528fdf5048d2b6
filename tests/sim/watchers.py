"""What is promised to who waits: an answer in time, once, and to a watcher all that the runs told, in order."""

from collections.abc import Mapping
from typing import Any

from periodic_client.wire.limits import TAIL_BYTES_MAX, TAIL_CHUNKS_MAX
from periodicd.job import Job, State
from periodicd.scheduler import Scheduler
from tests.sim.book import Broken, job_of
from tests.sim.network import Asked, Link

WAITS = {"watch": "timeout_ms", "take": "wait_ms", "events": "timeout_ms"}
"""Requests that wait, and the option that says how long."""

RESULTS_BYTES = 5_000_000
"""More than the results of a world have, which count with what runs told."""

Results = list[tuple[Asked, dict[str, Any]]]


class Watchers:
    def __init__(self, tails_bytes: int) -> None:
        self._tails_bytes = tails_bytes
        self.new_life()

    def new_life(self) -> None:
        """What runs told is kept in memory only."""
        self._chunks: dict[int, list[bytes]] = {}
        """By job, those that were accepted."""
        self._run_of: dict[bytes, str] = {}
        """By chunk, the handle of the run that told it."""
        self._bytes = 0
        """Of all of them."""
        self._latest: dict[int, str] = {}
        """By job, the handle of its latest run."""
        self._known: dict[int, int] = {}
        """By job, how many of them there were before this step."""
        self._places: dict[str, int] = {}
        """By cursor, how many of them it stands behind."""
        self._unplaced: set[str] = set()
        """Cursors that came with no chunks, as only the end was wanted, so that this is not known of them."""

    def begin(self, results: Results, given: list[dict[str, Any]]) -> None:
        """A step has answered this, and has given out these runs."""
        self._known = {job_id: len(chunks) for job_id, chunks in self._chunks.items()}
        for asked, _ in results:
            if asked.method == "data":
                handle, chunk = asked.params
                self._chunks.setdefault(job_of(handle), []).append(chunk)
                self._run_of[chunk] = handle
                self._bytes += len(chunk)
        self._latest.update((job_of(job["handle"]), job["handle"]) for job in given)

    def told(self, asked: Asked, result: dict[str, Any]) -> None:
        """A ``watch`` was answered."""
        options = asked.params[-1]
        if result["result"] != "found" or options["only_end"]:
            if result["chunks"]:
                raise Broken(f"{asked} was not to tell chunks, and told {len(result['chunks'])}")
            if result["next"] is not None and result["next"] not in self._places:
                self._unplaced.add(result["next"])
            return
        told, accepted = result["chunks"], self._chunks.get(result["id"], [])
        before = self._places.get(options.get("after"), 0)
        if told and told[0] not in accepted:
            raise Broken(f"{asked} told {told[0][:20]!r} of another job, or what was not accepted")
        begin = accepted.index(told[0]) if told else before + (result["missed"] or 0)
        end = begin + len(told)
        if accepted[begin:end] != told:
            raise Broken(f"{asked} told chunks that do not follow each other")
        is_known = options.get("after") in self._places and result["missed"] is not None
        if is_known and not before <= begin == before + result["missed"]:
            raise Broken(f"{asked} has missed {begin - before} chunks, and was told {result['missed']}")
        is_placed = options.get("after") not in self._unplaced
        if begin > before and is_placed:
            self._has_a_reason_to_forget(result["id"], accepted[begin - 1 : end])
        if not result["ended"]:
            # A job's tail may be forgotten after its end, but not before.
            # Of a cursor of another life, none told may be that all were forgotten.
            is_counted = bool(told) or (is_placed and result["missed"] is not None)
            if is_counted and end < self._known.get(result["id"], 0):
                raise Broken(f"{asked} was told {end} chunks, and {self._known[result['id']]} were accepted")
            if is_counted:
                self._places[result["next"]] = end
            else:
                self._unplaced.add(result["next"])

    def _has_a_reason_to_forget(self, job_id: int, chunks: list[bytes]) -> None:
        """``chunks``: one that was forgotten, and what is remembered after it."""
        is_of_this_run = self._run_of[chunks[0]] == self._latest.get(job_id)
        fits = len(chunks) <= TAIL_CHUNKS_MAX and sum(map(len, chunks)) <= TAIL_BYTES_MAX
        if is_of_this_run and fits and self._bytes + RESULTS_BYTES < self._tails_bytes:
            raise Broken(f"{chunks[0][:20]!r} of job {job_id} was forgotten, and {len(chunks)} would have fitted")

    def check(self, scheduler: Scheduler, links: list[Link], disk: Mapping[int, Job]) -> None:
        """After every step that ended well."""
        waiting = 0
        for link in links:
            waiting += self._all_are_answered_in_time(link, scheduler.step.now.mono_ms)
        counted = sum(len(peer.waiting) for peer in scheduler.connections)
        if not waiting == counted == len(scheduler.waits):
            raise Broken(f"{waiting} requests wait, connections have {counted}, and {len(scheduler.waits)} are counted")
        self._nothing_waits_for_what_is_gone(scheduler, disk)
        held = sum(held_bytes for held_bytes, _ in scheduler.watches.snapshot().values())
        if held != scheduler.watches.held_bytes or held > scheduler.settings.tails_bytes:
            raise Broken(f"{held} bytes are held of what runs told, and {scheduler.watches.held_bytes} are counted")

    def _all_are_answered_in_time(self, link: Link, mono_ms: int) -> int:
        """Returns how many wait."""
        peer = link.peer
        if link.unwaited & peer.waiting:
            raise Broken(f"{link.unwaited & peer.waiting} still wait, although an unwait was answered")
        for msgid in link.arrived & peer.waiting:
            method, params, _ = link.asked[msgid]
            since_ms = link.waits.setdefault(msgid, mono_ms)
            if mono_ms >= since_ms + max(1, params[-1][WAITS[method]]):
                raise Broken(f"{method} {params} waits since {since_ms}, and it is {mono_ms}")
        unanswered = link.arrived - peer.waiting
        if unanswered and peer.can_take_more and not peer.deferred:
            asked = [link.asked[msgid] for msgid in unanswered if link.asked[msgid].method in WAITS]
            if asked:
                raise Broken(f"{asked[0]} is neither answered nor waits")
        return len(link.arrived & peer.waiting)

    def _nothing_waits_for_what_is_gone(self, scheduler: Scheduler, disk: Mapping[int, Job]) -> None:
        for job_id, (_, watchers) in scheduler.watches.snapshot().items():
            job = disk.get(job_id)
            if watchers and (job is None or job.state is State.DEAD):
                raise Broken(f"{watchers} wait for the end of job {job_id}, and there is {job}")
