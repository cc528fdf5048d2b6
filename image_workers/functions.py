"""What each function does with a name, and which jobs follow from it. Knows no connection: values in, outcome out,
and a way to look at other jobs.

    save ──> resize ──> upload-next-compress each THUMBNAIL ──> compress ──> upload-next-remove COMPRESSED
      └────> upload-next-compress NAME ──> compress NAME ──> upload-next-remove COMPRESSED
    upload: only puts the file.     remove: deletes the file.

There may be several resize functions; each makes its thumbnails from one decoding. They come from their encoder as
small as they get, but for guetzli: it is slow, so it has the step `compress`, which begins with the pixels again, and
until then a quickly made thumbnail is published. Originals are compressed only if the configuration says
`compress-originals`: else they keep their bytes. The jobs `guetzli` and `upload-next-guetzli` are older names.

A job's name is a file below root; `save` takes its content as workload. What follows travels in the outcome, so it is
stored in the same commit as the end of the step: a chain breaks nowhere. A step that failed for good ends its branch
and stays visible among the dead jobs; it never goes on as if it had succeeded.

All steps of a picture join the group of the step before, if that is one's: of the configuration's `then`, whose job is
`finished` (finished.py), or of whoever submitted the `save`. Removals do not.

Whoever writes a file also submits its removal after the time `cache`; for an original with `then` it is `finished` that
does so. No file is removed as long as there is a job that
reads it, in any state: the removal looks, says in a header of its own job what it waits for, and comes again.

A job's follow-ons have fixed names, so running a step twice leaves the same jobs, and saving a picture anew replaces
the jobs of the old one.

A picture may be saved anew while its old chain still runs. Nothing old may win then:

* the removal carries the version of the file that it was submitted for; it leaves a newer one its own time;
* `compress` drops its result if its source changed meanwhile;
* the upload of a result carries the version of its source. Where that has changed, before the upload or during it, the
  new source is uploaded (again) after it, which also has it compressed.
"""

import io
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, TypeVar

import trio

from image_workers import metadata
from image_workers.chain import FINISHED, KEY, SOURCE, Chain, job
from image_workers.config import Config, ResizeConfig
from image_workers.declared import declared
from image_workers.decoder import Decoder
from image_workers.errors import Refused
from image_workers.guetzli import Guetzli
from image_workers.intake import START_BYTES, picture_type
from image_workers.locks import COMPRESS
from image_workers.pictures import Compressible, LeftAsIs
from image_workers.progress import UNWATCHED, Progress, Stopped, keep
from image_workers.stores import Store
from periodic_client import Done, Failed, Job, Later, NewJob

_HEADER_BYTES = 1_000_000
"""A size that stands behind more than that of a camera's data is not looked for."""
_LOOK_AGAIN_MS = 3_600_000
"""When a removal comes again that had to wait for another job; sooner if the time `cache` is shorter."""
_OLDER_NAMES = {"upload-next-guetzli": "upload-next-compress", "guetzli": "compress"}
"""Of steps whose jobs may still be in the store of a daemon."""
COMPRESSING = ("upload-next-guetzli", "upload-next-compress", "guetzli", "compress")
"""In the order of the chain."""
_WAITS_FOR = "waits-for"
"""The header of a removal that says for what."""

_NEVER_DOES = (Refused, FileExistsError, IsADirectoryError, NotADirectoryError)
"""The OSErrors are those of a name that goes through a file, or is that of a folder. Any other may be gone the next
time: a full disk, and also a missing file, since a shared file system may show a new file late."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a step that went well: a note for the log, and the jobs that follow.

    With `then` they are a group, and this job is due when all of them have ended. With `locks` it is not the end: the
    step is taken again, once the job has these.
    """

    note: str
    submit: tuple[NewJob, ...] = ()
    then: NewJob | None = None
    locks: dict[str, int] | None = None


SyncStep = Callable[[str, bytes, Progress], Step]
AsyncStep = Callable[[str, bytes, Progress], Awaitable[Step]]
Look = Callable[[str, str], Awaitable[dict[str, Any] | None]]
"""The job of this function and name, in any state, as `get` shows it; None if there is none."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function to subscribe to, for at most `limit` jobs at a time."""

    func: str
    limit: int
    call: Callable[[Job], Awaitable[Done | Failed | Later]]


async def perform(step: AsyncStep, job: Job) -> Done | Failed | Later:
    """Take the step, keep its lease meanwhile, and tell its outcome, in one line of the log too.

    A step raises `Refused` if it will never do; after any other error the job is tried again.
    """
    started_s = trio.current_time()
    progress = Progress(job)
    try:
        done = await keep(job, progress, partial(step, job.name, job.workload, progress))
    except Exception as error:
        return _failed(job.func, job.name, error)
    _log.info("%s %r: %s, %.0f ms", job.func, job.name, done.note, (trio.current_time() - started_s) * 1000)
    if done.locks is not None:
        return Later(locks=done.locks)
    return Done(submit=[_joining(each) for each in done.submit], then=done.then and _joining(done.then))


