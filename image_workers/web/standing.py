"""How far a picture is: the state of each of its jobs, and the bytes that came of it. It asks the daemon and root, and
changes nothing in either.

A job that was done is gone from the daemon. So one that is not there is done if the one before it is, since what
follows is stored in the same commit as that end, and is yet to come if not. They are asked in the order of the chain:
one that ends meanwhile is then seen as the next one.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

import trio

from image_workers.chain import Chain, Planned
from image_workers.config import Config, ResizeConfig
from image_workers.names import type_of_name
from image_workers.stores import Store
from periodic_client import Client

State = Literal["to come", "waiting", "running", "done", "not needed", "failed", "not reached"]

_OF_THE_SYSTEM = re.compile(r"(?!MemoryError)(\w*(?:Error|Exception)): ")
_ENDED = ("done", "not needed", "failed", "not reached")
_STATES: Mapping[str, State] = {"waiting": "waiting", "behind": "waiting", "running": "running", "dead": "failed"}


@dataclass(slots=True)
class Step:
    """How a planned job stands. `reason` is that of its last failure."""

    state: State = "to come"
    attempt: int = 0
    reason: str | None = None
    due_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """What all pictures of one server share."""

    config: Config
    root: Store
    client: Client

    def name(self, picture_id: str) -> str:
        """The file of the picture below root."""
        return f"{self.config.serve.folder}/{picture_id}"


class Picture:
    """One picture, as far as it is known; `look` and `measure` know more."""

    def __init__(self, gallery: Gallery, picture_id: str) -> None:
        self.id = picture_id
        self.name = gallery.name(picture_id)
        self.planned = Chain(gallery.config).planned(self.name, type_of_name(picture_id) or "")
        self.steps = [Step() for _ in self.planned]
        self.trouble: str | None = None
        """Why the steps may be older than they look."""
        self._gallery = gallery
        self._layout = gallery.config.layout
        self._sizes: dict[str, int | None] = {}

    @property
    def has_ended(self) -> bool:
        return all(step.state in _ENDED for step in self.steps)

    def after(self, index: int) -> list[int]:
        """The steps that this one's end brings."""
        return [at for at, planned in enumerate(self.planned) if planned.after == index]

    async def look(self) -> bool:
        """Ask for all jobs and files; tell whether there is such a picture. Raises as `Client.get`, and OSError."""
        found = False
        for at, planned in enumerate(self.planned):
            before = None if planned.after is None else self.steps[planned.after].state
            if before not in (None, "done"):
                self.steps[at] = Step("not reached" if before in ("failed", "not reached") else "to come")
                continue
            job = await self._gallery.client.get(planned.func, planned.name)
            found = found or job is not None
            self.steps[at] = await self.step_of(at, job)
        await self.measure()
        return found or self._sizes[self.name] is not None

    async def step_of(self, at: int, job: dict[str, Any] | None) -> Step:
        """The step, whose turn it is, by its job. Raises OSError."""
        if job is not None:
            state = _STATES.get(job["state"], "waiting")
            due_at_ms = job.get("due_at_ms") if state == "waiting" else None
            return Step(state, job.get("attempt") or 0, job.get("reason"), due_at_ms)
        planned = self.planned[at]
        if planned.what == "publish again" and await self._size(planned.name) is None:  # it would not have been smaller
            return Step("not needed")
        return Step("done")

    async def measure(self) -> None:
        """Ask for the sizes of the files. Raises OSError."""
        for planned in self.planned:
            is_there = planned.after is None or self.steps[planned.after].state == "done"
            if is_there and self._sizes.get(planned.name) is None:
                self._sizes[planned.name] = await self._size(planned.name)

    async def _size(self, name: str) -> int | None:
        return await trio.to_thread.run_sync(self._gallery.root.size, name)

    def fail_after(self, index: int) -> None:
        """What would have followed on this step does not come."""
        for at in self.after(index):
            self.steps[at] = Step("not reached")
            self.fail_after(at)

    def best(self, name: str) -> str:
        """The file that is published of this one in the end, or until now."""
        compressed = self._layout.compressed(name)
        return compressed if self._sizes.get(compressed) else name

    def thumbnail(self, index: int) -> str:
        return self._layout.thumbnail(self.name, self._gallery.config.resizes[index].suffix)

    def shown(self) -> dict[str, Any]:
        """All of it, for JSON."""
        failed = any(step.state == "failed" for step in self.steps)
        return {
            "id": self.id,
            "link": f"/pictures/{self.id}",
            "state": ("failed" if failed else "done") if self.has_ended else "working",
            "trouble": self.trouble,
            "original": self._file(self.name),
            "thumbnails": [
                self._shape(resize) | self._file(self.thumbnail(at), f"/pictures/{self.id}/thumbnails/{at}")
                for at, resize in enumerate(self._gallery.config.resizes)
            ],
            "steps": [
                {"step": planned.what, "of": self._of(planned), "func": planned.func, "name": planned.name}
                | asdict(step)
                | {"reason": for_strangers(step.reason)}
                for planned, step in zip(self.planned, self.steps, strict=True)
            ],
        }

    def _file(self, name: str, link: str | None = None) -> dict[str, Any]:
        """Its bytes now, what they were before it was compressed, and where it is to be seen."""
        made, best = self._sizes.get(name), self._sizes.get(self.best(name))
        is_published = any(
            planned.name == name and planned.what == "publish" and step.state == "done"
            for planned, step in zip(self.planned, self.steps, strict=True)
        )
        public = self._gallery.config.serve.public_url
        return {
            "bytes": best,
            "bytes_before": made if best != made else None,
            "link": link if made is not None else None,
            "published": is_published,
            "url": f"{public}/{quote(self._layout.key(name))}" if public and is_published else None,
        }

    @staticmethod
    def _shape(resize: ResizeConfig) -> dict[str, Any]:
        return {"width": resize.width, "height": resize.height, "format": resize.format}

    def _of(self, planned: Planned) -> int | str:
        """Which picture the step is about: the index of a thumbnail, or the original."""
        name = self._layout.source(planned.name) if planned.what == "publish again" else planned.name
        thumbnails = [self.thumbnail(at) for at in range(len(self._gallery.config.resizes))]
        return thumbnails.index(name) if name in thumbnails else "original"


def for_strangers(reason: str | None) -> str | None:
    """Why a step failed. What the system said names folders and hosts, which are for the log of the worker."""
    match = _OF_THE_SYSTEM.match(reason or "")
    return f"it cannot be done at the moment ({match[1]}); the log of the worker says why" if match else reason
