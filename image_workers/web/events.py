"""News of pictures as server-sent events: the whole state of a picture each time that it changes.

A stream ends by itself when nothing more can happen, and after some minutes, when a browser asks anew: so none stays
that nobody reads.
"""

import json
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

import trio

from image_workers.web.edge import Receive, Send
from image_workers.web.following import Bell, Followed, Followers

BEAT_S = 15.0
LIFE_S = 600.0

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """An answer that goes on, as an ASGI application. It holds its `place` among the listeners for as long."""

    def __init__(self, followers: Followers, picture_ids: list[str], place: AbstractContextManager[None]) -> None:
        self._followers = followers
        self._picture_ids = picture_ids
        self._place = place

    async def __call__(self, _scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        bell = Bell()
        with self._place:
            followed = [self._followers.join(each, bell) for each in self._picture_ids]
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                    await self._tell(followed, bell, send)
                    nursery.cancel_scope.cancel()
            finally:
                for each in followed:
                    self._followers.leave(each, bell)

    async def _tell(self, followed: list[Followed], bell: Bell, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        told = dict.fromkeys(self._picture_ids, 0)
        until_s = trio.current_time() + LIFE_S
        while trio.current_time() < until_s:
            lines = []
            for each in followed:
                if each.changes > told[each.picture.id]:
                    told[each.picture.id] = each.changes
                    lines.append(_event("picture" if each.exists else "absent", each.picture.shown()))
            if all(_is_over(each) for each in followed):
                lines.append(_event("end", {}))
                break
            await _send(send, "".join(lines) or ": still here\n\n")
            with trio.move_on_after(BEAT_S):
                await bell.heard()
        await send({"type": "http.response.body", "body": "".join(lines).encode(), "more_body": False})


def _is_over(followed: Followed) -> bool:
    return followed.is_known and (not followed.exists or followed.picture.has_ended)


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _send(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
