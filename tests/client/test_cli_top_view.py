"""What `periodic top` shows: the real rules on a virtual clock, asked a page at a time; lines for every size of screen.

On a real terminal it is tried in tests/daemon/test_top.py.
"""

from typing import Any, cast

import pytest

from periodic_client import gauges
from periodic_client.cli_top_view import Choices, view
from periodic_client.client import Client
from periodic_client.gauges import Gauges
from periodic_client.screen import Line, Span, cells, fit, keys_of, rendered
from tests.core.script import Daemon, Peer, worker


class Asked:
    """A client as far as gauges need one, over a peer of a script."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.requests = 0

    async def status(self, prefix: str | None, after: str | None, limit: int) -> Any:
        return await self.request("status", {"prefix": prefix, "after": after, "limit": limit})

    async def request(self, method: str, query: dict[str, Any]) -> Any:
        self.requests += 1
        return self._peer.ask(method, query)


def asked(daemon: Daemon) -> tuple[Asked, Client]:
    client = Asked(daemon.connect())
    return client, cast(Client, client)


def texts(lines: list[Line]) -> list[str]:
    return [rendered(line, 10_000, None) for line in lines]


# -- gauges ------------------------------------------------------------------------------------------------------------


async def test_rates_are_what_changed_between_two_looks() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    found = Gauges(asked(daemon)[1])
    await found.look()
    assert found.per_s == {}
    assert [each.started_per_s for each in found.functions()] == [None]
    for name in "abcd":
        client.submit(name)
        runner.take().respond()
    client.submit("e", func="g")
    daemon.later(2_000)
    await found.look()
    assert (found.per_s["submitted"], found.per_s["done"], found.per_s["failed"]) == (2.5, 2.0, 0)
    f, g = found.functions()
    assert (f.started_per_s, f.room, g.overdue_ms, g.room) == (2.0, 10, 2_000, 0)
    client.ask("set_function", "f", {"running_max": 3})
    daemon.start()
    found._client = asked(daemon)[1]
    await found.look()
    assert found.per_s == {}, "another life has other counters"
    assert [each.room for each in found.functions()] == [0, 0], "its workers have not come back"


async def test_a_look_costs_the_same_however_many_functions_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "FUNCTIONS_PAGE", 10)
    daemon = Daemon()
    peer = daemon.connect()
    peer.ask("submit_batch", [{"func": f"f{number:02}", "name": "a", "delay_ms": 10_000} for number in range(25)])
    counted, client = asked(daemon)
    found = Gauges(client)
    for looks in range(1, 4):
        await found.look()
        assert counted.requests == 3 * looks
        assert found.is_whole == (looks == 3)
    assert len(list(found.functions())) == 25
    peer.ask("remove", "f03", "a")
    for _ in range(3):
        await found.look()
    assert len(list(found.functions())) == 24
    assert "f03" not in found._before
    await found.look_at_all()
    assert counted.requests == 27


async def test_only_functions_that_begin_so_are_asked_for() -> None:
    daemon = Daemon()
    peer = daemon.connect()
    for func in ("a", "b", "ba"):
        peer.submit("x", func=func, delay_ms=10_000)
    found = Gauges(asked(daemon)[1], "b")
    await found.look()
    assert [each.row["func"] for each in found.functions()] == ["b", "ba"]


# -- lines -------------------------------------------------------------------------------------------------------------


async def busy() -> Gauges:
    """A daemon with some of everything, and names that are wide, long, or commands to a terminal."""
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, "sync", client="worker \x1b[2J" + "w" * 80)
    names = [
        "日本語" * 20,
        "x" * 200,
        "näme",
        "a\x1b[31mred\nline",
        "e\u0301" * 30,
        *(f"f{each}" for each in range(40)),
    ]
    for name in names:
        client.submit("a", func=name, delay_ms=10_000)
    for name in "abc":
        client.submit(name, func="sync", locks={"shop \x1b]0;7": 1}, lease_ms=3_600_000)
    client.ask("pause", "mail")
    client.submit("a", func="mail")
    client.submit("a", func="nobody")
    runner.take()
    daemon.allow("run")
    for _ in range(80):
        daemon.later(10_000)
        runner.ask("ping")
    found = Gauges(asked(daemon)[1])
    await found.look_at_all()
    return found


@pytest.mark.parametrize("size", [(80, 24), (140, 50), (200, 100), (40, 12), (20, 6), (1, 1)])
async def test_every_line_fits_and_the_screen_is_full(size: tuple[int, int]) -> None:
    width, height = size
    found, choices = await busy(), Choices()
    for key in ["", "\t", "\t", "\t", ">", "down", "page down", "page down", "home", "r", "/", "x", "escape"]:
        if key:
            choices.press({"\t": "tab"}.get(key, key))
        lines = view(found, choices, "tcp://127.0.0.1:5000", width, height)
        assert len(lines) >= height if height < 6 else len(lines) == height
        shown = [rendered(line, width, None) for line in lines]
        assert all(cells(each) <= width for each in shown)
        assert all(each.isprintable() for each in shown), "what strangers call things commands no terminal"


async def test_what_is_wrong_is_marked_and_comes_first() -> None:
    found = await busy()
    lines = texts(view(found, Choices(), "tcp://h:1", 80, None))
    assert [line[:10].split()[:2] for line in lines[5:7]] == [["?", "mail"], ["!", "nobody"]]
    sync = next(line for line in lines if line[2:].startswith("sync "))
    assert sync.split()[1:6] == ["1", "-", "1/10", "0", "-"]
    lock = next(line for line in lines if line[2:].startswith("shop"))
    assert lock.split()[-5:] == ["1/1", "2", "13.3m", "sync", "a"]
    assert lock.startswith("? ")


async def test_a_prefix_is_typed_and_taken_back() -> None:
    choices = Choices()
    for key in ("/", "a", "q", "rub", "b"):
        choices.press(key)
    assert (choices.typing, choices.prefix) == ("ab", "")
    choices.press("enter")
    assert (choices.typing, choices.prefix) == (None, "ab")
    for key in ("/", "x", "escape"):
        choices.press(key)
    assert (choices.typing, choices.prefix) == (None, "ab")
    choices.press("escape")
    assert choices.prefix == ""


# -- the screen --------------------------------------------------------------------------------------------------------


def test_text_is_cut_and_filled_by_columns_not_by_characters() -> None:
    assert (cells("日本"), cells("e\u0301"), cells("ab")) == (4, 1, 2)
    assert (fit("日本語", 5), fit("日本語", 6), fit("ab", 4, right=True)) == ("日本 ", "日本語", "  ab")
    line = [Span("日本", "bad"), Span("xyz")]
    assert rendered(line, 5, True) == "\x1b[1;31m日本\x1b[mx"
    assert rendered(line, 5, False) == "\x1b[1m日本\x1b[mx"
    assert rendered(line, 3, None) == "日"


def test_keys_have_names_and_what_is_not_known_does_nothing() -> None:
    assert list(keys_of("q\x1b[A\x1bOB\x1b[6~ü\r\x7f\x03")) == [
        "q", "up", "down", "page down", "ü", "enter", "rub", "quit",
    ]  # fmt: skip
    assert list(keys_of("\x1b")) == ["escape"]
    assert list(keys_of("\x1b[99;5u")) == []
    assert list(keys_of("\x00\x01")) == []
