"""Who asks much, or has much that is due, does not keep others waiting for more than a turn and a step."""

from periodic_client.wire import codec
from periodicd.engine import SHARE_LEAST
from periodicd.store import ops
from tests.core.script import Daemon, Peer, worker


def once(daemon: Daemon) -> None:
    """One step, and what follows from it not yet."""
    said = daemon.said()
    for me, message in said.messages:
        daemon.peers[me.number].hear(message)


def send_many(peer: Peer, number: int, func: str = "f") -> list[int]:
    return [peer.send("submit", {"func": func, "name": f"{each}"}) for each in range(number)]


def test_a_connection_that_asks_much_is_heard_a_share_and_another_at_once() -> None:
    daemon = Daemon(heard_a_step=100)
    loud, quiet = daemon.connect(), daemon.connect()
    daemon.step()
    asked = send_many(loud, 300)
    ping = quiet.send("ping")
    once(daemon)
    assert quiet.answer(ping) == {}
    assert len(loud.answers) == 50
    assert daemon.engine.busy
    once(daemon)
    assert len(loud.answers) == 150, "alone it is heard twice as much"
    daemon.step()
    for msgid in asked:
        loud.answer(msgid)


def test_what_waits_keeps_its_order() -> None:
    daemon = Daemon(heard_a_step=10)
    client = daemon.connect()
    daemon.step()
    send_many(client, 15)
    removed = client.send("remove", "f", "14")
    got = client.send("get", "f", "14")
    daemon.step()
    assert client.answer(removed) == {"result": "removed"}
    assert client.answer(got)["result"] == "absent"
    daemon.allow("answer")


def test_a_batch_is_heard_whole_and_counts_as_many() -> None:
    daemon = Daemon(heard_a_step=100)
    client = daemon.connect()
    daemon.step()
    batches = [[{"func": "f", "name": f"{number}-{each}"} for each in range(1_000)] for number in range(2)]
    first, second = [client.send("submit_batch", batch) for batch in batches]
    once(daemon)
    assert list(client.answers) == [first]
    once(daemon)
    assert list(client.answers) == [first, second]


def test_however_many_connections_there_are_each_is_heard() -> None:
    daemon = Daemon(heard_a_step=10)
    clients = [daemon.connect() for _ in range(20)]
    daemon.step()
    for client in clients:
        send_many(client, 10, func=f"{client.number}")
    once(daemon)
    assert {len(client.answers) for client in clients} == {SHARE_LEAST}
    daemon.step()
    assert {len(client.answers) for client in clients} == {10}


def test_the_responses_of_a_worker_are_heard_at_once() -> None:
    daemon = Daemon(heard_a_step=10)
    runner = worker(daemon, limit=100)
    send_many(daemon.connect(), 50)
    daemon.allow("answer")
    daemon.step()
    for run in [runner.take() for _ in range(50)]:
        run.peer.raw(response(run.msgid))
    once(daemon)
    assert daemon.connect().ask("status")["done"] == 50


def response(msgid: int) -> bytes:
    return codec.encode_response(msgid, None)


def test_functions_give_in_turn() -> None:
    daemon = Daemon(given_a_step=50, turn=10)
    client = daemon.connect()
    daemon.allow("answer")
    send_many(client, 200)
    send_many(client, 5, func="g")
    daemon.step()
    loud, quiet = daemon.connect(), daemon.connect()
    loud.send("subscribe", "f", {"limit": 1_000})
    quiet.send("subscribe", "g", {"limit": 1_000})
    once(daemon)
    assert (len(loud.runs), len(quiet.runs)) == (50, 5)
    once(daemon)
    assert len(loud.runs) == 100
    daemon.step()
    assert len(loud.runs) == 200


def test_a_gate_is_closed_to_who_waits_for_a_turn() -> None:
    daemon = Daemon(given_a_step=1, turn=1)
    daemon.allow("answer", "run")
    send_many(daemon.connect(), 3)
    daemon.step()
    daemon.connect().send("subscribe", "f", {"limit": 10})
    once(daemon)
    (next_one,) = daemon.store.apply([ops.Fetch(2)])
    assert [gate.code for gate in daemon.engine.scheduler.explain.gates(next_one)] == ["turn"]


def test_who_was_granted_a_lock_is_given_out_though_enough_was_given() -> None:
    """Otherwise the grant came back, and under a flood it would in each step."""
    daemon = Daemon(given_a_step=5, turn=5)
    daemon.allow("answer", "run")
    holder, client = worker(daemon, "h"), daemon.connect()
    client.submit("first", func="h", locks={"k": 1})
    run = holder.take()
    waiting = worker(daemon, "w")
    client.submit("second", func="w", locks={"k": 1})
    assert daemon.job("w", "second")["state"] == "parked"
    send_many(client, 100)
    daemon.step()
    loud = daemon.connect()
    loud.send("subscribe", "f", {"limit": 1_000})
    run.peer.raw(response(run.msgid))
    once(daemon)
    assert len(loud.runs) == 5
    assert waiting.names() == ["second"]
