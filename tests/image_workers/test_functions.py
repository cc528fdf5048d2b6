"""Which jobs follow from which step, and what is in root and in the bucket at each moment."""

import hashlib
import io
import logging
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageChops, ImageStat

from image_workers.config import Config, parse
from image_workers.decoder import Decoder
from image_workers.errors import Refused
from image_workers.functions import ImageFunctions, Step, perform
from image_workers.guetzli import Guetzli
from image_workers.pictures import Compressible
from image_workers.progress import UNWATCHED, Progress
from image_workers.stores.folder import FolderStore
from periodic_client import Done, Failed, Later, NewJob, Retry
from tests.image_workers.made import thumbnail

Picture = Callable[[str], bytes]

ALL = """
enable-save: true
enable-remove: true
enable-guetzli: true
cache: 5d
quality: 98
guetzli: {time-limit: 10m}
resizes:
  - {func: resize-96, width: 96, suffix: _fw96.jpg}
  - {func: resize-64, width: 64, suffix: _fw64.jpg}
"""
THUMBNAIL = "resize-image/x_fw64.jpg"


class Small(Guetzli):
    """Not guetzli, where its time or its result does not matter: a JPEG of a few bytes."""

    async def compress(self, picture: Compressible, check: object) -> bytes:
        return jpeg(b"small")


CACHE_MS = 432_000_000
HOUR_MS = 3_600_000
RETRY = Retry(limit=16, backoff="quadratic", delay_ms=1000, cap_ms=3_600_000)


def jpeg(content: bytes) -> bytes:
    """What begins as a JPEG, so that it is published."""
    return b"\xff\xd8\xff\xe0" + content


@dataclass
class Place:
    """Image functions on folders of their own."""

    folder: Path
    config: Config
    guetzli: Guetzli | None
    decoder: Decoder
    functions: ImageFunctions = field(init=False)
    root: FolderStore = field(init=False)
    bucket: FolderStore = field(init=False)
    jobs: dict[tuple[str, str], str] = field(default_factory=dict)
    """The jobs that there are, with their states."""

    def __post_init__(self) -> None:
        self.root = FolderStore(self.folder / "root")
        self.bucket = FolderStore(self.folder / "bucket" / "photos")
        self.functions = ImageFunctions(self.config, self.root, self.bucket, self.guetzli, self.look, self.decoder)

    async def look(self, func: str, name: str) -> dict[str, Any] | None:
        state = self.jobs.get((func, name))
        return {"state": state} if state else None

    def files(self, of: str = "root") -> dict[str, bytes]:
        folder = self.folder / of
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    async def run_compress(self, name: str) -> Step:
        return await self.functions.compress(name, b"")

    async def resize(self, func: str, name: str) -> Step:
        return await self.functions.resize(self.config.groups[func], name, b"")


MakePlace = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path, decoder: Decoder) -> MakePlace:
    def make_place(text: str = ALL, guetzli: Guetzli | None = None) -> Place:
        return Place(tmp_path, parse(text), guetzli, decoder)

    return make_place


def short(job: NewJob) -> str:
    """A job as `func name`, and when it is due if that is not now."""
    return f"{job.func} {job.name}" + (f" +{job.delay_ms} ms" if job.delay_ms is not None else "")


def follow_ons(step: Step) -> list[str]:
    return [short(job) for job in step.submit]


def test_save_writes_the_file_and_starts_the_chain(make: MakePlace) -> None:
    place = make()
    step = place.functions.save("a/x.jpg", jpeg(b"bytes"))
    assert place.files() == {"a/x.jpg": jpeg(b"bytes")}
    assert follow_ons(step) == [
        "upload-next-compress a/x.jpg",
        "resize-96 a/x.jpg",
        "resize-64 a/x.jpg",
        f"remove a/x.jpg +{CACHE_MS} ms",
    ]


def test_save_makes_a_group_of_the_chain_if_somebody_is_to_be_told(make: MakePlace) -> None:
    step = make(f"{ALL}\nthen: told").functions.save("a/x.jpg", jpeg(b"bytes"))
    assert follow_ons(step) == ["upload-next-compress a/x.jpg", "resize-96 a/x.jpg", "resize-64 a/x.jpg"]
    assert step.then is not None
    assert short(step.then) == "finished a/x.jpg"
    assert make().functions.save("a/x.jpg", jpeg(b"bytes")).then is None


async def test_resize_writes_the_thumbnail_and_uploads_it(make: MakePlace, picture: Picture) -> None:
    place = make()
    place.root.write("a/x.png", picture("palette-transparent.png"))
    step = await place.resize("resize-96", "a/x.png")
    assert Image.open(io.BytesIO(place.files()["resize-image/a/x.png~_fw96.jpg"])).size == (96, 54)
    assert follow_ons(step) == [
        "upload-next-compress resize-image/a/x.png~_fw96.jpg",
        f"remove resize-image/a/x.png~_fw96.jpg +{CACHE_MS} ms",
    ]


def test_upload_next_compress_puts_the_file_and_then_compresses_a_thumbnail(make: MakePlace) -> None:
    place = make()
    thumbnail = "resize-image/a/x_fw96.jpg"
    place.root.write("a/x.jpg", jpeg(b"one"))
    place.root.write(thumbnail, jpeg(b"two"))
    assert follow_ons(place.functions.upload_next_compress("a/x.jpg", b"")) == []
    assert follow_ons(place.functions.upload_next_compress(thumbnail, b"")) == [f"compress {thumbnail}"]
    assert place.files("bucket") == {"photos/a/x.jpg": jpeg(b"one"), "photos/a/x_fw96.jpg": jpeg(b"two")}


