"""Scripts are strict: what a daemon said to a peer and nobody looked at fails the test."""

import pytest

from tests.core.script import Daemon, Kind, NotLookedAt, Peer, worker


def run(daemon: Daemon) -> Peer:
    peer = worker(daemon)
    peer.submit("a")
    return peer


def notice(daemon: Daemon) -> Peer:
    peer = run(daemon)
    peer.take()
    daemon.connect().ask("remove", "f", "a")
    return peer


def refused_answer(daemon: Daemon) -> Peer:
    peer = daemon.connect()
    peer.send("sumbit", {"func": "f", "name": "a"})
    daemon.step()
    return peer


def closing(daemon: Daemon) -> Peer:
    peer = worker(daemon)
    daemon.later(60_000)
    return peer


@pytest.mark.parametrize(
    ("happens", "kind", "what"),
    [
        (run, "run", r"\('f', 'a'\)"),
        (notice, "notice", "'lost'"),
        (refused_answer, "answer", "UNKNOWN_METHOD"),
        (closing, "closing", "silent for 60 s"),
    ],
)
def test_what_was_said_and_not_looked_at_fails_the_script_unless_it_is_allowed(
    happens: object, kind: Kind, what: str
) -> None:
    daemon = Daemon()
    assert callable(happens)
    peer = happens(daemon)
    with pytest.raises(NotLookedAt, match=f"{{'{kind}': 1}} were said and not looked at: {kind} .*{what}"):
        daemon.end()
    looks = {"run": peer.names, "notice": lambda: peer.notices, "answer": lambda: peer.answers}
    assert looks.get(kind, daemon.take_closings)()
    daemon.end()

    other = Daemon()
    happens(other)
    other.allow(kind)
    other.end()


def test_what_was_said_in_an_earlier_life_counts_too() -> None:
    daemon = Daemon()
    peer = run(daemon)
    daemon.start()
    with pytest.raises(NotLookedAt, match="run"):
        daemon.end()
    assert peer.names() == ["a"]


def test_what_comes_after_the_last_look_was_not_looked_at() -> None:
    daemon = Daemon()
    peer = worker(daemon)
    assert peer.names() == []
    peer.submit("a")
    with pytest.raises(NotLookedAt, match="run"):
        daemon.end()
    peer.take()
