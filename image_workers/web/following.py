"""Pictures that somebody looks at, followed live: for each job the client's `watch`, and the next one when it is done.

However many look at one picture, it is followed once; when the last has gone, nothing asks for it any more. What is
told comes from `standing`.
"""

import logging

import trio

from image_workers.web.standing import Gallery, Picture, Step
from periodic_client import CannotConnect, ConnectionLost, News, PeriodicError, ResultLost, TimedOut

_AGAIN_S = 1.0
_AWAY = (CannotConnect, ConnectionLost, TimedOut, PeriodicError)

_log = logging.getLogger(__name__)


class Bell:
    """Rung when there is something new; who waits hears it also if it was rung before."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self) -> None:
        await self._rung.wait()
        self._rung = trio.Event()


class Followed:
    """One picture that is followed, for all who look at it."""

    def __init__(self, gallery: Gallery, picture_id: str) -> None:
        self.picture = Picture(gallery, picture_id)
        self.exists = True
        self.is_known = False
        """Whether it was looked at once."""
        self.changes = 0
        self.bells: set[Bell] = set()
        self.scope = trio.CancelScope()
        self._client = gallery.client

    async def follow(self) -> None:
        with self.scope:
            try:
                await self._follow()
            except Exception:  # a bug here is one picture's, not the server's
                _log.exception("%s cannot be followed", self.picture.id)
                self._changed(trouble="how this picture stands cannot be told; look again later")

    async def _follow(self) -> None:
        while not self.is_known:
            try:
                self.exists = await self.picture.look()
                self.is_known = True
                self._changed()
            except (*_AWAY, OSError) as error:
                await self._trouble(error)
        if not self.exists:
            return
        async with trio.open_nursery() as nursery:
            for at, (planned, step) in enumerate(zip(self.picture.planned, self.picture.steps, strict=True)):
                before = None if planned.after is None else self.picture.steps[planned.after].state
                if step.state != "done" and before in (None, "done"):
                    nursery.start_soon(self._walk, at, nursery)

    async def _walk(self, at: int, nursery: trio.Nursery) -> None:
        """One step to its end, and then those that follow on it."""
        while not await self._has_ended(at):
            pass
        if self.picture.steps[at].state != "done":
            self.picture.fail_after(at)
        else:
            for each in self.picture.after(at):
                self.picture.steps[each] = Step("waiting")
                nursery.start_soon(self._walk, each, nursery)
            await self._measure()
        self._changed()

    async def _has_ended(self, at: int) -> bool:
        """Watch the job of this step; False if it must be looked at again."""
        planned = self.picture.planned[at]
        try:
            job = await self._client.get(planned.func, planned.name)
            self.picture.steps[at] = await self.picture.step_of(at, job)
            self._changed()
            if job is None or job["state"] == "dead":
                return True
            async for news in self._client.watch(planned.func, planned.name, id=job["id"]):
                await self._tell(at, news)
                if news.ended:
                    return news.ending != "replaced"
        except ResultLost:  # it ended between the two
            return False
        except (*_AWAY, OSError) as error:
            await self._trouble(error)
        return False

    async def _tell(self, at: int, news: News) -> None:
        step = Step("running" if news.state == "running" else "waiting", news.attempt or 0, news.reason)
        if news.ended and news.ending == "done":
            step = Step("done")  # its attempts are forgotten, as it is
        elif news.ended and news.ending != "replaced":
            step = Step("failed", news.attempt or 0, news.reason or f"the job was {news.ending}")
        elif step.state == "waiting" and step.attempt:  # it failed, and is tried again: when?
            planned = self.picture.planned[at]
            job = await self._client.get(planned.func, planned.name)
            if job is None:  # it is for the watch to say how it ended
                return
            step = await self.picture.step_of(at, job)
        self.picture.steps[at] = step
        self._changed()

    async def _measure(self) -> None:
        try:
            await self.picture.measure()
        except OSError as error:
            _log.warning("the files of %s could not be looked at: %s", self.picture.id, error)

    async def _trouble(self, error: Exception) -> None:
        _log.warning("%s: %s", self.picture.id, error)
        self._changed(trouble="the job server or the store of pictures is away; trying again")
        await trio.sleep(_AGAIN_S)

    def _changed(self, trouble: str | None = None) -> None:
        self.picture.trouble = trouble
        self.changes += 1
        for bell in self.bells:
            bell.ring()


class Followers:
    """Who looks at which pictures. What is followed runs in `nursery`."""

    def __init__(self, gallery: Gallery, nursery: trio.Nursery) -> None:
        self._gallery = gallery
        self._nursery = nursery
        self._followed: dict[str, Followed] = {}

    def join(self, picture_id: str, bell: Bell) -> Followed:
        """Follow the picture, and ring the bell at each change, until `leave`."""
        followed = self._followed.get(picture_id)
        if followed is None:
            followed = self._followed[picture_id] = Followed(self._gallery, picture_id)
            self._nursery.start_soon(followed.follow)
        followed.bells.add(bell)
        return followed

    def leave(self, followed: Followed, bell: Bell) -> None:
        followed.bells.discard(bell)
        if not followed.bells:
            followed.scope.cancel()
            del self._followed[followed.picture.id]

    def __len__(self) -> int:
        return len(self._followed)