def test_an_original_is_compressed_if_the_configuration_says_so_and_it_is_a_jpeg(
    make: MakePlace, picture: Picture
) -> None:
    place = make(ALL + "compress-originals: true\n")
    place.root.write("a/x.jpg", jpeg(b"one"))
    place.root.write("a/x.png", picture("one-pixel.png"))
    assert follow_ons(place.functions.upload_next_compress("a/x.jpg", b"")) == ["compress a/x.jpg"]
    assert follow_ons(place.functions.upload_next_compress("a/x.png", b"")) == []


async def test_guetzli_writes_a_smaller_file_and_uploads_it(
    make: MakePlace, picture: Picture, guetzli_program: str
) -> None:
    place = make(guetzli=Guetzli(guetzli_program))
    place.root.write("x.jpg", picture("progressive-444.jpg"))
    await place.resize("resize-64", "x.jpg")
    step = await place.run_compress("resize-image/x_fw64.jpg")
    files = place.files()
    assert 0 < len(files["guetzli/x_fw64.jpg"]) < len(files["resize-image/x_fw64.jpg"])
    assert follow_ons(step) == ["upload-next-remove guetzli/x_fw64.jpg", f"remove guetzli/x_fw64.jpg +{CACHE_MS} ms"]


def test_upload_next_remove_puts_over_the_earlier_object(make: MakePlace) -> None:
    place = make()
    place.bucket.put("x_fw64.jpg", io.BytesIO(b"earlier"), "image/jpeg")
    place.root.write("guetzli/x_fw64.jpg", jpeg(b"compressed"))
    step = place.functions.upload_next_remove("guetzli/x_fw64.jpg", b"")
    assert place.files("bucket") == {"photos/x_fw64.jpg": jpeg(b"compressed")}
    assert follow_ons(step) == [f"remove guetzli/x_fw64.jpg +{CACHE_MS} ms"]


def test_upload_only_puts(make: MakePlace) -> None:
    place = make()
    place.root.write("x.bin.jpg", jpeg(b"any bytes"))
    assert place.functions.upload("x.bin.jpg", b"") == Step("13 bytes")
    assert place.files("bucket") == {"photos/x.bin.jpg": jpeg(b"any bytes")}


async def test_remove_removes_what_there_is_and_the_folders_that_are_empty_then(make: MakePlace) -> None:
    place = make()
    place.root.write("a/b/c/x.jpg", b"x")
    place.root.write("a/y.jpg", b"y")
    assert await place.functions.remove("a/b/c/x.jpg", b"") == Step("removed")
    assert await place.functions.remove("a/b/c/x.jpg", b"") == Step("there is no such file")
    assert place.files() == {"a/y.jpg": b"y"}
    assert not (place.folder / "root" / "a" / "b").exists()


@pytest.mark.parametrize("state", ["waiting", "running", "dead"])
@pytest.mark.parametrize(
    ("func", "name", "kept"),
    [
        ("upload", "x.jpg", "x.jpg"),
        ("upload-next-compress", "x.jpg", "x.jpg"),
        ("resize-64", "x.jpg", "x.jpg"),
        ("compress", "resize-image/x_fw64.jpg", "resize-image/x_fw64.jpg"),
        ("upload-next-compress", "resize-image/x_fw64.jpg", "resize-image/x_fw64.jpg"),
        ("upload-next-remove", "guetzli/x_fw64.jpg", "guetzli/x_fw64.jpg"),
        # It compares the source's version, so as not to overwrite what was saved anew.
        ("upload-next-remove", "guetzli/x_fw64.jpg", "resize-image/x_fw64.jpg"),
    ],
)
@pytest.mark.parametrize(("cache", "again_ms"), [("5d", HOUR_MS), ("8s", 8000)])
async def test_a_file_that_a_job_reads_is_not_removed_and_the_removal_says_why(
    make: MakePlace, state: str, func: str, name: str, kept: str, cache: str, again_ms: int
) -> None:
    place = make(ALL.replace("cache: 5d", f"cache: {cache}"))
    version = place.root.write(kept, b"x").encode()
    place.jobs[func, name] = state
    step = await place.functions.remove(kept, version)
    assert place.files() == {kept: b"x"}
    assert [(short(job), job.workload, job.headers) for job in step.submit] == [
        (f"remove {kept} +{again_ms} ms", version, {"waits-for": f"{func} {name}, which is {state}"})
    ]
    place.jobs.clear()
    assert await place.functions.remove(kept, version) == Step("removed")
    assert place.files() == {}


async def test_a_job_that_ends_and_submits_the_next_while_the_removal_looks_is_seen(make: MakePlace) -> None:
    """Wherever the chain goes on between two looks, the later one finds what came of it."""
    thumbnail = "resize-image/x_fw64.jpg"
    chain = [("upload-next-compress", thumbnail), ("compress", thumbnail), ("upload-next-remove", "guetzli/x_fw64.jpg")]
    for moves_after in range(10):
        place = make()
        version = place.root.write(thumbnail, b"x").encode()
        looks = 0

        async def look(func: str, name: str, moves_after: int = moves_after) -> dict[str, Any] | None:
            nonlocal looks
            looks += 1
            there = chain[0 if looks <= moves_after else 1]
            return {"state": "waiting"} if (func, name) == there else None

        functions = ImageFunctions(place.config, place.root, place.bucket, None, look, place.decoder)
        assert (await functions.remove(thumbnail, version)).submit


