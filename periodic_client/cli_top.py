"""The command ``periodic top``: what the daemon does now, live on a terminal, or once for a script.

What is asked is gauges.py's, how it looks cli_top_view.py's, the terminal screen.py's; here they are brought together.
"""

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import click
import trio

from periodic_client.cli_many import as_json
from periodic_client.cli_output import show, show_json
from periodic_client.cli_target import Target
from periodic_client.cli_top_view import Choices, view
from periodic_client.cli_values import Duration
from periodic_client.client import Client
from periodic_client.gauges import Gauges
from periodic_client.screen import Screen, has_colours, rendered, taken
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.wire import PeriodicError

INTERVAL_MS_MIN = 100
"""Looks cost the daemon something."""
WIDTH_OF_NO_TERMINAL = 140
QUIT = ("q", "Q", "quit")
SIGNALS = (signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The terminal has another size; it is enough."""


def _at_least(_: click.Context, __: click.Parameter, interval_ms: int) -> int:
    if interval_ms < INTERVAL_MS_MIN:
        raise click.BadParameter(f"it is at least {INTERVAL_MS_MIN}ms")
    return interval_ms


@click.command()
@click.option(
    "--interval", "interval_ms", type=Duration(), default="2s", show_default=True, callback=_at_least,
    help="How long from one look to the next.",
)  # fmt: skip
@click.option("--prefix", default="", help="Functions only whose name begins so.")
@click.option("--once", is_flag=True, help="Look twice, so long apart, print what that shows, and end.")
@as_json
@click.pass_obj
def top(target: Target, interval_ms: int, prefix: str, once: bool, as_json: bool) -> None:
    """Show what the daemon does now: rates, functions, workers, locks. Keys sort and filter; q quits.

    Functions, workers and locks come a page a look, so it costs the daemon as much with 10 functions as with 10,000;
    with more than 500 each is looked at in turn. Before a row, ! is bad and ? to be watched: periodic doctor says why.
    The column that functions are sorted by has its title in capitals; there are more columns on a wide terminal.
    run/room: how many run, and how many could. --json, with --once: the keys of the protocol, and rates beside them.
    """
    if as_json and not once:
        raise click.UsageError("--json goes with --once")
    if once:
        gauges = target.ask(lambda client: _looked_twice(client, prefix, interval_ms))
        if as_json:
            show_json(_as_map(gauges))
            return
        width = shutil.get_terminal_size((WIDTH_OF_NO_TERMINAL, 0)).columns
        lines = view(gauges, Choices(prefix=prefix), target.url, width, None)
        colours = has_colours() or (False if sys.stdout.isatty() else None)
        show("\n".join(rendered(line, width, colours).rstrip() for line in lines))
        return
    is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if not is_terminal or os.environ.get("TERM", "dumb") == "dumb":
        raise click.UsageError(
            "this is no terminal to paint on; --once prints what there is, --once --json for programs"
        )
    target.ask(lambda client: Live(client, Choices(prefix=prefix), interval_ms).run())


async def _looked_twice(client: Client, prefix: str, interval_ms: int) -> Gauges:
    gauges = Gauges(client, prefix)
    await gauges.look_at_all()
    await trio.sleep(interval_ms / 1000)
    await gauges.look_at_all()
    return gauges


def _as_map(gauges: Gauges) -> dict[str, Any]:
    return {
        **gauges.head,
        **{f"{key}_per_s": rate for key, rate in gauges.per_s.items()},
        "functions": [each.as_map() for each in gauges.functions()],
        "workers": gauges.workers,
        "locks": [lock | {"held_ms": gauges.held_ms(lock)} for lock in gauges.locks],
    }


class Live:
    """Looks, and paints, until a key or a signal says that it is enough."""

    def __init__(self, client: Client, choices: Choices, interval_ms: int) -> None:
        self._client = client
        self._choices = choices
        self._interval_s = interval_ms / 1000
        self._gauges = Gauges(client, choices.prefix)
        self._message = ""
        self._wanted = trio.Event()
        """Somebody waits for a look sooner than it would come."""

    async def run(self) -> None:
        # What is wrong at the beginning is told as by every command; what goes wrong later, on the screen.
        await self._gauges.look()
        with trio.open_signal_receiver(*SIGNALS) as received, taken(has_colours()) as screen:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, received, screen, nursery.cancel_scope)
                nursery.start_soon(self._look, screen)
                while (keys := await screen.keys()) is not None and not any(map(self._press, keys)):
                    self._paint(screen)
                nursery.cancel_scope.cancel()

    def _press(self, key: str) -> bool:
        """Whether it says that it is enough."""
        if key in QUIT and (self._choices.typing is None or key == "quit"):
            return True
        prefix, held = self._choices.prefix, self._choices.held
        self._choices.press(key)
        if self._choices.prefix != prefix:
            head, self._gauges = self._gauges.head, Gauges(self._client, self._choices.prefix)
            self._gauges.head = head
        if (self._choices.prefix, self._choices.held) != (prefix, held):
            self._wanted.set()
        return False

    def _paint(self, screen: Screen) -> None:
        size = screen.width, screen.height
        screen.paint(view(self._gauges, self._choices, self._client.url, *size, self._message))

    async def _look(self, screen: Screen) -> None:
        while True:
            self._paint(screen)
            # At first all there is, without a wait between pages; then a page a look.
            if self._gauges.is_whole or self._choices.held or self._message:
                self._wanted = trio.Event()
                with trio.move_on_after(self._interval_s):
                    await self._wanted.wait()
            if self._choices.held:
                continue
            try:
                await self._gauges.look()
                self._message = ""
            except (CannotConnect, ConnectionLost, TimedOut, PeriodicError) as error:
                self._message = f"{error}; trying again"

    async def _obey(self, received: AsyncIterator[int], screen: Screen, scope: trio.CancelScope) -> None:
        async for number in received:
            if number != signal.SIGWINCH:
                scope.cancel()
                return
            screen.measure()
            self._paint(screen)
