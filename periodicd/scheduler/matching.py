"""Requests on many jobs: found as a listing is, beside the steps, and changed in a step, some at a time.

What was found may have changed since, so each job is looked at again where it is changed: by its id, and by its state
if the query says one. What is said to peers and done about a run that ends so is no different from the request on one
job.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from periodic_client.wire import Busy
from periodicd.job import Job, State
from periodicd.protocol import answers, requests
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.listings import Listings
from periodicd.scheduler.numbers import Numbers
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step, Then
from periodicd.store.ops import Cancel, Listing, ListingResult, Move

WAITING_MAX = 8
"""Requests whose jobs were found and wait for a step of their own; those that are being looked for are not counted."""

Change = Callable[[Jobs, Job, State | None, Then[Any]], None]
"""What is done with a job that was found, if it is in this state; the store's answer has a ``result``."""


class Word(NamedTuple):
    change: Change
    done: tuple[str, ...]
    """The results that count."""


REMOVE = Word(lambda jobs, job, state, then: jobs.remove(job.func, job.name, job.id, state, then), ("removed",))
REQUEUE = Word(lambda jobs, job, _, then: jobs.requeue(job.func, job.name, job.id, then), ("requeued",))


def cancel(reason: str, now_ms: int) -> Word:
    def change(jobs: Jobs, job: Job, state: State | None, then: Then[Any]) -> None:
        jobs.cancel(Cancel(job.func, job.name, now_ms, reason, job.id, state), then)

    return Word(change, ("cancelled", "asked"))


def move(pattern: Move) -> Word:
    def change(jobs: Jobs, job: Job, state: State | None, then: Then[Any]) -> None:
        due = pattern.due_at_ms, pattern.dated
        jobs.move(Move(job.func, job.name, *due, pattern.priority, job.id, state), then)

    return Word(change, ("moved",))


class Found(NamedTuple):
    """Jobs to be changed, and whom to answer."""

    peer: Peer
    msgid: int
    word: Word
    listing: Listing
    page: ListingResult


class Matching:
    def __init__(self, step: Step, listings: Listings, numbers: Numbers, jobs: Jobs) -> None:
        self._step = step
        self._listings = listings
        self._numbers = numbers
        self._jobs = jobs
        self._found: deque[Found] = deque()
        """What was found, one request a step, so that no step is long."""

    def begin(self, peer: Peer, msgid: int, word: Word, listing: Listing) -> None:
        if len(self._found) >= WAITING_MAX:
            self._step.refuse(peer, msgid, Busy(f"{WAITING_MAX} requests on many wait already", retry_after_ms=100))
            return
        if listing.before_id is None:
            # The first of several requests: what is put or requeued from now on is not met by those that follow.
            listing = listing._replace(before_id=self._numbers.next)
        self._listings.begin(peer, msgid, listing, partial(self._on_found, peer, msgid, word, listing))

    def _on_found(self, peer: Peer, msgid: int, word: Word, listing: Listing, page: ListingResult) -> None:
        self._found.append(Found(peer, msgid, word, listing, page))

    def advance(self) -> None:
        """Change what the first of the waiting requests has found."""
        if self._found:
            self._change(self._found.popleft())

    def _change(self, found: Found) -> None:
        page, listing = found.page, found.listing
        answer: answers.MatchingAnswer = {
            "count": page.found,
            "next": None if page.next is None else requests.job_cursor(page.next, listing.before_id),
        }
        left = len(page.jobs)

        def on_changed(result: Any) -> None:
            nonlocal left
            left -= 1
            answer["count"] += result.result in found.word.done
            if not left:
                self._step.reply(found.peer, found.msgid, answer)

        for shown in page.jobs:
            found.word.change(self._jobs, shown.job, listing.state, on_changed)
        if not page.jobs:
            self._step.reply(found.peer, found.msgid, answer)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        return 0 if self._found else None
