"""`finished`: all steps of a picture have ended, however they did, and the function of the key `then` is told so, with
what was made and how small it is.

The steps are a group, and this is its job. A group waits for all that its first step submits, so the removal of the
original, which is due in days, is submitted here.
"""

import json
from functools import partial
from typing import TypedDict

import trio

from image_workers.chain import FINISHED, Chain
from image_workers.config import Config
from image_workers.functions import Function, Step, perform
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores import Store
from periodic_client import Done, Failed, Job, Later, NewJob

_GROUP = "group-"
"""How the headers begin that say how the steps ended."""


class Object(TypedDict):
    """What is published of a picture under one key, as it is told."""

    key: str
    bytes: int | None
    """None: there is no such object. Where somebody else uploads, of the file that is meant for it."""
    bytes_before: int | None
    """Of the original as it came, or of the thumbnail as it was made at first. None: there is no such file."""


class Finish:
    """The function `finished`. A name is that of an original; `bucket` is None if nothing is uploaded here."""

    def __init__(self, config: Config, root: Store, bucket: Store | None) -> None:
        self._config = config
        self._layout = config.layout
        self._chain = Chain(config)
        self._root = root
        self._bucket = bucket

    def served(self) -> list[Function]:
        return [Function(FINISHED, self._config.thread, self._run)] if self._config.then else []

    async def _run(self, job: Job) -> Done | Failed | Later:
        return await perform(partial(self.finished, job.headers), job)

    async def finished(
        self, headers: dict[str, str], name: str, _workload: bytes, progress: Progress = UNWATCHED
    ) -> Step:
        assert self._config.then is not None
        self._layout.check_original(name)
        objects = []
        for file in self._chain.published(name):
            objects.append(await trio.to_thread.run_sync(self._object, file, abandon_on_cancel=True))
            progress.moved(0)
        version = await trio.to_thread.run_sync(self._root.version, name, abandon_on_cancel=True)
        how = {each: text for each, text in headers.items() if each.startswith(_GROUP)}
        told = NewJob(self._config.then, name, json.dumps({"name": name, "objects": objects}), headers=how)
        removal = () if version is None else self._chain.removal(name, version)
        return Step(f"{told.func} is told of {len(objects)} objects", (told, *removal))

    def _object(self, file: str) -> Object:
        key = self._layout.key(file)
        before = self._root.size(file)
        if self._bucket is not None:
            return {"key": key, "bytes": self._bucket.size(key), "bytes_before": before}
        compressed = self._root.size(self._layout.compressed(file))
        return {"key": key, "bytes": before if compressed is None else compressed, "bytes_before": before}
