"""`periodic top` on a real terminal, with the real daemon: what it shows, its keys, what it leaves behind."""

import json
import re
import signal

import pytest

from periodic_client import Client, NewJob
from rig.daemon import Daemon
from tests.daemon.command import periodic
from tests.daemon.terminal import Terminal

FAST = ("top", "--interval", "100ms")


async def filled(daemon: Daemon) -> None:
    """Three functions with jobs, of which one is paused and due."""
    async with Client(daemon.url) as client:
        await client.pause("mail")
        await client.submit_batch([NewJob("mail", "a"), *(NewJob("resize", name, delay_ms=3_600_000) for name in "ab")])
        await client.submit(NewJob("compress", "a", delay_ms=3_600_000))


def names(lines: list[str]) -> list[str]:
    """Of the functions that are shown, in their order."""
    return [line[2:].split()[0] for line in lines if line[2:].startswith(("mail", "resize", "compress"))]


async def test_it_fits_a_small_terminal_and_grows_wide(daemon: Daemon) -> None:
    await filled(daemon)
    with Terminal(daemon, *FAST) as terminal:
        lines = terminal.wait_for("3 functions")
        assert names(lines) == ["mail", "compress", "resize"], "what is overdue first, then by name"
        assert daemon.url in lines[0]
        assert "OVERDUE" in lines[3]
        assert lines[-1].startswith("q quit")
        assert " set" not in lines[3]
        terminal.resize(140, 50)
        lines = terminal.wait_for(lambda lines: len(lines) == 50 and lines[-1].startswith("q quit"))
        assert lines[3].rstrip().endswith(" set")
        assert next(line for line in lines if "mail" in line).startswith("? mail ")
        terminal.resize(30, 6)
        terminal.wait_for(lambda lines: len(lines) == 6 and lines[-1].startswith("q quit"))
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.private == {"1049": False, "25": True}, "the screen and the cursor are as before"


async def test_keys_sort_and_filter_and_new_things_are_seen(daemon: Daemon) -> None:
    await filled(daemon)
    with Terminal(daemon, *FAST) as terminal:
        terminal.wait_for("3 functions")
        terminal.press("r")
        assert names(terminal.wait_for(lambda lines: names(lines)[-1:] == ["mail"])) == ["compress", "resize", "mail"]
        terminal.press("r<")
        assert names(terminal.wait_for("WAIT"))[0] == "resize"
        terminal.press("/re")
        terminal.wait_for("functions that begin with: re_")
        terminal.press("x\x7f\r")
        assert names(terminal.wait_for("1 functions re*")) == ["resize"]
        async with Client(daemon.url) as client:
            await client.submit(NewJob("resize-new", "a", delay_ms=3_600_000))
        assert names(terminal.wait_for("2 functions re*")) == ["resize", "resize-new"]
        terminal.press("/q")
        terminal.wait_for("begin with: req_")
        terminal.press("\x1b")
        terminal.wait_for("q quit")
        terminal.press("\x1b")
        terminal.wait_for("4 functions")
        terminal.press("\t")
        terminal.wait_for("> 0 workers")
        terminal.press("\x03")
        assert terminal.end() == 0


async def test_a_daemon_that_goes_and_comes_back_is_waited_for(daemon: Daemon) -> None:
    await filled(daemon)
    with Terminal(daemon, *FAST) as terminal:
        terminal.wait_for("boot 1")
        daemon.kill()
        assert names(terminal.wait_for("trying again")), "what was known is still shown"
        daemon.start()
        lines = terminal.wait_for("boot 2")
        assert names(lines)
        terminal.wait_for("q quit")
        assert terminal.end(signal.SIGTERM) == 0
        assert terminal.private == {"1049": False, "25": True}


@pytest.mark.parametrize("no_color", ["", "1"])
async def test_colours_are_only_for_those_who_want_them(daemon: Daemon, no_color: str) -> None:
    await filled(daemon)
    with Terminal(daemon, *FAST, NO_COLOR=no_color) as terminal:
        terminal.wait_for("? mail")
        terminal.press("q")
        terminal.end()
        assert ("\x1b[33m? mail" in terminal.raw) == (not no_color)
        assert bool(re.search(r"\x1b\[(1;)?3\dm", terminal.raw)) == (not no_color)


async def test_scripts_look_once(daemon: Daemon) -> None:
    await filled(daemon)
    ended = periodic(daemon, *FAST, "--once", "--prefix", "re")
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
    assert names(ended.stdout.splitlines()) == ["resize"]
    told = json.loads(periodic(daemon, *FAST, "--once", "--json").stdout)
    assert {"server", "submitted_per_s", "started_per_s", "failed_per_s", "commits", "free_bytes"} <= set(told)
    shown = {each["func"]: each for each in told["functions"]}
    assert sorted(shown) == ["compress", "mail", "resize"]
    assert (shown["mail"]["overdue_ms"] > 0, shown["resize"]["overdue_ms"]) == (True, 0)
    assert (shown["resize"]["waiting"], shown["resize"]["room"], shown["resize"]["started_per_s"]) == (2, 0, 0)
    assert (told["workers"], told["locks"]) == ([], [])


def test_where_nothing_can_be_painted_it_says_what_to_do(daemon: Daemon) -> None:
    ended = periodic(daemon, "top")
    assert ended.returncode == 2
    assert "--once" in ended.stderr
    for arguments in (["--json"], ["--once", "--interval", "1ms"]):
        assert periodic(daemon, "top", *arguments).returncode == 2
    with Terminal(daemon, "top", TERM="dumb") as terminal:
        assert terminal.end() == 2
    daemon.stop()
    with Terminal(daemon, "top") as terminal:
        assert terminal.end() == 5
        assert not terminal.private, "the terminal was not touched"
