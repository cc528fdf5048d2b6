"""Groups from outside: the library, the commands, and a daemon that is killed while one is open."""

import pytest

from periodic_client import Client, Done, Failed, Full, FunctionSettings, Group, NewJob, Submitted, SubmittedGroup
from rig.daemon import Daemon

# -- the library -------------------------------------------------------------------------------------------------------


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        then = NewJob("told", "all")
        submitted = await client.submit_group(then, [NewJob("f", "a")], sealed=False)
        assert submitted == SubmittedGroup("created", 1, [Submitted("created", 2)])
        assert (await client.submit_group(then, [NewJob("f", "b")])).result == "added"
        assert (await client.submit_group(then, [NewJob("f", "c")])) == SubmittedGroup("kept", 1, [])
        assert [job["name"] async for job in client.list(group_id=1)] == ["a", "b"]
        a, b = await client.take("f", max=2)
        await client.finish(a.handle, Done(submit=[NewJob("g", "a", join_group=True), NewJob("h", "a")]))
        await client.finish(b.handle, Failed("why", final=True))
        group = (await client.look("told", "all")).group
        assert group is not None
        assert (group["members"], group["open"], group["done"], group["dead"]) == (3, 1, 1, 1)
        assert await client.cancel_matching(group_id=1) == 1
        (told,) = await client.take("told")
        assert told.group == Group(3, done=1, dead=1, removed=0, cancelled=1)
        assert (await client.look("told", "all")).group is None


async def test_the_follow_ons_of_a_run_are_a_group(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.submit(NewJob("f", "a"))
        (run,) = await client.take("f")
        await client.finish(run.handle, Done(submit=[NewJob("g", "a")], then=NewJob("told", "a")))
        (run,) = await client.take("g", "told", max=2)
        assert (run.func, run.group) == ("g", None)
        await client.finish(run.handle)
        (told,) = await client.take("told")
        assert told.group == Group(1, done=1, dead=0, removed=0, cancelled=0)


async def test_a_function_that_would_have_too_many_jobs_takes_none_of_a_group(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.set_function("f", FunctionSettings(queue_max=1))
        with pytest.raises(Full, match="queue_max"):
            await client.submit_group(NewJob("told", "all"), [NewJob("f", "a"), NewJob("f", "b")])
        assert [job async for job in client.list()] == []
