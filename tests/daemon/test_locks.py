"""Locks from outside: the commands, the library, and a daemon that is killed while runs hold some."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from periodic_client import Client, Done, Invalid, Later, NewJob, Rate
from rig.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


# -- the library -------------------------------------------------------------------------------------------------------


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.set_lock("k", capacity=3, rate=Rate(100, 1_000))
        for name in "ab":
            await client.submit(NewJob("f", name, locks={"k": 2, "other=1": 1}))
        job = await client.get("f", "a")
        assert job is not None
        assert job["locks"] == {"k": 2, "other=1": 1}
        (run,) = await client.take("f", max=2)
        assert [job["name"] async for job in client.list(state="parked")] == ["b"]
        (k,) = [lock async for lock in client.locks("k")]
        assert (k["capacity"], k["rate"], k["used"], k["parked"]) == (3, {"count": 100, "per_ms": 1_000}, 2, 1)
        assert [(each["name"], each["weight"]) for each in k["holders"]] == [("a", 2)]
        assert [lock["lock"] async for lock in client.locks()] == ["k", "other=1"]
        await client.finish(run.handle, Later(locks={"k": 1}))
        (run, other) = [*await client.take("f"), *await client.take("f")]
        assert {run.name, other.name} == {"a", "b"}
        job = await client.get("f", "a")
        assert job is not None
        assert job["locks"] == {"k": 1}
        await client.set_lock("k")
        for each in (run, other):
            await client.finish(each.handle, Done())
        assert [lock async for lock in client.locks()] == []
        with pytest.raises(Invalid, match="locks"):
            await client.submit(NewJob("f", "c", locks={"k": 0}))
