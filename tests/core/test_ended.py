"""A peer that closed its sending side: it is answered, and for its runs the connection is lost."""

from tests.core.script import Daemon, worker

MB = 1_000_000


def test_what_it_asked_is_answered_however_large() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", workload=b"x" * 100)
    asked = [client.send("get", "f", "a") for _ in range(50)]
    asked += [client.send("list"), client.send("status")]
    client.end()
    assert all(client.answer(msgid) is not None for msgid in asked)
    client.close()
    assert daemon.connect().ask("status")["connections"] == 1


def test_its_runs_end_at_once_and_it_is_given_no_more() -> None:
    daemon = Daemon()
    first, second = worker(daemon, limit=1), worker(daemon, limit=1)
    client = daemon.connect()
    client.submit("a")
    assert first.names() == ["a"]
    asked = first.send("get", "f", "a")
    first.end()
    assert second.names() == ["a"]
    assert first.answer(asked)["job"]["state"] == "waiting"
    client.submit("b")
    first.close()
    assert (first.names(), second.names()) == (["a"], ["a"])
    second.take().respond()
    assert second.names() == ["b"]


def test_what_waits_until_it_reads_still_counts_and_brings_no_jobs() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    client = daemon.connect()
    client.submit("a")
    run = runner.take()
    runner.reads = False
    runner.me.note_outbox(8 * MB)
    asked = [runner.send("get", "f", "a") for _ in range(20)]
    run.respond()
    asked += [runner.send("hello", {"credit": 1000}), runner.send("subscribe", "f", {"limit": 5})]
    asked += [runner.send("get", "f", "b") for _ in range(20)]
    runner.end()
    client.submit("b")
    assert daemon.job("f", "a")["state"] == "running"
    runner.reads = True
    runner.read()
    daemon.step()
    assert daemon.gone("f", "a"), "its response was sent before the end"
    assert runner.answers.keys() >= set(asked)
    assert runner.names() == []


def test_a_connection_that_is_lost_after_its_end_was_lost_once() -> None:
    daemon = Daemon()
    runner = worker(daemon, disconnect_grace_ms=1_000)
    daemon.connect().submit("a")
    run = runner.take()
    runner.me.note_outbox(8 * MB)
    asked = runner.send("ping")
    runner.end()
    assert asked not in runner.answers, "it waits until it can be read"
    runner.close()
    assert daemon.connect().ask("finish", run.handle, None) == {}
    assert runner.me not in daemon.engine.scheduler.connections
