"""The demo's chain with its bucket at the server that checks signatures: complete, the smaller object wins."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from demo.chain import SUFFIXES, Chain, idle
from demo.oss import ACCESS_KEY, BUCKET, OssServer

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 100.0


@pytest.fixture
def chain(server: OssServer, tmp_path: Path) -> Iterator[Chain]:
    (tmp_path / "oss.yml").write_text(server.configuration((ROOT / "demo" / "config.yml").read_text()))
    chain = Chain(tmp_path, "oss.yml", server.read)
    yield chain
    chain.stop()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two photographs, small enough for guetzli to be quick; one with a name that must be escaped on its way."""
    made = []
    for source, name in (("extreme-desert-hike.jpg", "沙漠 100%+.jpg"), ("gray.jpg", "gray.jpg")):
        picture = tmp_path / name
        with Image.open(ROOT / "tests" / "pictures" / source) as image:
            image.thumbnail((200, 200))
            image.save(picture, quality=98)
        made.append(picture)
    return made


def test_pictures_end_compressed_in_the_bucket(
    server: OssServer, chain: Chain, pictures: list[Path], tmp_path: Path
) -> None:
    chain.start_daemon()
    chain.start_worker()
    for picture in pictures:
        chain.submit(picture)
    chain.wait(idle, TIMEOUT_S)
    rows = chain.rows(pictures)
    assert chain.stop() == []
    assert len(rows) == len(pictures) * (1 + len(SUFFIXES))
    assert any(row.final < row.uploaded for row in rows)
    state = server.state()
    assert state["buckets"] == {BUCKET: "private"}
    assert state["objects"] == {f"{BUCKET}/{row.key}": {"type": "image/jpeg", "size": row.final} for row in rows}
    assert all(request["signed"] and request["signature"] == "v4" for request in state["requests"])
    puts = [request["key"] for request in state["requests"] if request["method"] == "PUT" and request["key"]]
    assert sorted(puts) == sorted([row.key for row in rows] + [row.key for row in rows if row.final < row.uploaded])
    said = (tmp_path / "run" / "image-workers.log").read_text()
    assert "upload-next-remove" in said
    assert not re.search(f"{ACCESS_KEY}|Signature=|Authorization", said, re.IGNORECASE)
