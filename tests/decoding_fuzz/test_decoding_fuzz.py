"""A short run of `make fuzz`, and proof that each thing that it looks for would be found."""

import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Never

import pytest
import trio

from image_workers.children.pool import Pool
from image_workers.decoder import Decoder, Limits
from image_workers.errors import Refused
from tests.decoding_fuzz import trial
from tests.decoding_fuzz.corpus import Corpus, corpus
from tests.decoding_fuzz.mutations import mutated
from tests.decoding_fuzz.run import again, run
from tests.decoding_fuzz.structure import STRUCTURES
from tests.decoding_fuzz.trial import Broken, Trial
from tests.image_workers.processes import children

INPUTS = 400
MANY = 5
KINDS = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "image/heic"}


@pytest.fixture(scope="module")
def pictures() -> Corpus:
    return corpus()


@pytest.fixture
async def tried() -> AsyncIterator[Trial]:
    with Trial(Limits(seconds=2)) as tried:
        yield tried


def thumbnail_asked(pictures: Corpus) -> bytes:
    """A good picture of which thumbnails are asked."""
    asked = (each for each in pictures["image/webp"] if trial.request(each).__qualname__.startswith("_thumbnails."))
    return next(asked)


async def test_a_short_run_finds_nothing(pictures: Corpus, tmp_path: Path) -> None:
    tally = await run(pictures, 1, tmp_path, inputs=INPUTS)
    assert not tally.faults, f"{tally.faults}, kept in {tmp_path}"
    assert sum(tally.ended.values()) == INPUTS
    for kind in KINDS:
        assert tally.ended[kind, "decoded"] >= MANY, "mutations that leave nothing to decode find nothing"
        assert tally.ended[kind, "refused"] >= MANY, "mutations that change nothing find nothing"
    assert 0 < tally.most_of_reserved < 1


def test_the_same_seed_makes_the_same_pictures(pictures: Corpus) -> None:
    made = [mutated(pictures, random.Random(f"1 {number}")) for number in range(50)]
    assert made == [mutated(pictures, random.Random(f"1 {number}")) for number in range(50)]
    assert len({content for _, content in made}) > 40


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_pieces_that_nothing_happened_to_are_the_picture(pictures: Corpus, kind: str) -> None:
    structure = STRUCTURES[kind]
    assert all(b"".join(structure.split(content)) == content for content in pictures[kind])
    start, *pieces = structure.split(pictures[kind][0])
    assert structure.whole([start, *map(structure.mended, pieces)]) == pictures[kind][0]


async def raising(error: Exception) -> Never:
    raise error


async def waiting() -> None:
    await trio.sleep_forever()


async def no_picture() -> list[bytes]:
    return [b"no picture"] * 3


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda: raising(KeyError("width")), "an undocumented KeyError"),
        (lambda: raising(MemoryError("much")), "short of memory"),
        (lambda: raising(OSError("decoding failed: KeyError: 'width'")), "decoding failed: KeyError: 'width'"),
        (lambda: raising(OSError("the child that decoded it ended: killed by SIGABRT")), "a child died of SIGABRT"),
        (lambda: raising(OSError("the child that decoded it ended: exit status 1")), "a child ended itself"),
        (no_picture, "a thumbnail that does not decode"),
        (waiting, "a hang"),
    ],
)
async def test_what_must_not_come_of_a_picture_is_found(
    tried: Trial, pictures: Corpus, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any], fault: str
) -> None:
    content = thumbnail_asked(pictures)
    assert (await tried.outcome(content)).ended == "decoded"
    monkeypatch.setattr(trial, "_LATE_S", -1.9)
    monkeypatch.setattr(Decoder, "thumbnails", lambda *_: answer())
    assert (await tried.outcome(content)).fault.startswith(fault)


async def test_a_child_that_crashes_is_found_and_the_next_picture_is_tried(tried: Trial, pictures: Corpus) -> None:
    content = thumbnail_asked(pictures)
    assert (await tried.outcome(content)).ended == "decoded"
    (child,) = children(os.getpid()) - tried._others
    os.kill(child, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:

        async def crash() -> None:
            await trio.testing.wait_all_tasks_blocked()
            os.kill(child, signal.SIGSEGV)
            os.kill(child, signal.SIGCONT)

        nursery.start_soon(crash)
        assert (await tried.outcome(content)).fault == "a child died of SIGSEGV"
    assert (await tried.outcome(content)).ended == "decoded"


async def test_more_memory_than_was_reserved_is_found(
    tried: Trial, pictures: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_peak", lambda _: 300 * 10**6)
    assert (await tried.outcome(thumbnail_asked(pictures))).fault == "more memory than was reserved"


async def test_descriptors_and_children_that_stay_behind_are_found(
    pictures: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Trial()
    with tried:
        await tried.outcome(pictures["image/gif"][0])
        descriptor = os.open("/dev/null", os.O_RDONLY)
        assert (await tried.outcome(pictures["image/gif"][0])).fault == "descriptors stay behind"
        monkeypatch.setattr(Pool, "close", lambda _: None)
        with pytest.raises(Broken, match="children stay behind"):
            tried.close()
        monkeypatch.undo()
        with pytest.raises(Broken, match="descriptors stay behind"):
            tried.close()
    os.close(descriptor)


async def test_a_worker_that_looks_for_long_is_found(
    tried: Trial, pictures: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: bytes) -> Never:
        while True:
            pass

    monkeypatch.setattr(trial, "_WORKER_S", 0.1)
    monkeypatch.setattr(trial, "declared", endless)
    assert (await tried.outcome(pictures["image/gif"][0])).fault == "the worker itself takes long"


def test_a_finding_is_kept_and_is_tried_again(
    pictures: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes, _max_pixels: int) -> Never:
        raise ValueError("what nobody thought of")

    with monkeypatch.context() as context:
        context.setattr("image_workers.decoder._checked", broken)
        tally = trio.run(partial(run, pictures, 1, tmp_path, inputs=3))
        kept = sorted(tmp_path.iterdir())
        assert trio.run(again, kept[0].read_bytes()).fault == "an undocumented ValueError"
    assert tally.faults == {"an undocumented ValueError": 3}
    assert [each.name for each in kept] == [f"an-undocumented-ValueError-1-{number}" for number in range(3)]
    assert not trio.run(again, kept[0].read_bytes()).fault


def test_the_limits_that_end_a_picture_are_told_apart() -> None:
    for reason, ended in [
        ("decoding it took more than 70 MB of memory", "limit of memory"),
        ("the picture is damaged, or decoding it took more than 64 MB of memory", "damage or memory"),
        ("decoding it may take 9000 MB of memory, and all decoding together has 1500", "limit of memory"),
        ("decoding took more than 5 s of CPU time", "limit of CPU time"),
        ("decoding took more than 20 s", "limit of time"),
        ("the GIF holds no image", "refused"),
    ]:
        assert trial._ended(str(Refused(reason))) == ended
