"""A small storm; `make storm` is the large one."""

from pathlib import Path

from tests.stores.servers import webdav_server
from tests.storm.storm import Storm


def test_every_object_is_right_whoever_is_killed(tmp_path: Path) -> None:
    storm = Storm(tmp_path, pictures=34, seed=1, kill_every_s=2.0)
    assert list(storm.run()) == [], storm.summary()


def test_the_same_holds_where_workers_share_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    for server in webdav_server(tmp_path, tmp_path / "key"):
        storm = Storm(tmp_path, pictures=8, seed=2, kill_every_s=2.0, server=server)
        assert list(storm.run()) == [], storm.summary()
