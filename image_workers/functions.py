"""What each function does with a name, and which jobs follow from it. Knows no connection: values in, outcome out.

    save ──> each resize function ──> upload-next-guetzli THUMBNAIL ──> guetzli ──> upload-next-remove
      └────> upload-next-guetzli NAME ──> guetzli NAME ──> upload-next-remove COMPRESSED
    upload: only puts the file.     remove: deletes the file.

A job's name is a file below root; `save` takes its content as workload. What follows travels in the outcome, so it is
stored in the same commit as the end of the step: a chain breaks nowhere. A step that failed for good ends its branch
and stays visible among the dead jobs; it never goes on as if it had succeeded.

Whoever writes a file also submits its removal after the time `cache`. A job's follow-ons have fixed names, so running a
step twice leaves the same jobs, and saving a picture anew replaces the jobs of the old one.

A picture may be saved anew while its old chain still runs. Nothing old may win then:

* the removal carries the version of the file that it was submitted for; it leaves a newer one its own time;
* guetzli drops its result if its source changed meanwhile;
* the upload of a result carries the version of its source. Where that has changed, before the upload or during it, the
  new source is uploaded (again) after it, which also sends it through guetzli.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from image_workers import pictures
from image_workers.config import Config, ResizeConfig
from image_workers.errors import Refused
from image_workers.files import Root
from image_workers.guetzli import Guetzli
from image_workers.pictures import Compressible, LeftAsIs
from image_workers.storage import Bucket
from periodic_client import Done, Failed, Job, NewJob, Retry

RETRY = Retry(limit=16, backoff="quadratic", delay_ms=1000, cap_ms=3_600_000)
"""Waits of c*(10+c) seconds after c earlier failures; the 17th failure is the last. 2,440 s of waiting in all."""

_LEASE_MS = 300_000
"""A step other than guetzli takes seconds; this long only if it hangs."""
_GUETZLI_MARGIN_MS = 60_000
"""guetzli's lease is its time limit and this, for what is done before and after it runs."""

_NEVER_DOES = (Refused, FileExistsError, IsADirectoryError, NotADirectoryError)
"""The OSErrors are those of a name that goes through a file, or is that of a folder. Any other may be gone the next
time: a full disk, and also a missing file, since a shared file system may show a new file late."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a step that went well: a note for the log, and the jobs that follow."""

    note: str
    submit: tuple[NewJob, ...] = ()


SyncStep = Callable[[str, bytes], Step]
AsyncStep = Callable[[str, bytes], Awaitable[Step]]


@dataclass(frozen=True, slots=True)
class Function:
    """A function to subscribe to, for at most `limit` jobs at a time."""

    func: str
    limit: int
    call: Callable[[Job], Awaitable[Done | Failed]]


async def perform(func: str, step: AsyncStep, name: str, workload: bytes) -> Done | Failed:
    """Take the step and tell its outcome, in one line of the log too.

    A step raises `Refused` if it will never do; after any other error the job is tried again.
    """
    started_s = trio.current_time()
    try:
        done = await step(name, workload)
    except Exception as error:
        return _failed(func, name, error)
    _log.info("%s %r: %s, %.0f ms", func, name, done.note, (trio.current_time() - started_s) * 1000)
    return Done(submit=done.submit)


def _failed(func: str, name: str, error: Exception) -> Failed:
    if isinstance(error, _NEVER_DOES):
        _log.warning("%s %r: given up: %s", func, name, error)
        return Failed(str(error), final=True)
    if isinstance(error, OSError | MemoryError):
        _log.warning("%s %r: failed: %s", func, name, error)
    else:
        _log.exception("%s %r: failed", func, name)
    return Failed(f"{type(error).__name__}: {error}")


def _function(func: str, limit: int, step: AsyncStep) -> Function:
    async def call(job: Job) -> Done | Failed:
        return await perform(func, step, job.name, job.workload)

    return Function(func, limit, call)


