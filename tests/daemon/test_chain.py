"""The demo's chain with its programs killed in the middle: it completes, nothing is lost, no object is half written."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from demo.chain import SUFFIXES, Chain, idle

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 100.0


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    shutil.copy(ROOT / "demo" / "config.yml", tmp_path)
    chain = Chain(tmp_path)
    yield chain
    chain.stop()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two photographs, small enough for guetzli to be quick."""
    (tmp_path / "pictures").mkdir()
    made = []
    for name in ("extreme-desert-hike.jpg", "gray.jpg"):
        picture = tmp_path / "pictures" / name
        with Image.open(ROOT / "tests" / "pictures" / name) as image:
            image.thumbnail((200, 200))
            image.save(picture, quality=98)
        made.append(picture)
    return made


def objects(chain: Chain) -> list[Path]:
    """The objects that the bucket has; each must decode, at any moment."""
    found = list((chain.folder / "bucket").glob("*.jpg"))
    for path in found:
        with Image.open(path) as image:
            image.load()
    return found


@pytest.mark.parametrize("killed", ["periodicd", "image-workers"])
def test_kill_9_in_the_middle(chain: Chain, pictures: list[Path], killed: str) -> None:
    chain.start_daemon()
    chain.start_worker()
    for picture in pictures:
        chain.submit(picture)
    restart = chain.start_daemon if killed == "periodicd" else chain.start_worker
    for count in (1, 5, 9):
        chain.wait(lambda _, count=count: len(objects(chain)) >= count, TIMEOUT_S)  # type: ignore[misc]
        chain.kill(killed)
        objects(chain)
        restart()
    chain.wait(idle, TIMEOUT_S)
    rows = chain.rows(pictures)
    assert len(rows) == len(pictures) * (1 + len(SUFFIXES))
    assert any(row.final < row.uploaded for row in rows)
    # Each cached file has its removal planned: originals, thumbnails, and what guetzli made.
    cached = {
        str(path.relative_to(chain.run / "images"))
        for path in (chain.run / "images").rglob("*.jpg")
        if ".incoming" not in path.parts
    }
    assert {job["name"] for job in chain.removals()} == cached
    assert chain.stop() == []


def test_a_file_that_is_no_picture_fails_alone(chain: Chain, pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "pictures" / "bad.jpg"
    bad.write_text("<svg onload=alert(1)>")
    chain.start_daemon()
    chain.start_worker()
    for picture in (bad, pictures[0]):
        chain.submit(picture)
    chain.wait(idle, TIMEOUT_S, may_fail=True)
    given_up = chain.jobs(None, "dead")
    assert [(job["func"], job["name"], job["failures"]) for job in given_up] == [("save", "bad.jpg", 1)]
    assert "does not begin as a JPEG" in given_up[0]["reason"]
    assert len(chain.rows(pictures[:1])) == 5
    assert not (chain.folder / "bucket" / "bad.jpg").exists(), "nothing is published before anybody has looked"
    assert not (chain.run / "images" / "bad.jpg").exists()
