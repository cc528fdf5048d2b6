"""The demo's chain with its bucket at the server that checks signatures: complete, the smaller object wins."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
            image.thumbnail((100, 100))
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
    named = [request["key"] for request in state["requests"] if request["is"] == "COPY"]
    assert sorted(named) == sorted([row.key for row in rows] + [row.key for row in rows if row.final < row.uploaded])
    said = (tmp_path / "run" / "image-workers.log").read_text()
    assert "upload-next-remove" in said
    assert not re.search(f"{ACCESS_KEY}|Signature=|Authorization", said, re.IGNORECASE)


class TestNothingIsRemovedThatWasNotUploaded:
    """With a cache time of a second the removals come while the bucket still refuses everything."""

    @pytest.fixture
    def chain(self, server: OssServer, tmp_path: Path) -> Iterator[Chain]:
        text = (ROOT / "demo" / "config.yml").read_text().replace("cache: 5d", "cache: 1s")
        (tmp_path / "oss.yml").write_text(server.configuration(text))
        chain = Chain(tmp_path, "oss.yml", server.read)
        yield chain
        chain.stop()

    @pytest.mark.parametrize(
        ("state", "error"),
        [
            ("waiting", {"status": 503, "code": "ServiceUnavailable"}),
            ("dead", {"status": 400, "code": "InvalidArgument"}),
        ],
    )
    def test_not_while_its_upload_is(
        self, server: OssServer, chain: Chain, pictures: list[Path], state: str, error: dict[str, Any]
    ) -> None:
        picture = pictures[1]
        thumbnails = [f"{picture.stem}{suffix}" for suffix in SUFFIXES]
        chain.start_daemon()
        chain.start_worker()
        # The worker has asked for its bucket when it begins to save.
        chain.wait(lambda status: any(each["workers"] for each in status["functions"]), TIMEOUT_S)
        server.tell("fault", kind="error", times=1_000_000, **error)
        chain.submit(picture)
        files = [picture.name, *(f"resize-image/{name}" for name in thumbnails)]
        expected = {name: {"waits-for": f"upload-next-compress {name}, which is {state}"} for name in files}

        def said(_: object) -> bool:
            answers = {name: json.loads(chain.periodic("get", "remove", name, "--json").stdout) for name in files}
            return {name: job and job["headers"] for name, job in answers.items()} == expected

        chain.wait(said, TIMEOUT_S, may_fail=True)
        shown = chain.periodic("get", "remove", picture.name).stdout
        assert f"which is {state}" in shown
        assert (chain.run / "images" / picture.name).read_bytes() == picture.read_bytes()
        assert server.state()["objects"] == {}
        server.tell("fault", kind="error", times=0, **error)
        for job in chain.jobs("upload-next-compress", "dead"):
            assert chain.periodic("requeue", job["func"], job["name"]).returncode == 0
        chain.wait(lambda status: not any(each["waiting"] + each["running"] for each in status["functions"]), TIMEOUT_S)
        assert server.read(picture.name) == picture.read_bytes()
        assert set(server.state()["objects"]) == {f"{BUCKET}/{key}" for key in (picture.name, *thumbnails)}
        left = [path.name for path in (chain.run / "images").iterdir()]
        assert left == [".incoming"], "no file, and no empty folder"


def test_an_upload_slower_than_its_lease_is_done_once(
    server: OssServer, chain: Chain, pictures: list[Path], tmp_path: Path
) -> None:
    chain.start_daemon()
    chain.start_worker()
    chain.wait(lambda status: any(each["workers"] for each in status["functions"]), TIMEOUT_S)
    content = pictures[0].read_bytes() + os.urandom(12_000_000)
    (tmp_path / "run" / "images" / "large.jpg").write_bytes(content)
    server.tell("fault", kind="slow", times=1_000_000)
    assert chain.periodic("submit", "upload", "large.jpg", "--lease", "1s").returncode == 0
    chain.wait(idle, TIMEOUT_S)
    puts = [request for request in server.state()["requests"] if request["is"] == "PUT" and request["key"]]
    assert len(puts) == 1
    assert server.read("large.jpg") == content
    said = (tmp_path / "run" / "image-workers.log").read_text()
    assert len(re.findall(r"<Job upload large.jpg run \d+> goes on, after \d{7,} bytes", said)) >= 3
