"""Requests on many jobs and the real daemon: jobs that are due do not wait for them, and a restart is survived."""

from pathlib import Path

import pytest
import trio

from periodic_client import Client, GiveUp, Job, JobDead, NewJob, Worker
from rig.daemon import Daemon

MANY = 20_000


async def fill(client: Client) -> None:
    for first in range(0, MANY, 1_000):
        await client.submit_batch(
            NewJob("many", f"{number:05}", delay_ms=3_600_000) for number in range(first, first + 1_000)
        )


async def test_due_jobs_run_while_many_are_removed(tmp_path: Path) -> None:
    begun = 0
    has_begun = trio.Event()
    done = trio.Event()

    with Daemon(tmp_path, "--durability", "relaxed") as daemon:
        runner = Worker(daemon.url)

        @runner.function("due", inline=True)
        def run(_: Job) -> None:
            has_begun.set()

        async def remove(client: Client) -> None:
            assert await client.remove_matching(func="many") == MANY
            done.set()

        async with Client(daemon.url) as client, Client(daemon.url) as other, trio.open_nursery() as nursery:
            await fill(client)
            await nursery.start(lambda task_status: runner.run(task_status=task_status))
            nursery.start_soon(remove, client)
            while not done.is_set():
                has_begun = trio.Event()
                await other.submit(NewJob("due", str(begun)))
                await has_begun.wait()
                begun += 1
            assert begun > 20, "each had come, run and gone between two of 200 requests on many"
            assert [job["name"] async for job in client.list("many")] == []
            nursery.cancel_scope.cancel()


async def test_what_was_removed_by_a_request_on_many_stays_so_after_a_kill(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        async with Client(daemon.url) as client:
            await client.submit_batch(NewJob("many", f"{number:03}", delay_ms=3_600_000) for number in range(250))
            first = await client.request("remove_matching", {"func": "many"})
            daemon.kill()
        daemon.start()
        async with Client(daemon.url) as client:
            assert [job["name"] async for job in client.list("many")] == [f"{number:03}" for number in range(100, 250)]
            # The cursor is as good as before: what it holds is nothing that the daemon had in memory.
            rest = await client.request("remove_matching", {"func": "many"}, {"after": first["next"]})
            assert (first["count"], rest["count"]) == (100, 100)


async def test_many_are_cancelled_who_runs_is_told_and_the_dead_are_left_alone(tmp_path: Path) -> None:
    running = trio.Event()
    told: list[bool] = []

    with Daemon(tmp_path) as daemon:
        worker = Worker(daemon.url)

        @worker.function("many", interrupt=True)
        async def run(job: Job) -> None:
            if job.name == "dead":
                raise GiveUp("as planned")
            running.set()
            try:
                await trio.sleep_forever()
            finally:
                told.append(job.cancelled)

        async with Client(daemon.url) as client, trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: worker.run(task_status=task_status))
            with pytest.raises(JobDead):
                await client.call(NewJob("many", "dead"))
            await client.submit(NewJob("many", "runs", result_ms=60_000))
            await running.wait()
            await client.submit_batch(NewJob("many", f"{number:03}", delay_ms=3_600_000) for number in range(250))
            assert await client.cancel_matching(func="many", dry_run=True) == 252
            assert await client.cancel_matching(func="many", cancel_reason="sold") == 251
            ends = [news async for news in client.watch("many", "runs") if news.ended]
            assert [(end.ending, end.reason) for end in ends] == [("cancelled", "sold")]
            assert told == [True]
            assert [job["name"] async for job in client.list("many")] == ["dead"]
            nursery.cancel_scope.cancel()


async def test_many_are_moved_for_good(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        async with Client(daemon.url) as client:
            await client.submit_batch(NewJob("many", f"{number:03}", delay_ms=3_600_000) for number in range(250))
            due_at_ms = 4_000_000_000_000
            assert await client.move_matching(func="many", prefix="1", due_at_ms=due_at_ms, priority=-5) == 100
            daemon.kill()
        daemon.start()
        async with Client(daemon.url) as client:
            found = [
                job["name"] async for job in client.list("many", due_from_at_ms=due_at_ms) if job["priority"] == -5
            ]
            assert found == [f"{number:03}" for number in range(100, 200)]
            assert len([job async for job in client.list("many")]) == 250
