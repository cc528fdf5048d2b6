"""One job followed to its end, over lost connections and restarts of the daemon: the recipe of protocol.md, ``watch``.

Nothing is decided about time limits here: who has enough cancels it, and the daemon is told.
"""

from typing import Any, Self

import trio

from periodic_client.connected import Connected
from periodic_client.endings import JobRefused, News, ResultLost
from periodic_client.lines import Lines
from periodic_client.outcomes import NewJob
from periodic_client.reconnect import Backoff
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.wire import Busy

log = Lines(__name__)

POLL_S = 60.0
"""A daemon that does not answer so long after it was asked, and a while, is lost."""


class Following:
    """An iterator of News. ``job``: what is submitted first; else the job of this name, or of this id.

    Until something was sent, what fails is raised: CannotConnect and Busy mean that nothing happened. From then on the
    job may be there, and every lost connection is made again.
    """

    def __init__(
        self,
        connected: Connected,
        func: str,
        name: str,
        *,
        job_id: int | None = None,
        job: NewJob | None = None,
        only_end: bool = False,
    ) -> None:
        self._connected = connected
        self._func, self._name = func, name
        self._id = job_id
        self._job = job
        self._only_end = only_end
        self._after: str | None = None
        self._told: News | None = None
        self._has_asked = False
        self._backoff = Backoff(connected.rng)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        if self._told is not None and self._told.ended:
            raise StopAsyncIteration
        while True:
            try:
                news = await self._ask()
            except (CannotConnect, ConnectionLost, TimedOut, Busy) as error:
                if not self._has_asked:
                    raise
                wait_s = self._backoff.next_s()
                log.info("%s %s: %s; asking again in %.1f s", self._func, self._name, error, wait_s)
                await trio.sleep(wait_s)
                await self._connected.come_back()
                continue
            self._backoff.reset()
            if news is not None and self._is_new(news):
                self._told = news
                return news

    async def _ask(self) -> News | None:
        """One question and its answer; None if that was about another job. Raises ResultLost, JobRefused."""
        if self._job is not None and self._id is None:
            answer = await self._submit_and_watch(self._job)
        else:
            answer = await self._connected.poll("watch", *self._watch(), wait_s=POLL_S, on_sent=self._note_sent)
        if answer is None or (self._id is not None and answer["id"] not in (None, self._id)):
            return None
        if answer["result"] != "found":
            raise ResultLost(self._func, self._name)
        self._id, self._after = answer["id"], answer["next"]
        return News.from_wire(answer)

    async def _submit_and_watch(self, job: NewJob) -> dict[str, Any] | None:
        """Both in one write. If another job of the name came first, ours is watched next, by its id.

        Whether an earlier submit arrived is not known: then the job that is there is ours.
        """
        wire = job.to_wire()
        if self._has_asked:
            wire["existing"] = "keep"
        session = await self._connected.ready("submit")
        submit, watch = session.ask("submit", wire), session.ask("watch", *self._watch())
        had_asked, self._has_asked = self._has_asked, True
        try:
            try:
                submitted = await self._connected.answer_in(0, "submit", submit)
            except Busy:
                self._has_asked = had_asked
                raise
            if submitted["result"] == "refused":
                raise JobRefused(self._func, self._name)
            self._id = int(submitted["id"])
            if submitted["result"] == "queued_behind":
                return None
            answer: dict[str, Any] = await self._connected.answer_in(POLL_S, "watch", watch)
        finally:
            watch.leave()
        return answer if answer["id"] == self._id else None

    def _watch(self) -> tuple[str, str, dict[str, Any]]:
        options = {"id": self._id, "after": self._after, "timeout_ms": int(POLL_S * 1000), "only_end": self._only_end}
        return self._func, self._name, options

    def _note_sent(self) -> None:
        self._has_asked = True

    def _is_new(self, news: News) -> bool:
        """An answer also comes when the time is over."""
        if self._only_end:
            return news.ended
        return self._told is None or news != self._told._replace(chunks=(), missed=0)
