"""Claims: written a little later on a store of our own, waited for on a shared one, refused when another was first."""

from collections.abc import Callable

from periodicd import ops
from periodicd.ops import Op, Result
from periodicd.store.memory import MemoryStore
from tests.core.script import Daemon, Peer, worker


class Watched(MemoryStore):
    """Notes the ops, and refuses the claims of jobs that somebody else is said to have."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.taken: set[int] = set()

    def apply(self, ops_: list[Op]) -> list[Result]:
        self.seen += [type(op).__name__ for op in ops_]
        results = super().apply([op for op in ops_ if not self._refused(op)])
        for index, op in enumerate(ops_):
            if self._refused(op):
                results.insert(index, False)
        return results

    def _refused(self, op: Op) -> bool:
        return isinstance(op, ops.Claim) and op.id in self.taken


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


def test_the_claim_is_written_before_the_store_is_asked_about_the_job() -> None:
    asks: list[Callable[[Peer], object]] = [
        lambda peer: peer.submit("a"),
        lambda peer: peer.ask("get", "f", "a"),
        lambda peer: peer.ask("status"),
    ]
    for ask in asks:
        store = Watched()
        daemon = Daemon(store)
        client, _ = daemon.connect(), worker(daemon)
        client.submit("a")
        store.seen.clear()
        ask(client)
        assert store.seen[0] == "Claim"


def test_on_a_shared_store_a_job_is_given_out_only_after_its_claim_was_granted() -> None:
    store = Watched()
    daemon = Daemon(store, claims_wait=True)
    client, runner = daemon.connect(), worker(daemon, limit=1)
    store.taken = {1}
    client.submit("a")
    assert not runner.runs
    client.submit("b")
    run = runner.take()
    assert run.name == "b"
    assert store.seen.count("Claim") == 2
    run.respond()
    assert daemon.gone("f", "b")


def test_a_claim_refused_after_the_job_was_given_out_ends_the_run() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    run = runner.take()
    store.taken = {1}
    daemon.later(100)
    run.respond()
    assert runner.notices == [(run.handle, "lost")]
    assert daemon.job("f", "a")["state"] == "waiting"


def test_a_restart_after_a_clean_stop_knows_every_run() -> None:
    store = Watched()
    daemon = Daemon(store)
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    run = runner.take()
    daemon.engine.close()
    daemon.start()
    assert daemon.job("f", "a")["state"] == "running"
    assert daemon.connect().ask("finish", run.handle, None) == {}