def _joining(follow_on: NewJob) -> NewJob:
    """Who waits for a picture waits for all of its steps, but not for days until its files are removed."""
    return follow_on if follow_on.func == "remove" else replace(follow_on, join_group=True)


def _failed(func: str, name: str, error: Exception) -> Failed:
    if isinstance(error, _NEVER_DOES):
        _log.warning("%s %r: given up: %s", func, name, error)
        return Failed(str(error), final=True)
    if isinstance(error, OSError | MemoryError | Stopped):
        _log.warning("%s %r: failed: %s", func, name, error)
    else:
        _log.exception("%s %r: failed", func, name)
    return Failed(f"{type(error).__name__}: {error}")


def function(func: str, limit: int, step: AsyncStep) -> Function:
    """The function that takes this step."""
    return Function(func, limit, partial(perform, step))


async def reader(config: Config, look: Look, name: str) -> str | None:
    """A job that writes the file, reads it or compares with it, in words.

    They are looked at in the order of the chain, so that one that ends meanwhile is seen as the next one.
    """
    jobs = [(func, name) for func in ("save", "upload", *config.groups)]
    jobs += [(func, each) for each in (name, *_made_of(config, name)) for func in COMPRESSING]
    jobs.append(("upload-next-remove", name))
    with suppress(Refused):
        jobs.append(("upload-next-remove", config.layout.compressed(name)))
    with suppress(Refused):
        jobs.append((FINISHED, config.layout.picture(name)))
    for func, of in jobs:
        if found := await look(func, of):
            return f"{func} {of}, which is {found['state']}"
    return None


def _made_of(config: Config, name: str) -> list[str]:
    """The thumbnails whose compression reads this file, which it does if they are guetzli's."""
    if config.compress == "off" or config.encoder != "guetzli" or not config.layout.is_original(name):
        return []
    return [config.layout.thumbnail(name, resize.suffix) for resize in config.resizes]