def test_every_follow_on_is_retried_by_the_one_rule_and_has_the_one_lease(make: MakePlace) -> None:
    place = make()
    place.root.write("resize-image/x_fw64.jpg", jpeg(b"x"))
    jobs = [
        *place.functions.save("x.jpg", jpeg(b"x")).submit,
        *place.functions.upload_next_compress("resize-image/x_fw64.jpg", b"").submit,
    ]
    assert {job.func for job in jobs} == {"upload-next-compress", "resize-96", "resize-64", "remove", "compress"}
    for job in jobs:
        assert job.retry == RETRY
        assert job.lease_ms == 300_000, "which is extended while the step moves"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("enable-save: true\nenable-guetzli: true\ncompress-originals: true", "remove"),
        ("enable-save: true\nenable-remove: true\ncompress-originals: true", "compress"),
    ],
)
def test_a_step_that_nobody_performs_is_not_submitted(make: MakePlace, text: str, missing: str) -> None:
    place = make(text)
    jobs = [
        *place.functions.save("x.jpg", jpeg(b"x")).submit,
        *place.functions.upload_next_compress("x.jpg", b"").submit,
    ]
    assert {"remove", "compress", "upload-next-compress"} - {job.func for job in jobs} == {missing}


def test_a_step_that_another_worker_performs_is_submitted_but_not_served(make: MakePlace) -> None:
    place = make("enable-remove: elsewhere\nenable-guetzli: elsewhere\ncompress-originals: true")
    jobs = [
        *place.functions.save("x.jpg", jpeg(b"x")).submit,
        *place.functions.upload_next_compress("x.jpg", b"").submit,
    ]
    assert {job.func for job in jobs} == {"upload-next-compress", "remove", "compress"}
    assert {function.func for function in place.functions.served()} == {
        "upload",
        "upload-next-compress",
        "upload-next-guetzli",
        "upload-next-remove",
        "unpublish",
    }


def test_uploads_that_another_worker_performs_say_all_that_it_must_know(make: MakePlace) -> None:
    place = make(ALL + "enable-upload: elsewhere\n", Guetzli("guetzli"))
    assert {function.func for function in place.functions.served()} == {
        "save", "resize-96", "resize-64", "compress", "guetzli", "remove",
    }  # fmt: skip
    upload = place.functions.save("a/x.jpg", jpeg(b"")).submit[0]
    assert (short(upload), upload.headers) == ("upload-next-compress a/x.jpg", {"key": "a/x.jpg"})


async def test_the_headers_of_an_upload_name_its_object_its_source_and_what_comes_next(
    make: MakePlace, picture: Picture, guetzli_program: str
) -> None:
    place = make(guetzli=Guetzli(guetzli_program))
    place.root.write("a/x.jpg", picture("progressive-444.jpg"))
    upload = (await place.resize("resize-64", "a/x.jpg")).submit[0]
    assert upload.headers == {"key": "a/x_fw64.jpg", "then": "compress"}
    again = (await place.run_compress("resize-image/a/x_fw64.jpg")).submit[0]
    assert again.headers == {"key": "a/x_fw64.jpg", "source": "resize-image/a/x_fw64.jpg"}
    assert again.workload == hashlib.sha256(place.files()["resize-image/a/x_fw64.jpg"]).hexdigest().encode()


