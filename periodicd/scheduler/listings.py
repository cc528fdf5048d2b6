"""Listings: made on the store beside the steps, some at a time. Knows no jobs but those that a page shows."""

from functools import partial

from periodic_client.wire import Busy, PeriodicError
from periodicd.protocol import answers, requests
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step, Then
from periodicd.store.ops import Listing, ListingResult

LISTINGS_MAX = 8


class Listings:
    def __init__(self, step: Step) -> None:
        self._step = step
        self._open: dict[tuple[Peer, int], Then[ListingResult]] = {}
        """By who asked, and the msgid."""

    def show(self, peer: Peer, msgid: int, listing: Listing) -> None:
        """Answer with a page."""
        self.begin(peer, msgid, listing, partial(self._answer, peer, msgid))

    def begin(self, peer: Peer, msgid: int, listing: Listing, then: Then[ListingResult]) -> None:
        """``then`` is given the page in a later step, unless the request is refused before."""
        if len(self._open) >= LISTINGS_MAX:
            self._step.refuse(peer, msgid, Busy(f"{LISTINGS_MAX} listings are open already", retry_after_ms=100))
            return
        self._open[peer, msgid] = then
        self._step.list(peer, msgid, listing)

    def end(self, peer: Peer, msgid: int, page: ListingResult | PeriodicError) -> None:
        """The listing was made, or failed."""
        then = self._open.pop((peer, msgid))
        if isinstance(page, PeriodicError):
            self._step.refuse(peer, msgid, page)
        else:
            then(page)

    def _answer(self, peer: Peer, msgid: int, page: ListingResult) -> None:
        answer: answers.ListAnswer = {
            "jobs": [answers.describe(shown) for shown in page.jobs],
            "next": None if page.next is None else requests.job_cursor(page.next),
        }
        self._step.reply(peer, msgid, answer)
