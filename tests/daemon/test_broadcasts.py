"""Broadcasts from outside: the library's workers, busy ones too, the commands, and a daemon that is killed."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest
import trio

from periodic_client import Broadcast, Client, Job, LeaseLost, NewJob, Worker
from rig.daemon import Daemon
from tests.client.workers import at_work
from tests.daemon.command import periodic
from tests.daemon.raw import Raw


@pytest.mark.parametrize("threaded", [False, True])
async def test_every_worker_runs_it_whose_room_is_taken_too(daemon: Daemon, threaded: bool) -> None:
    workers = [Worker(daemon.url, threads=1) for _ in range(3)]
    begun, freed = trio.Event(), threading.Event()
    told: list[str] = []
    token = trio.lowlevel.current_trio_token()

    def work(job: Job) -> None:
        if job.broadcast:
            told.append(job.name)
        else:
            token.run_sync_soon(begun.set)
            freed.wait(30)

    async def async_work(job: Job) -> None:
        if job.broadcast:
            told.append(job.name)
        else:
            begun.set()
            await trio.to_thread.run_sync(freed.wait, 30)

    for worker in workers:
        worker.function("f")(work if threaded else async_work)
    async with Client(daemon.url) as client, at_work(*workers):
        await client.submit(NewJob("f", "long"))
        await begun.wait()
        result = await client.call(NewJob("f", "reload", "now", broadcast=True))
        assert Broadcast.from_result(result) == Broadcast(3, done=3, failed=0, lost=0)
        assert told == ["reload"] * 3
        freed.set()


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Callable[[], Raw]]:
    peers: list[Raw] = []

    def connected() -> Raw:
        peers.append(Raw(daemon))
        return peers[-1]

    yield connected
    for peer in peers:
        peer.socket.close()


def subscribed(connect: Callable[[], Raw]) -> Raw:
    peer = connect()
    assert peer.ask("subscribe", "f") == {}
    return peer


def figures(daemon: Daemon) -> dict[str, int]:
    """Of the one that has ended last."""
    last = json.loads(periodic(daemon, "get", "f", "reload", "--data", "--json").stdout)["last"]
    assert last["ending"] == "done"
    return dict(json.loads(last["data"]))


def test_who_fails_and_who_goes_is_counted(daemon: Daemon, connect: Callable[[], Raw]) -> None:
    done, failing, going = (subscribed(connect) for _ in range(3))
    client = connect()
    assert client.ask("submit", {"func": "f", "name": "reload", "broadcast": True, "result_ms": 60_000})["id"] == 1
    performed = [peer.receive() for peer in (done, failing, going)]
    assert [method for _, _, method, _ in performed] == ["perform"] * 3
    assert done.ask("finish", performed[0][3][0]["handle"], None) == {}
    failing.send([1, performed[1][1], "no", None])
    failing.ask("ping")
    assert client.ask("get", "f", "reload")["job"]["broadcast"] == {"runs": 3, "done": 1, "failed": 1, "lost": 0}
    going.socket.close()
    assert client.ask("watch", "f", "reload", {"only_end": True, "timeout_ms": 20_000})["ending"] == "done"
    assert figures(daemon) == {"runs": 3, "done": 1, "failed": 1, "lost": 1}


def test_the_command(daemon: Daemon) -> None:
    assert (
        periodic(daemon, "call", "f", "reload", "--broadcast").stdout
        == '{"runs": 0, "done": 0, "failed": 0, "lost": 0}'
    )
    assert periodic(daemon, "submit", "f", "reload", "--broadcast", "--in", "1h").stdout == "created\n"
    assert "broadcast" in periodic(daemon, "get", "f", "reload").stdout
    (job,) = json.loads(periodic(daemon, "list", "--json").stdout)
    assert job["broadcast"] == {"runs": 0, "done": 0, "failed": 0, "lost": 0}
    ended = periodic(daemon, "submit", "f", "other", "--broadcast", "--lock", "k")
    assert (ended.returncode, "job.locks is not for a broadcast" in ended.stderr) == (1, True)
    added = periodic(daemon, "schedule", "add", "nightly", "f", "--cron", "0 3 * * *", "--broadcast")
    assert added.returncode == 0, added.stderr


def test_a_daemon_that_is_killed_ends_it_and_counts_who_had_not_reported(
    daemon: Daemon, connect: Callable[[], Raw]
) -> None:
    peers = [subscribed(connect) for _ in range(3)]
    job = {"func": "f", "name": "reload", "broadcast": True, "result_ms": 600_000}
    connect().ask("submit", job)
    handles = [peer.receive()[3][0]["handle"] for peer in peers]
    assert peers[0].ask("finish", handles[0], None) == {}
    daemon.kill()
    daemon.start()
    assert figures(daemon) == {"runs": 3, "done": 1, "failed": 0, "lost": 2}
    with pytest.raises(LeaseLost):
        connect().ask("finish", handles[1], None)
    subscribed(connect)
    connect().ask("submit", job | {"existing": "replace"})
    said = periodic(daemon, "explain", "f", "reload").stdout
    assert "nothing is broadcast for" in said
    daemon.kill()
    daemon.start()
    assert json.loads(periodic(daemon, "get", "f", "reload", "--json").stdout)["state"] == "waiting"