async def test_an_upload_that_moves_for_too_long_has_failed(make: MakePlace) -> None:
    place = make("upload-limit: 1s")
    place.root.write("x.jpg", jpeg(b"12345"))
    waits, told = threading.Event(), threading.Event()

    class TricklingBucket(FolderStore):
        def put(self, name: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
            try:
                while not waits.wait(0.01):
                    progress.moved(1)
            finally:
                told.set()
            return "never"

    bucket = TricklingBucket(place.folder / "trickling")
    functions = ImageFunctions(place.config, place.root, bucket, None, place.look, place.decoder)
    upload = next(function for function in functions.served() if function.func == "upload")
    outcome = await upload.call(StandInJob("x.jpg", b"", "upload"))  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    assert not outcome.final
    assert re.fullmatch(
        r"TimeoutError: the upload took more than 1 s \(upload-limit\), \d+ bytes were moved", outcome.reason
    )
    await trio.to_thread.run_sync(told.wait)


async def test_a_job_that_was_taken_away_moves_no_more_bytes(make: MakePlace) -> None:
    place = make()
    job = StandInJob("x.jpg", jpeg(b"12345"), "save", lost=True)
    save = next(function for function in place.functions.served() if function.func == "save")
    outcome = await save.call(job)  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    assert "the job was taken away" in outcome.reason
    assert place.files() == {}


def test_unpublish_removes_the_object_unless_the_picture_was_saved_anew(make: MakePlace) -> None:
    place = make()
    place.bucket.write("x.jpg", b"object")
    place.bucket.write("x_fw64.jpg", b"thumbnail")
    place.root.write("x.jpg", b"saved anew")
    assert place.functions.unpublish("x.jpg", b"") == Step("left: it was saved anew")
    assert place.functions.unpublish("resize-image/x_fw64.jpg", b"") == Step("removed")
    assert place.functions.unpublish("resize-image/x_fw64.jpg", b"") == Step("there is no such object")
    assert place.files("bucket") == {"photos/x.jpg": b"object"}


def test_what_is_enabled_is_served_with_its_limit(make: MakePlace) -> None:
    place = make(ALL + "thread: 7\n", Guetzli("guetzli"))
    limits = {function.func: function.limit for function in place.functions.served()}
    assert limits == {
        "save": 7, "upload": 7, "upload-next-compress": 7, "upload-next-remove": 7, "unpublish": 7, "remove": 7,
        "resize-96": 7, "resize-64": 7, "compress": 1,
        # The older names of two of them.
        "upload-next-guetzli": 7, "guetzli": 1,
    }  # fmt: skip


async def test_a_stored_job_of_an_older_name_goes_on_as_one_of_the_new(make: MakePlace, picture: Picture) -> None:
    place = make(guetzli=Small("guetzli"))
    calls = {function.func: function.call for function in place.functions.served()}
    place.root.write("x.jpg", picture("photo.webp"))
    await place.resize("resize-64", "x.jpg")
    uploaded = await calls["upload-next-guetzli"](StandInJob(THUMBNAIL, b""))  # type: ignore[arg-type]
    compressed = await calls["guetzli"](StandInJob(THUMBNAIL, b""))  # type: ignore[arg-type]
    assert [short(job) for job in uploaded.submit] == [f"compress {THUMBNAIL}"]
    assert short(compressed.submit[0]) == "upload-next-remove guetzli/x_fw64.jpg"


async def test_jobs_of_both_names_together_run_no_more_at_once_than_the_lock_count(
    make: MakePlace, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = pixels_of = 0
    both = trio.Event()

    class Counting(Small):
        async def compress(self, picture: Compressible, check: object) -> bytes:
            nonlocal at_once
            at_once += 1
            await both.wait()  # so the other one has nothing left to do before its turn
            await trio.testing.wait_all_tasks_blocked()
            assert at_once == 1
            at_once -= 1
            return await super().compress(picture, check)

    place = make(guetzli=Counting("guetzli"))
    thumbnail_pixels = place.decoder.thumbnail_pixels

    async def counted(*arguments: Any) -> Compressible:
        nonlocal pixels_of
        found = await thumbnail_pixels(*arguments)
        pixels_of += 1
        if pixels_of == 2:
            both.set()
        return found

    monkeypatch.setattr(place.decoder, "thumbnail_pixels", counted)
    calls = {function.func: function.call for function in place.functions.served()}
    place.root.write("x.jpg", picture("photo.webp"))
    for func in ("resize-96", "resize-64"):
        await place.resize(func, "x.jpg")

    async def perform_one(func: str, suffix: str) -> None:
        outcome = await calls[func](StandInJob(f"resize-image/x{suffix}", b"", func))  # type: ignore[arg-type]
        assert isinstance(outcome, Done)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(perform_one, "compress", "_fw96.jpg")
        nursery.start_soon(perform_one, "guetzli", "_fw64.jpg")
    assert at_once == 0


class TestTheWholeChain:
    async def run(self, place: Place, waiting: list[NewJob]) -> dict[str, Done | Failed]:
        """Run jobs and what follows from them, but removals, as the daemon would; the outcomes by job."""
        calls = {function.func: function for function in place.functions.served()}
        outcomes: dict[str, Done | Failed] = {}
        while waiting:
            job = waiting.pop(0)
            if job.func == "remove":
                continue
            assert isinstance(job.workload, bytes)
            outcome = await calls[job.func].call(StandInJob(job.name, job.workload, job.func))  # type: ignore[arg-type]
            assert not isinstance(outcome, Later)
            outcomes[short(job)] = outcome
            waiting.extend(outcome.submit)
        return outcomes

    async def test_pictures_end_compressed_in_the_bucket(
        self, make: MakePlace, picture: Picture, guetzli_program: str
    ) -> None:
        place = make(ALL.replace("10m", "10m, max-megapixels: 0.01"), Guetzli(guetzli_program))
        small = thumbnail(picture("photo.webp"), width=100, quality=100, max_pixels=1_000_000)
        originals = {"x.jpg": picture("orientation-6.jpg"), "x.png": picture("alpha.png"), "a/x.jpg": small}
        jobs = [NewJob("save", name, content) for name, content in originals.items()]
        outcomes = await self.run(place, jobs)
        assert all(isinstance(outcome, Done) for outcome in outcomes.values())
        root, bucket = place.files(), place.files("bucket")
        for name in ("x", "x.png~", "a/x"):
            for suffix in ("_fw96.jpg", "_fw64.jpg"):
                uncompressed = root[f"resize-image/{name}{suffix}"]
                assert len(bucket[f"photos/{name}{suffix}"]) < 0.8 * len(uncompressed)
                assert bucket[f"photos/{name}{suffix}"] == root[f"guetzli/{name}{suffix}"]
        for name, content in originals.items():
            assert bucket[f"photos/{name}"] == content, "originals keep their bytes"
        assert len(bucket) == 9

    async def test_a_broken_picture_fails_at_once_and_alone(
        self, make: MakePlace, picture: Picture, guetzli_program: str
    ) -> None:
        place = make(ALL.replace("10m", "10m, max-megapixels: 0.6"), Guetzli(guetzli_program))
        names = ("truncated.jpg", "not-an-image.jpg", "svg-script.jpg", "photo.webp")
        jobs = [NewJob("save", name, picture(name)) for name in names]
        outcomes = await self.run(place, jobs)
        failed = {job: outcome for job, outcome in outcomes.items() if isinstance(outcome, Failed)}
        assert set(failed) == {
            "save not-an-image.jpg",
            "save svg-script.jpg",
            "resize-96 truncated.jpg",
            "resize-64 truncated.jpg",
        }
        for outcome in failed.values():
            assert isinstance(outcome, Failed)
            assert outcome.final
            assert not outcome.submit
        assert "it ends before its last row" in failed["resize-96 truncated.jpg"].reason
        assert len(place.files("bucket")) == 4, "truncated.jpg, photo.webp and its two thumbnails"


@dataclass
class StandInJob:
    """What the functions read of a job."""

    name: str
    workload: bytes
    func: str = "resize"
    lease_ms: int = 300_000
    lost: bool = False

    async def extend(self) -> None:
        """The step is over before that."""


class TestNothingOldWins:
    async def test_a_removal_leaves_a_newer_file_its_own_time(self, make: MakePlace) -> None:
        place = make()
        removal = place.functions.save("x.jpg", jpeg(b"old")).submit[-1]
        newer = place.functions.save("x.jpg", jpeg(b"newer")).submit[-1]
        assert isinstance(removal.workload, bytes)
        step = await place.functions.remove("x.jpg", removal.workload)
        assert place.files() == {"x.jpg": jpeg(b"newer")}
        assert step.submit == (newer,)
        assert isinstance(newer.workload, bytes)
        assert await place.functions.remove("x.jpg", newer.workload) == Step("removed")

    async def test_guetzli_drops_its_result_if_the_source_was_saved_anew(
        self, make: MakePlace, picture: Picture
    ) -> None:
        class SavedAnewMeanwhile(Small):
            async def compress(self, picture: Compressible, check: object) -> bytes:
                place.root.write(THUMBNAIL, b"new")
                return await super().compress(picture, check)

        place = make(guetzli=SavedAnewMeanwhile("guetzli"))
        place.root.write("x.jpg", picture("photo.webp"))
        await place.resize("resize-64", "x.jpg")
        assert await place.run_compress(THUMBNAIL) == Step(
            "left as it is: it was saved anew, and its own compression follows"
        )
        assert place.files() == {"x.jpg": picture("photo.webp"), THUMBNAIL: b"new"}

    def test_an_old_result_is_not_uploaded_and_the_new_source_is(self, make: MakePlace) -> None:
        place = make()
        version = place.root.write("resize-image/x_fw64.jpg", jpeg(b"old")).encode()
        place.root.write("guetzli/x_fw64.jpg", jpeg(b"old compressed"))
        place.root.write("resize-image/x_fw64.jpg", jpeg(b"newer"))
        place.functions.upload_next_compress("resize-image/x_fw64.jpg", b"")
        step = place.functions.upload_next_remove("guetzli/x_fw64.jpg", version)
        assert place.files("bucket") == {"photos/x_fw64.jpg": jpeg(b"newer")}
        assert follow_ons(step) == ["upload-next-compress resize-image/x_fw64.jpg"]

    def test_a_source_saved_anew_during_the_upload_is_uploaded_after_it(self, make: MakePlace) -> None:
        place = make()
        version = place.root.write("x.jpg", jpeg(b"old")).encode()
        place.root.write("guetzli/x.jpg", jpeg(b"old compressed"))

        class SlowBucket(FolderStore):
            def put(self, key: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
                place.root.write("x.jpg", jpeg(b"newer"))
                place.functions.upload_next_compress("x.jpg", b"")
                return place.bucket.put(key, content, content_type)

        slow = ImageFunctions(
            place.config, place.root, SlowBucket(place.folder / "slow"), None, place.look, place.decoder
        )
        step = slow.upload_next_remove("guetzli/x.jpg", version)
        assert place.files("bucket") == {"photos/x.jpg": jpeg(b"old compressed")}
        assert follow_ons(step) == ["upload-next-compress x.jpg"]
        place.functions.upload_next_compress("x.jpg", b"")
        assert place.files("bucket") == {"photos/x.jpg": jpeg(b"newer")}

    def test_a_result_whose_source_is_gone_is_uploaded(self, make: MakePlace) -> None:
        place = make()
        version = place.root.write("x.jpg", jpeg(b"source")).encode()
        place.root.remove("x.jpg")
        place.root.write("guetzli/x.jpg", jpeg(b"compressed"))
        step = place.functions.upload_next_remove("guetzli/x.jpg", version)
        assert place.files("bucket") == {"photos/x.jpg": jpeg(b"compressed")}
        assert follow_ons(step) == [f"remove guetzli/x.jpg +{CACHE_MS} ms"]


async def test_a_result_that_is_not_smaller_is_dropped(make: MakePlace, picture: Picture, guetzli_program: str) -> None:
    place = make(ALL.replace("quality: 98", "quality: 80").replace("10m", "10m, quality: 84"), Guetzli(guetzli_program))
    place.root.write("x.jpg", picture("gray.jpg"))
    await place.resize("resize-64", "x.jpg")
    place.root.write(THUMBNAIL, Guetzli.__doc__.encode() if Guetzli.__doc__ else b"")  # fewer bytes than any picture
    step = await place.run_compress(THUMBNAIL)
    assert "not be smaller" in step.note
    assert not step.submit
    assert "guetzli/x_fw64.jpg" not in place.files()


class TestFromPixels:
    """What is compressed is never the thumbnail, which has lost something already, but what it was made of."""

    async def test_guetzli_is_given_the_pixels_of_the_thumbnail(self, make: MakePlace, picture: Picture) -> None:
        given: list[Compressible] = []

        class Noting(Small):
            async def compress(self, picture: Compressible, check: object) -> bytes:
                given.append(picture)
                return await super().compress(picture, check)

        text = ALL.replace("quality: 98", "quality: 91") + "  - {func: resize-96, width: 80}\n"
        place = make(text, Noting("guetzli"))
        place.root.write("a/x.png", picture("alpha.png"))
        await place.resize("resize-96", "a/x.png")
        for suffix in ("_fw96.jpg", "_fw100.jpg"):
            thumbnail = f"resize-image/a/x.png~{suffix}"
            assert (await place.run_compress(thumbnail)).submit
            shown = Image.open(io.BytesIO(place.files()[thumbnail]))
            pixels = Image.open(io.BytesIO(given[-1].content))
            assert pixels.format == "PNG"
            assert pixels.size == shown.size == (given[-1].width, given[-1].height)
            lossy = ImageStat.Stat(ImageChops.difference(pixels, shown.convert("RGB")))
            assert 0 < max(lossy.mean) < 6, "of 255: the same picture, without what JPEG does to it"

    async def test_one_whose_original_is_gone_stays_as_it_is(self, make: MakePlace, picture: Picture) -> None:
        place = make(guetzli=Guetzli("/does/not/exist"))
        place.root.write("x.jpg", picture("photo.webp"))
        await place.resize("resize-64", "x.jpg")
        place.root.remove("x.jpg")
        step = await place.run_compress(THUMBNAIL)
        assert (
            step.note == "left as it is: 'x.jpg' is gone, and a thumbnail is not compressed from less than its pixels"
        )

    async def test_so_the_original_is_not_removed_before(self, make: MakePlace) -> None:
        place = make(guetzli=Guetzli("/does/not/exist"))
        version = place.root.write("x.jpg", b"x").encode()
        for func in ("upload-next-guetzli", "upload-next-compress", "guetzli", "compress"):
            place.jobs = {(func, THUMBNAIL): "waiting"}
            step = await place.functions.remove("x.jpg", version)
            assert step.note == f"left: it waits for {func} {THUMBNAIL}, which is waiting"

    async def test_a_large_thumbnail_is_left_without_running_guetzli(self, make: MakePlace, picture: Picture) -> None:
        place = make(ALL.replace("10m", "10m, max-megapixels: 0.001"), guetzli=Guetzli("/does/not/exist"))
        place.root.write("x.jpg", picture("photo.webp"))
        await place.resize("resize-64", "x.jpg")
        assert (await place.run_compress(THUMBNAIL)).note == (
            "left as it is: 64 x 36 pixels are more than the 1000 to be compressed"
        )

    async def test_a_thumbnail_with_fewer_bytes_than_guetzli_would_need_is_left(
        self, make: MakePlace, picture: Picture
    ) -> None:
        place = make(ALL.replace("quality: 98", "quality: 80"), guetzli=Guetzli("/does/not/exist"))
        place.root.write("x.jpg", picture("photo.webp"))
        await place.resize("resize-64", "x.jpg")
        assert (await place.run_compress(THUMBNAIL)).note == (
            "left as it is: guetzli at quality 95 needs more bytes than a thumbnail of quality 80"
        )


class TestTogether:
    """Thumbnails of one function, which are made in one job."""

    TEXT = """
enable-save: true
resizes:
  - {width: 96}
  - {width: 64, height: 64, fit: crop, format: webp, suffix: _square.webp}
  - {width: 48, format: png}
  - {width: 32, format: avif}
"""

    async def test_one_job_makes_all_of_them_and_uploads_each(self, make: MakePlace, picture: Picture) -> None:
        place = make(self.TEXT)
        saved = place.functions.save("a/x.jpg", picture("alpha.png"))
        assert follow_ons(saved) == ["upload-next-compress a/x.jpg", "resize a/x.jpg"]
        step = await place.resize("resize", "a/x.jpg")
        made = ["x_fw96.jpg", "x_square.webp", "x_fw48.png", "x_fw32.avif"]
        assert follow_ons(step) == [f"upload-next-compress resize-image/a/{name}" for name in made]
        found = [Image.open(io.BytesIO(place.files()[f"resize-image/a/{name}"])) for name in made]
        assert [(image.format, image.size) for image in found] == [
            ("JPEG", (96, 54)), ("WEBP", (64, 64)), ("PNG", (48, 27)), ("AVIF", (32, 18)),
        ]  # fmt: skip
        for name in made:
            assert follow_ons(place.functions.upload_next_compress(f"resize-image/a/{name}", b"")) == []
        assert len(place.files("bucket")) == 4

    async def test_a_job_of_guetzli_s_time_finds_nothing_to_do(self, make: MakePlace, picture: Picture) -> None:
        place = make(self.TEXT + "enable-compress: true")
        place.root.write("x.jpg", picture("photo.webp"))
        await place.resize("resize", "x.jpg")
        step = await place.run_compress("resize-image/x_fw96.jpg")
        assert step == Step("left as it is: thumbnails are compressed when they are made, but for the JPEGs of guetzli")

    async def test_a_removal_waits_for_the_one_job(self, make: MakePlace) -> None:
        place = make(self.TEXT + "enable-remove: true")
        version = place.root.write("x.jpg", b"x").encode()
        place.jobs = {("resize", "x.jpg"): "running"}
        assert (await place.functions.remove("x.jpg", version)).note == (
            "left: it waits for resize x.jpg, which is running"
        )


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("alpha.png", "image/png"), ("photo.avif", "image/avif"), ("polyglot.jpg", "image/jpeg")],
)
def test_the_bucket_is_told_the_type_of_the_content(
    make: MakePlace, picture: Picture, name: str, content_type: str
) -> None:
    place = make()
    put: list[tuple[str, bytes, str]] = []

    class NotingBucket(FolderStore):
        def put(self, key: str, content: BinaryIO, content_type: str, progress: Progress = UNWATCHED) -> str:
            put.append((key, content.read(), content_type))
            return "version"

    place.root.write("x.jpg", picture(name))
    ImageFunctions(
        place.config, place.root, NotingBucket(place.folder / "noting"), None, place.look, place.decoder
    ).upload("x.jpg", b"")
    assert put == [("x.jpg", picture(name), content_type)]


class TestOutcomes:
    async def outcome_of(self, error: Exception) -> Failed:
        async def step(_name: str, _workload: bytes, _progress: Progress) -> Step:
            raise error

        outcome = await perform(step, StandInJob("x.jpg", b""))  # type: ignore[arg-type]
        assert isinstance(outcome, Failed)
        return outcome

    async def test_done_carries_what_follows(self, caplog: pytest.LogCaptureFixture) -> None:
        """All but a removal joins the group of the picture."""
        job, then, removal = NewJob("upload", "x.jpg"), NewJob("finished", "x.jpg"), NewJob("remove", "x.jpg")

        async def step(name: str, workload: bytes, _progress: Progress) -> Step:
            return Step(f"{name} {workload!r}", (job, removal), then)

        with caplog.at_level(logging.INFO):
            outcome = await perform(step, StandInJob("x.jpg", b"w"))  # type: ignore[arg-type]
        joining = NewJob("upload", "x.jpg", join_group=True)
        assert outcome == Done(submit=[joining, removal], then=NewJob("finished", "x.jpg", join_group=True))
        assert "resize 'x.jpg': x.jpg b'w', " in caplog.text

    @pytest.mark.parametrize(
        "error", [Refused("not a picture"), NotADirectoryError(20, "Not a directory"), IsADirectoryError(21, "Is one")]
    )
    async def test_what_will_never_do_is_given_up(self, error: Exception) -> None:
        outcome = await self.outcome_of(error)
        assert (outcome.reason, outcome.final, outcome.submit) == (str(error), True, ())

    @pytest.mark.parametrize(
        "error",
        [OSError(28, "No space left"), FileNotFoundError(2, "No such file"), MemoryError("no memory"), KeyError("bug")],
    )
    async def test_what_may_do_later_is_tried_again(self, error: Exception) -> None:
        outcome = await self.outcome_of(error)
        assert not outcome.final
        assert outcome.delay_ms is None, "the job's retry rule decides"
        assert not outcome.submit
        assert type(error).__name__ in outcome.reason

    async def test_a_name_cannot_forge_a_line_of_the_log(
        self, caplog: pytest.LogCaptureFixture, make: MakePlace
    ) -> None:
        async def step(name: str, workload: bytes, _progress: Progress) -> Step:
            return make().functions.save(name, workload)

        await perform(step, StandInJob("x\n2026 INFO save 'y': done", b"w", "save"))  # type: ignore[arg-type]
        assert len(caplog.text.splitlines()) == 1


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "", "a/../../x", "a\\b", "a\0", "x" * 256, ".incoming/x"])
async def test_every_function_refuses_a_hostile_name(make: MakePlace, name: str) -> None:
    place = make(guetzli=Guetzli("guetzli"))
    for function in place.functions.served():
        outcome = await function.call(StandInJob(name, b"w", function.func))  # type: ignore[arg-type]
        assert isinstance(outcome, Failed), function.func
        assert outcome.final
        assert "name" in outcome.reason
    assert place.files() == {}


