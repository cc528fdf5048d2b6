"""The running daemon and bytes that nobody would send: noise, damaged sessions, sessions cut off anywhere.

Whatever comes, what the daemon answers is well-formed, others are served, it does not grow, and its log has no
traceback.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from periodic_client.wire import ERRORS, ClosingError, error_from_wire
from periodicd.methods import METHODS
from rig.daemon import Daemon
from tests.daemon.raw import Raw
from tests.fuzz.session import SESSION
from tests.fuzz.words import KEYS, WORDS

GROWTH_MB = 20
"""Some is kept on purpose: up to 10,000 events and what runs told, since the sessions ask for them."""
CONNECTIONS = 4
CLOSING = {symbol for symbol, error in ERRORS.items() if issubclass(error, ClosingError)}
SETTINGS = settings(max_examples=150, deadline=None)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.integers(-2, 1_001) | st.floats()
    | st.sampled_from(WORDS) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=12,
)  # fmt: skip
methods = st.sampled_from(sorted(METHODS.keys() - {"shutdown"}))
maps = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)
jobs = st.builds(dict.__or__, st.just({"func": "f", "name": "a"}), maps)
outcomes = st.builds(dict.__or__, st.fixed_dictionaries({"outcome": st.sampled_from(WORDS)}), maps)
nearly_right = st.one_of(
    st.tuples(st.just("submit"), st.tuples(jobs | values)),
    st.tuples(st.just("submit_batch"), st.tuples(st.lists(jobs | values, max_size=3))),
    st.tuples(st.sampled_from(["hello", "list", "remove_matching", "requeue_matching"]), st.tuples(maps)),
    st.tuples(st.sampled_from(["subscribe", "extend", "get", "finish"]), st.tuples(st.sampled_from(WORDS), values)),
    st.tuples(st.just("finish"), st.tuples(st.just("1-1-1"), outcomes)),
    st.tuples(methods, st.lists(values, max_size=3)),
)
messages = st.one_of(
    st.builds(lambda msgid, asked: (0, msgid, *asked), st.integers(0, 2**32 - 1), nearly_right),
    st.tuples(st.just(1), st.integers(0, 3) | st.none(), st.none() | st.text(), outcomes | values),
    st.tuples(st.just(2), methods, st.lists(values, max_size=2)),
)
places = st.integers(0, len(SESSION))


@st.composite
def damaged_sessions(draw: st.DrawFn) -> bytes:
    session = bytearray(SESSION)
    for _ in range(draw(st.integers(1, 6))):
        at, end = sorted((draw(places), draw(places)))
        damage = draw(st.sampled_from(["change", "leave out", "put in", "repeat"]))
        if damage == "change":
            session[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif damage == "leave out":
            del session[at : min(end, at + 20)]
        elif damage == "put in":
            session[at:at] = draw(st.binary(max_size=9))
        else:
            session[at:at] = session[at:end]
    return bytes(session)


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        for _ in range(50):
            answers(daemon, SESSION)
        before_mb = daemon.rss_mb()
        yield daemon
        assert daemon.rss_mb() < before_mb + GROWTH_MB
        assert "Traceback" not in daemon.said


@pytest.fixture(scope="module")
def bystander(module_daemon: Daemon) -> Iterator[Raw]:
    raw = Raw(module_daemon)
    yield raw
    raw.socket.close()


def answers(daemon: Daemon, data: bytes) -> list[Any]:
    """All that the daemon says to a connection that sends ``data`` and then no more."""
    raw = Raw(daemon)
    said = []
    try:
        raw.socket.sendall(data)
        raw.socket.shutdown(socket.SHUT_WR)
        while True:
            said.append(raw.receive())
    except (EOFError, ConnectionError):
        return said
    finally:
        raw.socket.close()


def check(said: list[Any]) -> None:
    for at, message in enumerate(said):
        if message[0] == 1:
            _, msgid, error, _ = message
            symbol = error_from_wire(error).symbol if error is not None else None
            assert symbol is None or symbol in ERRORS, error
            assert (msgid is None) == (symbol in CLOSING), error
            assert msgid is not None or at == len(said) - 1, "nothing comes after the last words"
        else:
            assert message[0:3:2] == [0, "perform"] or message[:2] == [2, "notice"]


@SETTINGS
@example(data=b"\x91" * 100_000)
@example(data=b"\x81" * 100_000)
@example(data=b"\xdd\xff\xff\xff\xff" * 1_000)
@given(data=st.binary(max_size=300))
def test_noise(module_daemon: Daemon, bystander: Raw, data: bytes) -> None:
    check(answers(module_daemon, data))
    assert bystander.ask("ping") == {}


@SETTINGS
@given(data=damaged_sessions())
def test_damaged_sessions(module_daemon: Daemon, bystander: Raw, data: bytes) -> None:
    check(answers(module_daemon, data))
    assert bystander.ask("ping") == {}


@SETTINGS
@given(sent=st.lists(messages, max_size=6))
def test_messages_of_the_right_shape_with_anything_in_them(
    module_daemon: Daemon, bystander: Raw, sent: list[Any]
) -> None:
    check(answers(module_daemon, b"".join(map(msgpack.packb, sent))))
    assert bystander.ask("ping") == {}


@pytest.mark.parametrize("reset", [False, True])
def test_a_session_cut_off_at_every_byte(module_daemon: Daemon, bystander: Raw, reset: bool) -> None:
    for length in range(len(SESSION) + 1):
        raw = Raw(module_daemon)
        raw.socket.sendall(SESSION[:length])
        close(raw, reset)
        assert bystander.ask("ping") == {}, length


def close(raw: Raw, reset: bool) -> None:
    if reset:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.socket.close()


@settings(SETTINGS, max_examples=50)
@given(
    pieces=st.lists(st.tuples(st.integers(0, CONNECTIONS - 1), st.integers(1, 200)), max_size=20),
    resets=st.tuples(*[st.booleans()] * CONNECTIONS),
)
def test_half_open_connections_side_by_side(
    module_daemon: Daemon, bystander: Raw, pieces: list[tuple[int, int]], resets: tuple[bool, ...]
) -> None:
    """Each sends the session, a piece now and then; some never finish it."""
    raws = [Raw(module_daemon) for _ in range(CONNECTIONS)]
    left = [SESSION] * CONNECTIONS
    for which, length in pieces:
        raws[which].socket.sendall(left[which][:length])
        left[which] = left[which][length:]
        assert bystander.ask("ping") == {}
    for raw, reset in zip(raws, resets, strict=True):
        close(raw, reset)
    assert bystander.ask("ping") == {}
