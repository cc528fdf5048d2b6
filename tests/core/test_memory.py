"""One budget for what all connections hold: who is not given jobs and answers while it is used up, and who is after."""

from periodicd.engine import Detached
from tests.core.script import Daemon, worker

MB = 1_000_000


def test_no_job_is_given_out_while_the_daemon_has_no_memory_for_it() -> None:
    daemon = Daemon(connections_bytes=3 * MB)
    client = daemon.connect()
    for number in range(20):
        client.submit(str(number), workload=b"x" * 900_000)
    runners = [worker(daemon, limit=2) for _ in range(5)]
    for runner in runners:
        runner.reads = False
        runner.ask("subscribe", "f", {"limit": 4})
    held = sum(len(runner.runs) for runner in runners)
    assert held < 20
    for runner in runners:
        runner.read()
    daemon.step()
    assert sum(len(runner.runs) for runner in runners) > held
    for _ in range(20):
        for runner in runners:
            runner.read()
            while runner.runs:
                runner.take().respond()
    assert all(daemon.gone("f", str(number)) for number in range(20))


def test_large_answers_are_made_a_few_at_a_time_and_not_for_a_peer_that_does_not_read() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a", workload=b"x" * MB)
    client.reads = False
    asked = [client.send("get", "f", "a") for _ in range(50)]
    first = len(daemon.said().messages)
    assert first == 8
    client.me.note_outbox(8 * MB)
    assert daemon.said().messages == []
    assert not daemon.engine.busy, "nothing can be done until the peer reads"
    client.reads = True
    client.read()
    daemon.step()
    assert len(client.answers) == len(asked) - first
    assert client.ask("ping") == {}


def test_what_a_lost_connection_had_asked_is_forgotten() -> None:
    daemon = Daemon()
    client = daemon.connect()
    client.submit("a")
    client.me.note_outbox(8 * MB)
    for _ in range(3):
        client.send("get", "f", "a")
    assert daemon.said().messages == []
    daemon.engine.tell(client.me, Detached())
    assert daemon.said().messages == []


def test_what_follows_a_request_that_waits_waits_too() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a")
    run = runner.take()
    runner.reads = False
    runner.me.note_outbox(8 * MB)
    finish = runner.send("finish", run.handle, {"outcome": "failed", "reason": "broken"})
    run.respond()
    assert daemon.job("f", "a")["state"] == "running", "the response does not overtake the finish"
    runner.read()
    daemon.step()
    assert runner.answer(finish) == {}
    assert daemon.job("f", "a")["reason"] == "broken"


def test_what_a_lost_connection_sent_is_still_done() -> None:
    daemon = Daemon()
    runner = worker(daemon)
    daemon.connect().submit("a")
    run = runner.take()
    runner.reads = False
    runner.me.note_outbox(8 * MB)
    asked = runner.send("ping")
    run.respond()
    assert daemon.job("f", "a")["state"] == "running"
    assert asked not in runner.answers
    runner.close()
    assert daemon.gone("f", "a")
