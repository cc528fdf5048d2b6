"""`delete`: a picture with all that was made of it, everywhere, and what still waits for it.

First its jobs go, then its files below root, then its objects, as jobs of their own (`unpublish`), since an upload
worker may be somebody else's. In this order nothing that was made of the picture is left to make the rest again.

What runs at this moment is not interrupted by its job's end, but its worker hears of it and moves no byte any more, so
it gives no name to what it has written. What was made under an older configuration is not known here.
"""

from collections.abc import Awaitable, Callable, Iterator

import trio

from image_workers.chain import FINISHED, Chain, job
from image_workers.config import Config
from image_workers.functions import COMPRESSING, Function, Step, function
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores import Store

Cancel = Callable[[str, str], Awaitable[str]]
"""Takes away the job of this function and name, in any state; returns "removed", or "absent" if there was none."""

_ROUNDS = 10
"""No chain is so long."""
_EMPTY_ROUNDS = 2
"""In one round a job may have ended just before it was looked at, and its follow-on begun behind the look."""


class Deletion:
    """The function `delete`. A name is that of an original."""

    def __init__(self, config: Config, root: Store, cancel: Cancel) -> None:
        self._config = config
        self._layout = config.layout
        self._chain = Chain(config)
        self._root = root
        self._cancel = cancel

    def served(self) -> list[Function]:
        if not self._config.delete:
            return []
        return [function("delete", self._config.thread, self.delete)]

    async def delete(self, name: str, _workload: bytes, progress: Progress = UNWATCHED) -> Step:
        self._layout.check_original(name)
        jobs = await self._cancel_all(name, progress)
        files = 0
        for file in self._files(name):
            files += await trio.to_thread.run_sync(self._root.remove, file, abandon_on_cancel=True)
            progress.moved(0)
        objects = tuple(
            job("unpublish", each, headers={"key": self._layout.key(each)}) for each in self._chain.published(name)
        )
        return Step(f"{jobs} jobs and {files} files are gone, {len(objects)} objects follow", objects)

    async def _cancel_all(self, name: str, progress: Progress) -> int:
        jobs = empty_rounds = 0
        for _ in range(_ROUNDS):
            gone = [await self._cancel(func, of) for func, of in self._jobs(name)].count("removed")
            progress.moved(gone)
            jobs += gone
            empty_rounds = 0 if gone else empty_rounds + 1
            if empty_rounds == _EMPTY_ROUNDS:
                return jobs
        raise OSError(f"the jobs of {name!r} come again and again; somebody else submits them")

    def _files(self, name: str) -> Iterator[str]:
        for each in self._chain.published(name):
            yield each
            yield self._layout.compressed(each)

    def _jobs(self, name: str) -> Iterator[tuple[str, str]]:
        """In the order of the chain; but first what would tell that it is finished, when the rest is taken away."""
        yield FINISHED, name
        yield "save", name
        for func in self._config.groups:
            yield func, name
        for each in self._chain.published(name):
            compressed = self._layout.compressed(each)
            for func in ("upload", *COMPRESSING):
                yield func, each
            for func in ("upload", "upload-next-remove"):
                yield func, compressed
            yield "upload-next-remove", each
            yield "remove", each
            yield "remove", compressed
            yield "unpublish", each
