"""Of a picture that is finished somebody is told, with what is published of it, and its removal is planned."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from image_workers.chain import FINISHED
from image_workers.config import Config, parse
from image_workers.errors import Refused
from image_workers.finished import Finish
from image_workers.functions import Step
from image_workers.intake import Intake
from image_workers.stores.folder import FolderStore
from periodic_client import Client
from rig.daemon import Daemon

TEXT = """
then: told
enable-remove: true
resizes:
  - {width: 96, suffix: _fw96.jpg}
  - {width: 64, output: small, suffix: _fw64.jpg}
"""
HEADERS = {"group-members": "2", "group-done": "1", "group-dead": "1", "from": "elsewhere"}


@pytest.fixture
def config() -> Config:
    return parse(TEXT)


@pytest.fixture
def root(tmp_path: Path) -> FolderStore:
    root = FolderStore(tmp_path / "root")
    for name, size in (("a/x.jpg", 9), ("guetzli/a/x.jpg", 7), ("resize-image/a/x_fw96.jpg", 5)):
        root.write(name, bytes(size))
    return root


def objects(step: Step) -> Any:
    return json.loads(step.submit[0].workload)["objects"]


async def test_the_function_is_told_what_is_published_and_the_removal_is_planned(
    config: Config, root: FolderStore, tmp_path: Path
) -> None:
    bucket = FolderStore(tmp_path / "bucket")
    for key, size in (("a/x.jpg", 6), ("a/x_fw96.jpg", 4)):
        bucket.write(key, bytes(size))
    step = await Finish(config, root, bucket).finished(HEADERS, "a/x.jpg", b"")
    told, removal = step.submit
    assert (told.func, told.name, told.headers) == (
        "told", "a/x.jpg", {"group-members": "2", "group-done": "1", "group-dead": "1"},
    )  # fmt: skip
    assert json.loads(told.workload)["name"] == "a/x.jpg"
    assert objects(step) == [
        {"key": "a/x.jpg", "bytes": 6, "bytes_before": 9},
        {"key": "a/x_fw96.jpg", "bytes": 4, "bytes_before": 5},
        {"key": "a/x_fw64.jpg", "bytes": None, "bytes_before": None},
    ]
    assert (removal.func, removal.name, removal.delay_ms) == ("remove", "a/x.jpg", config.cache_ms)
    assert removal.workload == (root.version("a/x.jpg") or "").encode()


async def test_where_somebody_else_uploads_sizes_are_those_of_the_files(config: Config, root: FolderStore) -> None:
    step = await Finish(config, root, None).finished({}, "a/x.jpg", b"")
    assert [(each["bytes"], each["bytes_before"]) for each in objects(step)] == [(7, 9), (5, 5), (None, None)]


async def test_of_a_picture_that_is_gone_there_is_nothing_to_remove(config: Config, tmp_path: Path) -> None:
    step = await Finish(config, FolderStore(tmp_path), None).finished({}, "x.jpg", b"")
    assert [each.func for each in step.submit] == ["told"]


async def test_only_the_name_of_an_original_is_taken(config: Config, root: FolderStore) -> None:
    with pytest.raises(Refused):
        await Finish(config, root, None).finished({}, "small/a/x_fw64.jpg", b"")


def test_it_is_served_if_somebody_is_to_be_told(config: Config, root: FolderStore) -> None:
    assert [function.func for function in Finish(config, root, None).served()] == [FINISHED]
    assert Finish(parse(""), root, None).served() == []


# -- pictures that come in ---------------------------------------------------------------------------------------------


async def take(client: Client, config: Config, root: FolderStore, content: bytes) -> None:
    await Intake(config, root, client).take("x.jpg", io.BytesIO(content), "image/jpeg")


async def test_a_picture_that_comes_in_is_a_group_and_one_that_comes_again_is_another(
    config: Config, root: FolderStore, tmp_path: Path
) -> None:
    """The first has begun by then: what is left of it is not waited for, and what is told is told of the second."""
    with Daemon(tmp_path) as daemon:
        async with Client(daemon.url) as client:
            await take(client, config, root, b"one")
            (old,) = await client.take("resize")
            await take(client, config, root, b"two")
            (finished,) = [job async for job in client.list(FINISHED)]
            assert finished["state"] == "parked"
            assert {(job["func"], job["state"]) async for job in client.list(group_id=finished["id"])} == {
                ("upload-next-compress", "waiting"), ("resize", "behind"),
            }  # fmt: skip
            await client.finish(old.handle)
            for run in await client.take("resize") + await client.take("upload-next-compress"):
                assert await client.take(FINISHED, wait_s=0) == []
                await client.finish(run.handle)
            (told,) = await client.take(FINISHED)
            assert told.group is not None
            assert told.group.done == told.group.members == 2
            assert [job["func"] async for job in client.list()] == [FINISHED], "the removal follows on that"


async def test_without_anybody_to_be_told_there_is_no_group(root: FolderStore, tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        async with Client(daemon.url) as client:
            await take(client, parse(TEXT.replace("then: told", "")), root, b"one")
            jobs = {job["func"]: job["group_id"] async for job in client.list()}
            assert jobs == {"upload-next-compress": None, "resize": None, "remove": None}