class ImageFunctions:
    """The steps of the chain over one root and one bucket.

    `guetzli` is None unless it is the encoder and runs here, `bucket` if nothing is uploaded here.
    """

    def __init__(
        self, config: Config, root: Store, bucket: Store | None, guetzli: Guetzli | None, look: Look, decoder: Decoder
    ) -> None:
        self._config = config
        self._layout = config.layout
        self._chain = Chain(config)
        self._root = root
        self._bucket = bucket
        self._guetzli = guetzli
        self._look = look
        self._decoder = decoder
        self._threads = trio.CapacityLimiter(config.thread)
        self._compressing = trio.Semaphore(config.guetzli_run.lock_count)

    def served(self) -> list[Function]:
        """The functions that this worker is configured to perform."""
        config = self._config
        uploads: dict[str, SyncStep] = {
            "upload": self.upload,
            "upload-next-compress": self.upload_next_compress,
            "upload-next-remove": self.upload_next_remove,
            "unpublish": self.unpublish,
        }
        functions = []
        if config.upload == "here":
            functions += [function(func, config.thread, partial(self._limited, step)) for func, step in uploads.items()]
        if config.save == "here":
            functions.append(function("save", config.thread, partial(self._in_thread, self.save)))
        for func, resizes in config.groups.items():
            functions.append(function(func, config.thread, partial(self.resize, resizes)))
        if config.remove == "here":
            functions.append(function("remove", config.thread, self.remove))
        if config.compress == "here":
            at_once = config.guetzli_run.lock_count if self._guetzli else config.thread
            functions.append(function("compress", at_once, self.compress))
        by_name = {each.func: each for each in functions}
        older = (replace(by_name[new], func=old) for old, new in _OLDER_NAMES.items() if new in by_name)
        return [*functions, *older]

    def save(self, name: str, workload: bytes, progress: Progress = UNWATCHED) -> Step:
        self._layout.check_original(name)
        if not workload:
            raise Refused("the workload is empty; it must be the content of the file")
        picture_type(name, workload)
        version = self._root.write(name, workload, progress)
        return Step(f"{len(workload)} bytes", self._chain.saved(name, version), self._chain.finished(name))

    async def resize(
        self, resizes: tuple[ResizeConfig, ...], name: str, _workload: bytes, progress: Progress = UNWATCHED
    ) -> Step:
        """All thumbnails of these, from one decoding."""
        self._layout.check_original(name)
        content, _ = await self._in_thread(self._root.read, name, self._config.max_bytes, progress)
        recipe = self._config.recipe(resizes)
        with progress.working():
            thumbnails = await self._decoder.thumbnails(content, recipe, self._config.max_pixels)
        jobs: list[NewJob] = []
        for resize, thumbnail in zip(resizes, thumbnails, strict=True):
            output = self._layout.thumbnail(name, resize.suffix)
            version = await self._in_thread(self._root.write, output, thumbnail, progress)
            jobs += [self._chain.upload(output), *self._chain.removal(output, version)]
        return Step(f"{len(content)} -> {' + '.join(str(len(each)) for each in thumbnails)} bytes", tuple(jobs))

    def upload(self, name: str, _workload: bytes, progress: Progress = UNWATCHED) -> Step:
        put = self._put(name, progress)
        return Step(f"{put.size} bytes")

    def upload_next_compress(self, name: str, _workload: bytes, progress: Progress = UNWATCHED) -> Step:
        self._layout.compressed(name)  # refuses a name that compress would
        put = self._put(name, progress)
        compresses = self._config.compress != "off" and self._chain.may_compress(name) and put.kind == "image/jpeg"
        return Step(f"{put.size} bytes", (self._chain.compress(name, put.pixels),) if compresses else ())

    async def compress(self, name: str, _workload: bytes, progress: Progress = UNWATCHED) -> Step:
        try:
            source = await self._in_thread(self._to_compress, name, progress)
            locks = self._chain.compress_locks(declared(source.content).pixels)
            if locks and (needed := await self._needs(name, locks)):
                return Step("it needs locks that it does not hold, and comes again when it can have them", locks=needed)
            with progress.working():
                result = await self._compressed(name, source)
            return await self._in_thread(self._keep_smaller, name, source, result, progress)
        except LeftAsIs as reason:
            return Step(f"left as it is: {reason}")

    async def _needs(self, name: str, locks: dict[str, int]) -> dict[str, int] | None:
        """All that the job is to hold, if its run holds less of these. Who submits by hand, or does not know how large
        the picture is, does not say it, and jobs of older workers do not either.
        """
        needed = None
        for func in COMPRESS:
            job = await self._look(func, name)
            if job is not None and job["state"] == "running":
                held: dict[str, int] = job.get("locks", {})
                if all(held.get(lock, 0) >= weight for lock, weight in locks.items()):
                    return None
                needed = held | {lock: max(held.get(lock, 0), weight) for lock, weight in locks.items()}
        return needed

    def upload_next_remove(self, name: str, workload: bytes, progress: Progress = UNWATCHED) -> Step:
        """The workload is the version of the file that `name` was compressed from, or empty for a plain upload."""
        source = self._layout.source(name) if workload else None
        if source and self._changed(source, workload):
            return self._saved_anew(source)
        put = self._put(name, progress)
        if source and self._changed(source, workload):
            return self._saved_anew(source)
        return Step(f"{put.size} bytes", self._chain.removal(name, put.version))

    def unpublish(self, name: str, _workload: bytes, _progress: Progress = UNWATCHED) -> Step:
        """Remove the object that `name`, the file of an original or a thumbnail, was put to."""
        assert self._bucket is not None
        if self._root.version(name) is not None:
            return Step("left: it was saved anew")
        removed = self._bucket.remove(self._layout.key(name))
        return Step("removed" if removed else "there is no such object")

    async def remove(self, name: str, workload: bytes, progress: Progress = UNWATCHED) -> Step:
        """The workload is the version of the file to remove, or empty for any."""
        version = await self._in_thread(self._root.version, name)
        if version is not None and workload and version.encode() != workload:
            return Step("left: it was written anew; removed later", self._chain.removal(name, version))
        if version is not None and (found := await reader(self._config, self._look, name)):
            return Step(f"left: it waits for {found}", (self._removal_after(name, workload, found),))
        # Also if there is none: its empty folder may have been left.
        removed = await self._in_thread(self._root.remove, name, version)
        return Step("removed" if removed else "there is no such file")

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        # Left behind if it stands still; `Progress.moved` then keeps it from doing any harm.
        return await trio.to_thread.run_sync(call, *arguments, limiter=self._threads, abandon_on_cancel=True)

    async def _limited(self, step: SyncStep, name: str, workload: bytes, progress: Progress) -> Step:
        """A step that may move for ever, by a byte a minute."""
        limit_s = self._config.upload_limit_ms / 1000
        try:
            with trio.fail_after(limit_s):
                return await self._in_thread(step, name, workload, progress)
        except trio.TooSlowError:
            reason = f"the upload took more than {limit_s:g} s (upload-limit), {progress.bytes} bytes were moved"
            progress.stop(reason)
            raise TimeoutError(reason) from None

    def _put(self, name: str, progress: Progress) -> "_Put":
        assert self._bucket is not None
        key = self._layout.key(name)
        with self._root.open(name, progress) as (file, version):
            kind = picture_type(name, file.read(START_BYTES))
            file.seek(0)
            pixels = declared(file.read(_HEADER_BYTES)).pixels
            file.seek(0)
            content: BinaryIO = file
            if self._config.strip != "no" and self._layout.is_original(name):
                content = io.BytesIO(self._original(name, progress)[0])
            size = content.seek(0, os.SEEK_END)
            content.seek(0)
            self._bucket.put(key, content, kind, progress)
        return _Put(size, version, kind, pixels)

    def _original(self, name: str, progress: Progress) -> tuple[bytes, str]:
        """What is published of an original, and the version that it has."""
        content, version = self._root.read(name, self._config.max_bytes, progress)
        return metadata.stripped(content, self._config.strip), version

    def _to_compress(self, name: str, progress: Progress) -> "_Source":
        self._layout.compressed(name)
        if not self._chain.may_compress(name):
            raise LeftAsIs(
                "an original keeps its bytes; compress-originals is not set"
                if self._layout.is_original(name)
                else "thumbnails are compressed when they are made, but for the JPEGs of guetzli"
            )
        if self._layout.is_original(name):
            return _Source(*self._original(name, progress))
        source = _Source(*self._root.read(name, self._config.max_bytes, progress))
        with suppress(FileNotFoundError):
            original, _ = self._layout.original(name)
            return replace(source, made_of=self._root.read(original, self._config.max_bytes, progress)[0])
        raise LeftAsIs(f"{original!r} is gone, and a thumbnail is not compressed from less than its pixels")

    async def _compressed(self, name: str, source: "_Source") -> bytes:
        if self._guetzli is None:
            return await self._decoder.repacked(source.content, self._config.max_pixels)
        max_pixels = self._config.guetzli_run.max_pixels
        if source.made_of is None:
            picture = await self._decoder.compressible_original(source.content, max_pixels)
        else:
            picture = await self._thumbnail_pixels(name, source.made_of)
        async with self._compressing:
            result = await self._guetzli.compress(picture, self._decoder.check_jpeg)
        return result if source.made_of else metadata.carried_over(source.content, result)

    async def _thumbnail_pixels(self, name: str, original: bytes) -> Compressible:
        resize = self._chain.resize(name)
        group = self._config.groups[resize.func]
        if not self._config.can_gain_by_guetzli(resize):
            raise LeftAsIs(
                f"guetzli at quality {self._config.guetzli_run.quality} needs more bytes than a thumbnail "
                f"of quality {resize.quality}"
            )
        return await self._decoder.thumbnail_pixels(
            original,
            self._config.recipe(group),
            group.index(resize),
            self._config.max_pixels,
            self._config.guetzli_run.max_pixels,
        )

    def _keep_smaller(self, name: str, source: "_Source", result: bytes, progress: Progress) -> Step:
        size = len(source.content)
        if len(result) >= size:
            raise LeftAsIs(f"{len(result)} bytes would not be smaller than {size}")
        if self._changed(name, source.version.encode()):
            raise LeftAsIs("it was saved anew, and its own compression follows")
        compressed = self._layout.compressed(name)
        headers = {KEY: self._layout.key(name), SOURCE: name}
        upload = job("upload-next-remove", compressed, source.version.encode(), headers=headers)
        return Step(
            f"{size} -> {len(result)} bytes",
            (upload, *self._chain.removal(compressed, self._root.write(compressed, result, progress))),
        )

    def _changed(self, name: str, version: bytes) -> bool:
        """Whether the file was written since; one that is gone was not."""
        current = self._root.version(name)
        return current is not None and current.encode() != version

    def _saved_anew(self, source: str) -> Step:
        return Step(f"{source!r} was saved anew and is uploaded again", (self._chain.upload(source),))

    def _removal_after(self, name: str, version: bytes, reader: str) -> NewJob:
        delay_ms = min(_LOOK_AGAIN_MS, self._config.cache_ms)
        return job("remove", name, version, delay_ms=delay_ms, headers={_WAITS_FOR: reader})


@dataclass(frozen=True, slots=True)
class _Put:
    """What was uploaded."""

    size: int
    version: str
    kind: str
    pixels: int
    """0 if they do not stand where they belong."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What is published of the file that is to be compressed, and the version of the file.

    `made_of` is the picture of which it is a thumbnail.
    """

    content: bytes
    version: str
    made_of: bytes | None = None