@pytest.mark.parametrize("name", ["guetzli/x.jpg", "resize-image/x.jpg", "x_fw64.jpg", "x" * 250])
def test_save_refuses_a_name_that_belongs_to_results(make: MakePlace, name: str) -> None:
    place = make()
    with pytest.raises(Refused):
        place.functions.save(name, b"w")
    assert place.files() == {}


def test_save_refuses_an_empty_file(make: MakePlace) -> None:
    place = make()
    with pytest.raises(Refused, match="empty"):
        place.functions.save("x.jpg", b"")
    assert place.files() == {}


@given(
    name=st.lists(
        st.sampled_from(["a", "..", ".", "", "/", "guetzli", "resize-image", "x_fw64.jpg", "x.jpg"]), max_size=5
    ).map("/".join)
    | st.text(max_size=12)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_only_root_and_bucket_are_touched(make: MakePlace, picture: Picture, name: str) -> None:
    place = make()
    (place.folder / "x.jpg").write_bytes(b"beside root")
    steps = [
        partial(place.functions.save, name, picture("one-pixel.png")),
        partial(trio.run, place.resize, "resize-64", name),
        partial(place.functions.upload_next_compress, name, b""),
        partial(place.functions.upload_next_remove, name, b""),
        partial(place.functions.upload, name, b""),
        partial(trio.run, place.functions.remove, name, b""),
    ]
    for step in steps:
        try:
            follows = step().submit
        except (Refused, OSError):
            continue
        for job in follows:
            assert 0 < len(job.name.encode()) <= 255
    beside = {path.name for path in place.folder.iterdir()}
    assert beside == {"root", "bucket", "x.jpg"}
    assert (place.folder / "x.jpg").read_bytes() == b"beside root"
    assert {path.name for path in (place.folder / "bucket").iterdir()} == {"photos"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("evil.html", b"<html><script>alert(1)</script>", "does not begin as a JPEG"),
        (".htaccess", b"Options +Indexes", "does not begin as a JPEG"),
        ("x.jpg", b"<svg onload=alert(1)>", "does not begin as a JPEG"),
        ("evil.html", b"GIF89a=1;<script>alert(1)</script>", "the name 'evil.html' is that of text/html"),
        ("evil.SVG", jpeg(b""), "is that of image/svg"),
        ("evil.php", jpeg(b"<?php"), "is that of application/x-php"),
        ("evil.js", b"GIF89a=1;alert(1)", "is that of"),
    ],
)
def test_what_is_no_picture_is_neither_written_nor_published(
    make: MakePlace, name: str, content: bytes, reason: str
) -> None:
    place = make()
    with pytest.raises(Refused, match=reason):
        place.functions.save(name, content)
    assert place.files() == {}
    place.root.write(name, content)  # by hand
    for step in (place.functions.upload, place.functions.upload_next_compress):
        with pytest.raises(Refused, match=reason):
            step(name, b"")
    assert place.files("bucket") == {}


