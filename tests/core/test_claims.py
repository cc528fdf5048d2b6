"""Claims: written a little later than their jobs are given out, and before the store is asked about such a job."""

from collections.abc import Callable
from typing import Any

from periodicd.engine import drive
from periodicd.store.memory import MemoryStore
from periodicd.store.ops import Op
from tests.core.script import Daemon, Peer, worker


class Watched(MemoryStore):
    """Notes the ops."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def apply(self, ops: list[Op[Any]]) -> list[Any]:
        self.seen += [type(op).__name__ for op in ops]
        return super().apply(ops)


def test_a_short_job_costs_one_insert_and_one_delete() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("warm")
    runner.take().respond()
    daemon.later(200)
    store.seen.clear()
    client.submit("a")
    runner.take().respond()
    daemon.later(200)
    assert store.seen == ["Put", "Delete"]


def test_a_long_job_s_claim_is_written_within_100_ms() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    assert "Claim" not in store.seen
    daemon.later(100)
    assert store.seen.count("Claim") == 1
    runner.take().respond()
    assert store.seen[-2:] == ["Claim", "Delete"]


def runs_of(daemon: Daemon, client: Peer, runner: Peer, took_ms: int, count: int = 100) -> None:
    for number in range(count):
        client.submit(f"{took_ms} ms, {number}")
        daemon.later(took_ms)
        runner.take().respond()


def test_where_runs_take_longer_their_claims_wait_longer() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    runs_of(daemon, client, runner, 200)
    store.seen.clear()
    runs_of(daemon, client, runner, 200, 1)
    daemon.later(200)
    assert store.seen == ["Put", "Delete"]
    client.submit("a")
    assert runner.names() == ["a"]
    daemon.later(350)
    assert "Claim" not in store.seen
    daemon.later(150)
    assert store.seen.count("Claim") == 1, "half a second at the most"


def test_where_waiting_would_save_nothing_a_claim_is_written_as_soon_as_ever() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    runs_of(daemon, client, runner, 5_000)
    store.seen.clear()
    client.submit("a")
    assert runner.names() == ["a"]
    daemon.later(100)
    assert store.seen.count("Claim") == 1


def test_the_claim_is_written_before_the_store_is_asked_about_the_job() -> None:
    asks: list[Callable[[Peer], object]] = [
        lambda peer: peer.submit("a"),
        lambda peer: peer.ask("get", "f", "a"),
        lambda peer: peer.ask("remove", "f", "a"),
        lambda peer: peer.ask("cancel", "f", "a"),
        lambda peer: peer.ask("move", "f", "a", {"priority": 1}),
        lambda peer: peer.ask("status"),
    ]
    for ask in asks:
        store = Watched()
        daemon = Daemon(store)
        daemon.allow("notice")
        client, runner = daemon.connect(), worker(daemon)
        client.submit("a")
        assert runner.names() == ["a"]
        store.seen.clear()
        ask(client)
        assert store.seen[0] == "Claim"


def test_a_restart_after_a_clean_stop_knows_every_run() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    run = runner.take()
    drive(daemon.engine.leave(), store)
    daemon.start()
    assert daemon.job("f", "a")["state"] == "running"
    assert daemon.connect().ask("finish", run.handle, None) == {}
