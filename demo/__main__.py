"""What a new user sees: four photographs, twenty objects, the page to drop more on, and what guetzli saves of one.

python -m demo [--bucket directory|oss] [--serve]      the folder demo/bucket, or a bucket of the server in demo/oss
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.chain import Chain, ChainError, Row, idle, progress
from demo.oss import CannotStart, OssServer

FOLDER = Path(__file__).parent
TIMEOUT_S = 180.0
LINE_EVERY_S = 10.0
FOR_GUETZLI = "extreme-desert-hike.jpg"


def objects(rows: list[Row], *, compressed: bool) -> Table:
    table = Table(title="objects in the bucket, in bytes", title_justify="left")
    table.add_column("object")
    for column in ("original", "thumbnail", *(("after guetzli", "saving") if compressed else ())):
        table.add_column(column, justify="right")
    for row in rows:
        kept = row.final == row.uploaded
        cells = [row.key, f"{row.original:,}", "-" if row.uploaded == row.original else f"{row.uploaded:,}"]
        if compressed:
            cells.append("kept" if kept else f"{row.final:,}")
            cells.append("" if kept else f"{100 - 100 * row.final / row.uploaded:.0f} %")
        table.add_row(*cells)
    return table


def lateness(status: dict[str, Any]) -> Table:
    table = Table(title="from due to given out, in ms (waiting for a free worker included)", title_justify="left")
    table.add_column("function")
    for column in ("runs", "median", "99th", "longest"):
        table.add_column(column, justify="right")
    for function in status["functions"]:
        if function["started"]:
            figures = (function[f"lateness_{which}_ms"] for which in ("p50", "p99", "max"))
            table.add_row(function["func"], f"{function['started']}", *map(str, figures))
    return table


def wait(chain: Chain, what: str, console: Console) -> dict[str, Any]:
    """Until nothing is left to be done. On a terminal the line is written over itself."""
    begun_s = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        last_line_s = begun_s

        def seen(status: dict[str, Any]) -> bool:
            nonlocal last_line_s
            line = progress(what, status, time.monotonic() - begun_s)
            if console.is_terminal:
                live.update(Text(line), refresh=True)
            elif time.monotonic() - last_line_s > LINE_EVERY_S:
                last_line_s = time.monotonic()
                console.print(line)
            return idle(status)

        return chain.wait(seen, TIMEOUT_S)


def show_fast(chain: Chain, console: Console) -> None:
    """The chain as new configurations have it."""
    pictures = sorted((FOLDER / "pictures").glob("*.jpg"))
    for picture in pictures:
        console.print(f"$ periodic submit save {picture.name} -w @{picture.relative_to(FOLDER.parent)}")
        chain.submit(picture)
    begun_s = time.monotonic()
    status = wait(chain, "photographs", console)
    took_s = time.monotonic() - begun_s
    rows = chain.rows(pictures)
    console.print(objects(rows, compressed=False), lateness(status), sep="\n")
    console.print(f"{len(rows)} objects of {len(pictures)} photographs, in {took_s:.1f} s.")
    removals = chain.removals()
    due = [datetime.fromtimestamp(job["due_at_ms"] / 1000).astimezone() for job in removals]
    console.print(
        f"{len(removals)} removals of cached files are planned, from {min(due):%Y-%m-%d %H:%M} to {max(due):%H:%M %Z}."
    )


def show_guetzli(chain: Chain, console: Console) -> None:
    """One picture as in the article, which begun before the others: guetzli is slow."""
    wait(chain, "guetzli", console)
    rows = chain.rows([FOLDER / "pictures" / FOR_GUETZLI])
    console.print(objects(rows, compressed=True))
    thumbnails = [row for row in rows if row.uploaded != row.original]
    saved = 1 - sum(row.final for row in thumbnails) / sum(row.uploaded for row in thumbnails)
    console.print(f"As in the article: thumbnails of quality 98, of which guetzli saved {saved:.0%}.")


def article() -> Chain:
    """Started, with its picture submitted."""
    folder = FOLDER / "run" / "article"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "config.yml", folder)
    chain = Chain(folder)
    chain.start_daemon()
    chain.start_worker()
    chain.submit(FOLDER / "pictures" / FOR_GUETZLI)
    return chain


def show(chain: Chain, console: Console, *, stays: bool) -> list[str]:
    """All of it. Returns what did not end well. Raises ChainError."""
    with ExitStack() as stack:
        unwell: list[str] = []
        started = ends(stack, unwell)
        slow = started(article())
        started(chain)
        chain.start_daemon()
        chain.start_worker()
        console.print(f"The page to drop pictures on: {chain.start_page()}")
        show_fast(chain, console)
        show_guetzli(slow, console)
        if stays:
            console.print("The page stays until Ctrl-C.")
            signal.pause()
    return unwell


def ends(stack: ExitStack, unwell: list[str]) -> Callable[[Chain], Chain]:
    """Has the chains stopped at the end, whatever happens."""

    def started(chain: Chain) -> Chain:
        stack.callback(lambda: unwell.extend(chain.stop()))
        return chain

    return started


def run(chain: Chain, console: Console, *, stays: bool) -> int:
    begun_s = time.monotonic()
    try:
        unwell = show(chain, console, stays=stays)
    except ChainError as error:
        console.print(f"demo: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        return 0 if stays else 130
    for complaint in unwell:
        console.print(f"demo: {complaint}", style="red")
    console.print(f"All stopped, after {time.monotonic() - begun_s:.0f} s.")
    return 1 if unwell else 0


def run_on_oss(console: Console, *, stays: bool) -> int:
    try:
        with OssServer() as server:
            config = FOLDER / "run" / "oss.yml"
            config.parent.mkdir()
            config.write_text(server.configuration((FOLDER / "fast.yml").read_text()))
            code = run(Chain(FOLDER, "run/oss.yml", server.read), console, stays=stays)
            requests = server.state()["requests"]
    except CannotStart as error:
        console.print(f"demo: {error}", style="red")
        return 1
    signed = sum(request["signed"] for request in requests)
    console.print(f"The bucket was one of OSS: {signed} of {len(requests)} requests were signed as they must be.")
    return code if signed == len(requests) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Photographs through the whole chain.")
    parser.add_argument("--bucket", choices=["directory", "oss"], default="directory", help="default: %(default)s")
    parser.add_argument("--serve", action="store_true", help="the page stays up until Ctrl-C")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has it ignored: nothing may stay behind
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for leftover in ("run", "bucket"):
        shutil.rmtree(FOLDER / leftover, ignore_errors=True)
    if options.bucket == "oss":
        return run_on_oss(console, stays=options.serve)
    code = run(Chain(FOLDER, "fast.yml"), console, stays=options.serve)
    console.print(f"The objects stay in {FOLDER / 'bucket'}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