def test_a_heic_is_saved_if_its_package_is_installed(make: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    assert place.functions.save("x.heic", heic).submit
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Refused, match=r"'x.heic' is a HEIC picture, .*: pip install 'periodicd\[heic\]'"):
        place.functions.save("x.heic", heic)


class TestOriginals:
    def its_jpeg(self) -> bytes:
        """A photograph that guetzli makes smaller, turned, with a copyright and a place."""
        tags = Image.Exif()
        tags[ExifTags.Base.Orientation] = 6
        tags[ExifTags.Base.Copyright] = "Somebody"
        tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.5)
        output = io.BytesIO()
        Image.radial_gradient("L").convert("RGB").resize((96, 64)).save(output, "JPEG", quality=99, exif=tags)
        return output.getvalue()

    async def published(self, place: Place, name: str, content: bytes) -> bytes:
        """The object of the original after its branch of the chain."""
        place.functions.save(name, content)
        if place.functions.upload_next_compress(name, b"").submit:
            step = await place.run_compress(name)
            assert follow_ons(step) == [f"upload-next-remove guetzli/{name}", f"remove guetzli/{name} +{CACHE_MS} ms"]
            workload = step.submit[0].workload
            assert isinstance(workload, bytes)
            place.functions.upload_next_remove(f"guetzli/{name}", workload)
        return place.files("bucket")[f"photos/{name}"]

    async def test_they_keep_every_byte(self, make: MakePlace, guetzli_program: str, picture: Picture) -> None:
        place = make(guetzli=Guetzli(guetzli_program))
        for name, content in [("x.jpg", self.its_jpeg()), ("x.png", picture("one-pixel.png"))]:
            assert await self.published(place, name, content) == content
        assert (await place.run_compress("x.jpg")).note.startswith("left as it is: an original keeps its bytes")

    async def test_compressed_on_request_they_keep_their_format_and_their_metadata(
        self, make: MakePlace, guetzli_program: str, picture: Picture
    ) -> None:
        place = make(ALL + "compress-originals: true\n", Guetzli(guetzli_program))
        original = self.its_jpeg()
        published = await self.published(place, "x.jpg", original)
        assert len(published) < len(original)
        image = Image.open(io.BytesIO(published))
        assert image.format == "JPEG"
        assert image.info["exif"] == Image.open(io.BytesIO(original)).info["exif"]
        png = picture("one-pixel.png")
        assert await self.published(place, "x.png", png) == png
        assert (await place.run_compress("x.png")).note == "left as it is: of originals only JPEGs are compressed"

    async def test_jpegli_packs_them_better_and_loses_nothing(self, make: MakePlace, picture: Picture) -> None:
        place = make("enable-save: true\nenable-compress: true\nenable-remove: true\ncompress-originals: true")
        original = self.its_jpeg()
        published = await self.published(place, "x.jpg", original)
        assert len(published) < 0.95 * len(original)
        before, after = (Image.open(io.BytesIO(content)) for content in (original, published))
        assert after.tobytes() == before.tobytes()
        assert after.info["exif"] == before.info["exif"]
        png = picture("one-pixel.png")
        assert await self.published(place, "x.png", png) == png

    @pytest.mark.parametrize("compress", ["false", "true"])
    @pytest.mark.parametrize(("strip", "copyright_"), [("gps", "Somebody"), ("all", None)])
    async def test_stripped_they_are_published_without_the_place(
        self, make: MakePlace, guetzli_program: str, strip: str, copyright_: str | None, compress: str
    ) -> None:
        text = ALL + f"strip-originals: {strip}\ncompress-originals: {compress}\n"
        place = make(text, Guetzli(guetzli_program))
        published = await self.published(place, "x.jpg", self.its_jpeg())
        tags = Image.open(io.BytesIO(published)).getexif()
        assert ExifTags.IFD.GPSInfo not in tags
        assert (tags[ExifTags.Base.Orientation], tags.get(ExifTags.Base.Copyright)) == (6, copyright_)
        assert place.files()["x.jpg"] == self.its_jpeg(), "the file in root is what was saved"
