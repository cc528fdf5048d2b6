"""The real daemon and bytes of every kind: bad input has a clear error, hostile input ends in a documented way."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rig.daemon import Daemon
from tests.daemon.raw import Raw


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def raw(module_daemon: Daemon) -> Iterator[Raw]:
    raw = Raw(module_daemon)
    yield raw
    raw.socket.close()
    other = Raw(module_daemon)
    assert other.ask("ping") == {}, "whatever was sent, others are served"
    other.socket.close()


JOB = {"func": "f", "name": "a"}


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("sumbit", [JOB], "UNKNOWN_METHOD: there is no method 'sumbit'"),
        ("submit", [], "INVALID: the params are [job]; 0 were given"),
        ("submit", [JOB, JOB], "INVALID: the params are [job]; 2 were given"),
        ("submit", [[JOB]], "INVALID path=job: job is a map, not an array; for several jobs there is submit_batch"),
        ("submit", ["a"], "INVALID path=job: job is a map, not a text"),
        ("submit", [{"name": "a"}], "INVALID path=job.func: job.func is missing"),
        ("submit", [{"func": "f", "name": None}], "INVALID path=job.name: job.name is missing"),
        ("submit", [JOB | {"nmae": 1}], "INVALID path=job.nmae: job.nmae is not a key of a job; did you mean name?"),
        ("submit", [JOB | {"due": 1}], "INVALID path=job.due: job.due is not a key of a job; did you mean due_at_ms?"),
        ("submit", [JOB | {"a b": 1}], "INVALID: job.a b is not a key of a job; they are func, name"),
        ("submit", [{b"func": "f"}], "INVALID path=job: job has a key that is bytes; the keys of a map are text"),
        (
            "submit",
            [JOB | {"due_at_ms": 1.5}],
            "INVALID path=job.due_at_ms: job.due_at_ms is an integer from 0 to 253,402,300,799,999, not a float",
        ),
        (
            "submit",
            [JOB | {"due_at_ms": True}],
            "INVALID path=job.due_at_ms: job.due_at_ms is an integer from 0 to 253,402,300,799,999, not a boolean",
        ),
        (
            "submit",
            [JOB | {"due_at_ms": -1}],
            "INVALID path=job.due_at_ms: job.due_at_ms is an integer from 0 to 253,402,300,799,999",
        ),
        (
            "submit",
            [JOB | {"due_at_ms": 2**64 - 1}],
            "INVALID path=job.due_at_ms: job.due_at_ms is an integer from 0 to",
        ),
        ("submit", [JOB | {"delay_ms": 2**63}], "INVALID path=job.delay_ms: job.delay_ms is an integer from 0 to"),
        (
            "submit",
            [JOB | {"due_at_ms": 1, "delay_ms": 1}],
            "INVALID path=job: job has both due_at_ms and delay_ms; give",
        ),
        ("submit", [JOB | {"name": ""}], "INVALID path=job.name: job.name is empty"),
        ("submit", [JOB | {"name": b"a"}], "INVALID path=job.name: job.name is a text, not bytes"),
        ("submit", [JOB | {"name": "ä" * 128}], "INVALID path=job.name: job.name has 256 bytes, and may have 255"),
        ("submit", [JOB | {"workload": 5}], "INVALID path=job.workload: job.workload is bytes, not an integer"),
        (
            "submit",
            [JOB | {"workload": msgpack.Timestamp(1)}],
            "INVALID path=job.workload: job.workload is bytes, not an ext",
        ),
        ("submit", [JOB | {"headers": {"a": None}}], "INVALID path=job.headers.a: job.headers.a is a text, not nil"),
        (
            "submit",
            [JOB | {"priority": 101}],
            "INVALID path=job.priority: job.priority is an integer from -100 to 100, not 101",
        ),
        (
            "submit",
            [JOB | {"lease_ms": 0}],
            "INVALID path=job.lease_ms: job.lease_ms is an integer from 1,000 to 86,400,000, not 0",
        ),
        ("submit", [JOB | {"retry": []}], "INVALID path=job.retry: job.retry is a map, not an array"),
        (
            "submit",
            [JOB | {"retry": {"limit": -1}}],
            "INVALID path=job.retry.limit: job.retry.limit is an integer from 0 to 1,000",
        ),
        (
            "submit",
            [JOB | {"retry": {"backoff": "square"}}],
            "INVALID path=job.retry.backoff: job.retry.backoff is one of",
        ),
        (
            "submit",
            [JOB | {"existing": "delete"}],
            "INVALID path=job.existing: job.existing is one of replace, keep, keep_live",
        ),
        ("submit_batch", [[JOB, JOB | {"x": 1}]], "INVALID path=jobs[1].x: jobs[1].x is not a key of a job"),
        ("submit_batch", [JOB], "INVALID path=jobs: jobs is an array of jobs, not a map"),
        ("submit_batch", [[JOB] * 1001], "INVALID path=jobs: jobs has 1,001 jobs, and may have 1,000"),
        ("get", ["f"], "INVALID: the params are [func, name] or [func, name, options]; 1 were given"),
        (
            "get",
            ["f", "a", {"id": 2**53}],
            "INVALID path=options.id: options.id is an integer from 1 to 9,007,199,254,740,991",
        ),
        ("remove", ["f", 7], "INVALID path=name: name is a text, not an integer"),
        (
            "remove",
            ["f", "a", {"di": 7}],
            "INVALID path=options.di: options.di is not a key of these options; did you mean id?",
        ),
        (
            "list",
            [{"state": "done"}],
            "INVALID path=query.state: query.state is one of waiting, running, dead, behind, parked, not done",
        ),
        ("list", [{"limit": 0}], "INVALID path=query.limit: query.limit is an integer from 1 to 1,000, not 0"),
        ("list", [{"after": 0}], "INVALID path=query.after: query.after is a text, not an integer"),
        (
            "subscribe",
            ["f", {"limit": 0}],
            "INVALID path=options.limit: options.limit is an integer from 1 to 1,000, not 0",
        ),
        ("subscribe", ["f", 3], "INVALID path=options: options is a map, not an integer"),
        ("unsubscribe", [], "INVALID: the params are [func]; for all functions there is unsubscribe_all; 0 were given"),
        ("hello", [{"credit": 0}], "INVALID path=options.credit: options.credit is an integer from 1 to 1,000, not 0"),
        (
            "hello",
            [{"features": [1]}],
            "INVALID path=options.features[0]: options.features[0] is a text, not an integer",
        ),
        ("finish", ["1-1-1-1", 7], "INVALID path=outcome: outcome is a map, not an integer"),
        ("finish", ["", None], "INVALID path=handle: handle is empty"),
        ("extend", [7], "INVALID path=handle: handle is a text, not an integer"),
        ("ping", [1], "INVALID: the params are []; 1 were given"),
    ],
)
def test_bad_input_is_refused_by_name_and_the_connection_stays(
    raw: Raw, method: str, params: list[Any], error: str
) -> None:
    assert raw.refusal(method, *params).startswith(error)
    assert raw.ask("get", "f", "a")["result"] == "absent", "nothing has changed"


def test_an_oversized_workload_is_refused_and_the_connection_stays(raw: Raw) -> None:
    workload = bytes(16 * 1024 * 1024 + 1)
    assert raw.refusal("submit", JOB | {"workload": workload}) == (
        "INVALID path=job.workload: job.workload has 16,777,217 bytes, and may have 16,777,216"
    )
    assert raw.ask("ping") == {}


def test_the_largest_workload_comes_back_whole(raw: Raw) -> None:
    workload = bytes(range(256)) * 65536
    assert raw.ask("submit", {"func": "large", "name": "a", "workload": workload})["result"] == "created"
    assert raw.ask("get", "large", "a", {"workload": True})["job"]["workload"] == workload
    raw.ask("subscribe", "large")
    _, msgid, method, (job,) = raw.receive()
    assert (method, job["workload"] == workload) == ("perform", True)
    raw.send([1, msgid, None, None])
    assert raw.ask("get", "large", "a", msgid=2)["result"] == "absent"


def test_an_oversized_message_ends_the_connection(raw: Raw) -> None:
    raw.socket.sendall(b"\x94\x00\x01\xa6submit\x91\xc6\x7f\xff\xff\xff")
    try:
        for _ in range(40):
            raw.socket.sendall(bytes(1024 * 1024))
    except (BrokenPipeError, ConnectionResetError):
        return
    assert raw.ends_with() == "TOO_LARGE: a message may have 33554432 bytes at the most"


@pytest.mark.parametrize(
    "noise",
    [
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        msgpack.packb([9, 1, "ping", []]),
        msgpack.packb([0, 1, "ping", {}]),
        b"\xa1\xff",
    ],
)
def test_noise_ends_the_connection_with_a_reason_after_the_answers_before_it(raw: Raw, noise: bytes) -> None:
    raw.socket.sendall(msgpack.packb([0, 5, "ping", []]) + noise)
    assert raw.receive() == [1, 5, None, {}]
    assert raw.ends_with().startswith("BAD_MESSAGE: ")


def reset(raw: Raw) -> None:
    """Close it as a process that is killed, or a firewall, does."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.socket.close()


