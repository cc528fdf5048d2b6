"""Listings: made on the store beside the steps, some at a time. Knows no jobs but those that a page shows."""

from periodic_client.wire import Busy, PeriodicError
from periodicd.protocol import answers, requests
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.store.ops import Listing, ListingResult

LISTINGS_MAX = 8


class Listings:
    def __init__(self, step: Step) -> None:
        self._step = step
        self._open = 0

    def begin(self, peer: Peer, msgid: int, listing: Listing) -> None:
        if self._open >= LISTINGS_MAX:
            self._step.refuse(peer, msgid, Busy(f"{LISTINGS_MAX} listings are open already", retry_after_ms=100))
            return
        self._open += 1
        self._step.list(peer, msgid, listing)

    def end(self, peer: Peer, msgid: int, page: ListingResult | PeriodicError) -> None:
        """The listing was made, or failed."""
        self._open -= 1
        if isinstance(page, PeriodicError):
            self._step.refuse(peer, msgid, page)
            return
        answer: answers.ListAnswer = {
            "jobs": [answers.describe(shown) for shown in page.jobs],
            "next": None if page.next is None else requests.job_cursor(page.next),
        }
        self._step.reply(peer, msgid, answer)
