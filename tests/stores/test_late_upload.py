"""The whole chain while the bucket holds the first upload: its worker gives up, the chain goes on, and then it ends."""

from pathlib import Path

import yaml
from PIL import Image

from demo.chain import Chain, idle
from tests.stores.gate import Gate
from tests.stores.servers import Server

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 60.0


def test_a_first_upload_that_hung_does_not_come_back_over_the_compressed_picture(s3: Server, tmp_path: Path) -> None:
    picture = tmp_path / "late.jpg"
    with Image.open(ROOT / "tests" / "pictures" / "extreme-desert-hike.jpg") as image:
        image.thumbnail((120, 120))
        image.save(picture, quality=100)
    bucket = s3.store()
    chain = Chain(tmp_path)
    with Gate(s3.address) as gate:
        document = yaml.safe_load((ROOT / "demo" / "config.yml").read_text())
        document |= {
            "compress-originals": True,
            "resizes": [],
            "bucket": {"url": s3.config(gate.url).url, "key-file": str(s3.key_file)},
            "upload-limit": "4s",
        }
        (tmp_path / "config.yml").write_text(yaml.safe_dump(document))
        gate.hold("COPY")
        try:
            chain.start_daemon()
            chain.start_worker()
            chain.submit(picture)
            assert gate.is_held.wait(TIMEOUT_S)
            chain.wait(idle, TIMEOUT_S)
            said = (chain.run / "image-workers.log").read_text()
            assert "failed: the upload took more than 4 s (upload-limit)" in said
            compressed, _ = bucket.read(picture.name, 10**6)
            assert len(compressed) < picture.stat().st_size
            gate.release()
            assert bucket.read(picture.name, 10**6)[0] == compressed
        finally:
            unwell = chain.stop()
    assert unwell == []