def test_a_reset_in_answer_to_the_last_words_harms_nobody(raw: Raw, module_daemon: Daemon) -> None:
    for _ in range(20):
        rude = Raw(module_daemon)
        rude.socket.sendall(b"\xc1")
        assert rude.receive()[2].startswith("BAD_MESSAGE: ")
        # The daemon now reads on until this peer closes.
        reset(rude)
    assert raw.ask("ping") == {}


def test_a_reset_of_a_connection_that_is_one_too_many_harms_nobody(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--connections", "1") as daemon:
        first = Raw(daemon)
        assert first.ask("ping") == {}
        for _ in range(200):
            reset(Raw(daemon))
        assert first.ask("ping") == {}
        first.socket.close()


def test_a_msgid_that_is_still_unanswered_ends_the_connection(raw: Raw) -> None:
    raw.send(*[[0, 5, "submit", [JOB | {"func": "twice"}]]] * 2)
    assert raw.receive()[:3] == [1, 5, None]
    assert raw.ends_with() == "DUPLICATE_MSGID: request 5 is still unanswered"


def test_text_of_a_worker_s_error_is_repaired(raw: Raw) -> None:
    raw.ask("submit", {"func": "repair", "name": "a", "retry": {"limit": 0}})
    raw.ask("subscribe", "repair")
    _, msgid, _, _ = raw.receive()
    raw.socket.sendall(msgpack.packb([1, msgid, "no file ????", None]).replace(b"????", b"a\xff\xfeb"))
    assert raw.ask("get", "repair", "a", msgid=2)["job"]["reason"] == "no file a\ufffd\ufffdb"


def test_the_answer_of_subscribe_comes_before_its_first_perform(raw: Raw) -> None:
    raw.ask("submit", {"func": "order", "name": "a"})
    raw.send([0, 3, "subscribe", ["order"]])
    assert raw.receive() == [1, 3, None, {}]
    kind, msgid, method, (job,) = raw.receive()
    assert (kind, method, job["name"]) == (0, "perform", "a")
    raw.send([1, msgid, None, None])
    assert raw.ask("ping", msgid=4) == {}


def test_notifications_and_stray_responses_are_ignored(raw: Raw) -> None:
    raw.send([2, "hello?", []], [1, 99, None, None], [1, None, "what", None])
    assert raw.ask("ping") == {}


def test_a_thousand_requests_at_once_are_all_answered(raw: Raw) -> None:
    raw.send(*([0, number, "submit", [{"func": "many", "name": str(number)}]] for number in range(5000)))
    answers = {raw.receive()[1] for _ in range(5000)}
    assert answers == set(range(5000))


def test_who_closes_its_sending_side_gets_all_answers_before_the_end(raw: Raw) -> None:
    large = {"func": "large", "name": "half-closed", "workload": bytes(1_000_000)}
    raw.ask("submit", large)
    gets = [[0, number, "get", ["large", "half-closed", {"workload": True}]] for number in range(40)]
    raw.send(*gets, [0, 40, "list", []], [0, 41, "status", []], [0, 42, "remove", ["large", "half-closed"]])
    raw.socket.shutdown(socket.SHUT_WR)
    answers = {msgid: result for _, msgid, _, result in (raw.receive() for _ in range(43))}
    assert all(len(answers[number]["job"]["workload"]) == 1_000_000 for number in range(40))
    assert "jobs" in answers[40]
    assert "functions" in answers[41]
    assert answers[42] == {"result": "removed"}
    with pytest.raises(EOFError):
        raw.receive()


def test_a_worker_that_closes_its_sending_side_has_answers_but_no_runs_any_more(
    raw: Raw, module_daemon: Daemon
) -> None:
    raw.ask("submit_batch", [{"func": "halved", "name": name} for name in "ab"])
    raw.ask("subscribe", "halved")
    assert raw.receive()[3][0]["name"] == "a"
    raw.send([0, 5, "get", ["halved", "a"]])
    raw.socket.shutdown(socket.SHUT_WR)
    other = Raw(module_daemon)
    other.ask("subscribe", "halved", {"limit": 2})
    assert {other.receive()[3][0]["name"] for _ in "ab"} == {"a", "b"}
    other.socket.close()
    assert raw.receive()[3]["job"]["name"] == "a"
    with pytest.raises(EOFError):
        raw.receive()


def test_closing_in_the_middle_of_a_message_harms_nobody(raw: Raw) -> None:
    raw.socket.sendall(msgpack.packb([0, 1, "submit", [JOB]])[:-3])
    raw.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        raw.receive()