class ImageFunctions:
    """The steps of the chain over one root and one bucket. `guetzli` may be None if it is not run here."""

    def __init__(self, config: Config, root: Root, bucket: Bucket, guetzli: Guetzli | None) -> None:
        self._config = config
        self._layout = config.layout
        self._root = root
        self._bucket = bucket
        self._guetzli = guetzli
        self._threads = trio.CapacityLimiter(config.thread)

    def served(self) -> list[Function]:
        """The functions that this worker is configured to perform."""
        config = self._config
        steps: dict[str, SyncStep] = {
            "upload": self.upload,
            "upload-next-guetzli": self.upload_next_guetzli,
            "upload-next-remove": self.upload_next_remove,
        }
        if config.save == "here":
            steps["save"] = self.save
        if config.remove == "here":
            steps["remove"] = self.remove
        for resize in config.resizes:
            steps[resize.func] = partial(self.resize, resize)
        functions = [_function(func, config.thread, partial(self._in_thread, step)) for func, step in steps.items()]
        if self._guetzli:
            step = partial(self.guetzli, self._guetzli)
            functions.append(_function("guetzli", config.guetzli_run.lock_count, step))
        return functions

    def save(self, name: str, workload: bytes) -> Step:
        self._layout.check_original(name)
        if not workload:
            raise Refused("the workload is empty; it must be the content of the file")
        version = self._root.write(name, workload)
        resizes = (self._job(resize.func, name) for resize in self._config.resizes)
        return Step(
            f"{len(workload)} bytes", (self._job("upload-next-guetzli", name), *resizes, *self._removal(name, version))
        )

    def resize(self, resize: ResizeConfig, name: str, _workload: bytes) -> Step:
        self._layout.check_original(name)
        content, _ = self._root.read(name, self._config.max_bytes)
        thumbnail = pictures.thumbnail(
            content, width=resize.width, quality=resize.quality, max_pixels=self._config.max_pixels
        )
        output = self._layout.thumbnail(name, resize.suffix)
        version = self._root.write(output, thumbnail)
        return Step(
            f"{len(content)} -> {len(thumbnail)} bytes",
            (self._job("upload-next-guetzli", output), *self._removal(output, version)),
        )

    def upload(self, name: str, _workload: bytes) -> Step:
        size, _ = self._put(name)
        return Step(f"{size} bytes")

    def upload_next_guetzli(self, name: str, _workload: bytes) -> Step:
        self._layout.compressed(name)  # refuses a name that guetzli would
        size, _ = self._put(name)
        return Step(f"{size} bytes", () if self._config.guetzli == "off" else (self._job("guetzli", name),))

    async def guetzli(self, guetzli: Guetzli, name: str, _workload: bytes) -> Step:
        try:
            picture, size, version = await trio.to_thread.run_sync(self._compressible, name)
            result = await guetzli.compress(picture)
            return await trio.to_thread.run_sync(self._keep_smaller, name, size, version, result)
        except LeftAsIs as reason:
            return Step(f"left as it is: {reason}")

    def upload_next_remove(self, name: str, workload: bytes) -> Step:
        """The workload is the version of the file that `name` was compressed from, or empty for a plain upload."""
        source = self._layout.source(name) if workload else None
        if source and self._changed(source, workload):
            return self._saved_anew(source)
        size, version = self._put(name)
        if source and self._changed(source, workload):
            return self._saved_anew(source)
        return Step(f"{size} bytes", self._removal(name, version))

    def remove(self, name: str, workload: bytes) -> Step:
        """The workload is the version of the file to remove, or empty for any."""
        version = self._root.version(name)
        if version is None:
            return Step("there is no such file")
        if workload and version.encode() != workload:
            return Step("left: it was written anew; removed later", self._removal(name, version))
        self._root.remove(name)
        return Step("removed")

    async def _in_thread(self, step: SyncStep, name: str, workload: bytes) -> Step:
        return await trio.to_thread.run_sync(step, name, workload, limiter=self._threads)

    def _put(self, name: str) -> tuple[int, str]:
        key = self._layout.key(name)
        with self._root.open(name) as (file, version):
            kind = pictures.content_type(file.read(16))
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            self._bucket.put(key, file, kind)
        return size, version

    def _compressible(self, name: str) -> tuple[Compressible, int, str]:
        self._layout.compressed(name)
        content, version = self._root.read(name, self._config.max_bytes)
        return pictures.compressible(content, self._config.guetzli_run.max_pixels), len(content), version

    def _keep_smaller(self, name: str, size: int, version: str, result: bytes) -> Step:
        if len(result) >= size:
            raise LeftAsIs(f"{len(result)} bytes would not be smaller than {size}")
        if self._changed(name, version.encode()):
            raise LeftAsIs("it was saved anew, and its own compression follows")
        compressed = self._layout.compressed(name)
        upload = self._job("upload-next-remove", compressed, version.encode())
        return Step(
            f"{size} -> {len(result)} bytes",
            (upload, *self._removal(compressed, self._root.write(compressed, result))),
        )

    def _changed(self, name: str, version: bytes) -> bool:
        """Whether the file was written since; one that is gone was not."""
        current = self._root.version(name)
        return current is not None and current.encode() != version

    def _saved_anew(self, source: str) -> Step:
        return Step(f"{source!r} was saved anew and is uploaded again", (self._job("upload-next-guetzli", source),))

    def _removal(self, name: str, version: str) -> tuple[NewJob, ...]:
        if self._config.remove == "off":
            return ()
        return (self._job("remove", name, version.encode(), delay_ms=self._config.cache_ms),)

    def _job(self, func: str, name: str, workload: bytes = b"", delay_ms: int | None = None) -> NewJob:
        lease_ms = _LEASE_MS
        if func == "guetzli":
            lease_ms = self._config.guetzli_run.time_limit_s * 1000 + _GUETZLI_MARGIN_MS
        return NewJob(func, name, workload, delay_ms=delay_ms, lease_ms=lease_ms, retry=RETRY)
