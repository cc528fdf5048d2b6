"""Which jobs follow from a picture, by the configuration alone. Looks at no file, no job and no clock.

Who saves a picture (the function `save`, an upload, `submit-dir`) and who takes a step submit the same jobs, so they
are made here; and whoever wants to see how far a picture is learns here which jobs it will have.
"""

from dataclasses import dataclass
from typing import Literal

from image_workers.config import MEGAPIXELS_LOCK, Config, ResizeConfig
from periodic_client import NewJob, Retry

RETRY = Retry(limit=16, backoff="quadratic", delay_ms=1000, cap_ms=3_600_000)
"""Waits of c*(10+c) seconds after c earlier failures; the 17th failure is the last. 2,440 s of waiting in all."""
KEY, SOURCE, THEN = "key", "source", "then"
"""Headers for a stranger's upload worker: which object, made from which file, and which function comes next."""
FINISHED = "finished"
"""The function whose job runs when all steps of a picture have ended, and tells somebody."""

_LEASE_MS = 300_000
"""It is extended while the step moves, so this is only how long a job waits for a machine that fell over."""

What = Literal["publish", "thumbnails", "compress", "publish again"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A job that a picture has, or will have when the one at the index `after` is done."""

    what: What
    func: str
    name: str
    after: int | None = None


def job(
    func: str,
    name: str,
    workload: bytes = b"",
    delay_ms: int | None = None,
    headers: dict[str, str] | None = None,
    locks: dict[str, int] | None = None,
) -> NewJob:
    """A job as all that follow are: with the one lease and the one retry rule."""
    return NewJob(
        func, name, workload, headers=headers, locks=locks, delay_ms=delay_ms, lease_ms=_LEASE_MS, retry=RETRY
    )


class Chain:
    """The jobs of pictures under one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._layout = config.layout

    def saved(self, name: str, version: str) -> tuple[NewJob, ...]:
        """What follows when the original has been written.

        The removal only if nothing waits for the end of all these: it is due in days. Else it follows on that.
        """
        resizes = (job(func, name) for func in self._config.groups)
        return (self.upload(name), *resizes, *(() if self._config.then else self.removal(name, version)))

    def finished(self, name: str) -> NewJob | None:
        """What is due when these have ended, and all that follows on them; if somebody is to be told."""
        return job(FINISHED, name) if self._config.then else None

    def published(self, name: str) -> tuple[str, ...]:
        """The files of the original that are published, each under a key of its own."""
        return (name, *(self._layout.thumbnail(name, resize.suffix) for resize in self._config.resizes))

    def upload(self, name: str) -> NewJob:
        headers = {KEY: self._layout.key(name)}
        if self._config.compress != "off" and self.may_compress(name):
            headers[THEN] = "compress"
        return job("upload-next-compress", name, headers=headers)

    def compress(self, name: str, pixels: int) -> NewJob:
        """`pixels`: of the picture, 0 if they are not known; then it learns by its run what it needs."""
        return job("compress", name, locks=self.compress_locks(pixels))

    def compress_locks(self, pixels: int) -> dict[str, int]:
        """What a compression takes of each lock. A picture of more than all there is takes all, and runs alone."""
        capacities = self._config.locks
        weights = dict.fromkeys(capacities, 1)
        if MEGAPIXELS_LOCK in capacities:
            weights[MEGAPIXELS_LOCK] = max(1, min(-(-pixels // 1_000_000), capacities[MEGAPIXELS_LOCK]))
        return weights

    def removal(self, name: str, version: str) -> tuple[NewJob, ...]:
        if self._config.remove == "off":
            return ()
        return (job("remove", name, version.encode(), delay_ms=self._config.cache_ms),)

    def may_compress(self, name: str) -> bool:
        """Whether it is compressed, if it is a JPEG."""
        if self._layout.is_original(name):
            return self._config.compress_originals
        return self._config.encoder == "guetzli" and self.resize(name).format == "jpeg"

    def resize(self, thumbnail: str) -> ResizeConfig:
        _, suffix = self._layout.original(thumbnail)
        return next(each for each in self._config.resizes if each.suffix == suffix)

    def planned(self, name: str, kind: str) -> tuple[Planned, ...]:
        """All jobs of the original but its removals, each behind the one that submits it. `kind`: its media type."""
        jobs: list[Planned] = []
        self._publish(jobs, name, None, kind == "image/jpeg")
        for func, resizes in self._config.groups.items():
            made = len(jobs)
            jobs.append(Planned("thumbnails", func, name))
            for resize in resizes:
                self._publish(jobs, self._layout.thumbnail(name, resize.suffix), made, True)
        return tuple(jobs)

    def _publish(self, jobs: list[Planned], name: str, after: int | None, is_jpeg: bool) -> None:
        jobs.append(Planned("publish", "upload-next-compress", name, after))
        if is_jpeg and self._config.compress != "off" and self.may_compress(name):
            jobs.append(Planned("compress", "compress", name, len(jobs) - 1))
            again = Planned("publish again", "upload-next-remove", self._layout.compressed(name), len(jobs) - 1)
            jobs.append(again)
