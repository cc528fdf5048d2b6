"""A small storm; `make storm` is the large one."""

from pathlib import Path

from tests.storm.storm import Storm


def test_every_object_is_right_whoever_is_killed(tmp_path: Path) -> None:
    storm = Storm(tmp_path, pictures=34, seed=1, kill_every_s=2.0)
    assert list(storm.run()) == [], storm.summary()
