"""What a new user sees: four photographs, twenty objects, and what guetzli saved.

python -m demo [--bucket directory|oss]      the folder demo/bucket, or a bucket of the server in demo/oss
"""

import argparse
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.chain import Chain, ChainError, Row, idle
from demo.oss import CannotStart, OssServer

FOLDER = Path(__file__).parent
TIMEOUT_S = 180.0


def progress(status: dict[str, Any], begun_s: float) -> Table:
    table = Table(title=f"jobs, after {time.monotonic() - begun_s:.0f} s", title_justify="left")
    table.add_column("function", min_width=20)
    for column in ("waiting", "running", "given out"):
        table.add_column(column, justify="right")
    for function in status["functions"]:
        figures = (function["waiting"], function["running"], function["started"])
        table.add_row(function["func"], *map(str, figures), style="bold" if function["running"] else "dim")
    return table


def objects(rows: list[Row]) -> Table:
    table = Table(title="objects in the bucket, in bytes", title_justify="left")
    table.add_column("object")
    for column in ("original", "thumbnail", "after guetzli", "saving"):
        table.add_column(column, justify="right")
    for row in rows:
        kept = row.final == row.uploaded
        table.add_row(
            row.key,
            f"{row.original:,}",
            "-" if row.uploaded == row.original else f"{row.uploaded:,}",
            "kept" if kept else f"{row.final:,}",
            "" if kept else f"{100 - 100 * row.final / row.uploaded:.0f} %",
        )
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


def show(chain: Chain, console: Console) -> None:
    pictures = sorted((FOLDER / "pictures").glob("*.jpg"))
    chain.start_daemon()
    chain.start_worker()
    for picture in pictures:
        console.print(f"$ periodic submit save {picture.name} -w @{picture.relative_to(FOLDER.parent)}")
        chain.submit(picture)
    begun_s = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        last_line_s = 0.0

        def seen(status: dict[str, Any]) -> bool:
            nonlocal last_line_s
            if console.is_terminal:
                live.update(progress(status, begun_s), refresh=True)
            elif time.monotonic() - last_line_s > 10:
                last_line_s = time.monotonic()
                busy = (f"{each['func']} {each['running']}+{each['waiting']}" for each in status["functions"])
                console.print(f"{last_line_s - begun_s:3.0f} s, running+waiting: {', '.join(busy)}")
            return idle(status)

        status = chain.wait(seen, TIMEOUT_S)
    rows = chain.rows(pictures)
    console.print(objects(rows), lateness(status), sep="\n")
    before, after = sum(row.uploaded for row in rows), sum(row.final for row in rows)
    thumbnails = [row for row in rows if row.uploaded != row.original]
    saved = 1 - sum(row.final for row in thumbnails) / sum(row.uploaded for row in thumbnails)
    console.print(f"{len(rows)} objects, {before:,} -> {after:,} bytes; the thumbnails lost {saved:.0%}.")
    removals = chain.removals()
    due = [datetime.fromtimestamp(job["due_at_ms"] / 1000).astimezone() for job in removals]
    console.print(
        f"{len(removals)} removals of cached files are planned, from {min(due):%Y-%m-%d %H:%M} to {max(due):%H:%M %Z}."
    )


def run(chain: Chain, console: Console) -> int:
    begun_s = time.monotonic()
    try:
        show(chain, console)
    except ChainError as error:
        console.print(f"demo: {error}", style="red")
        chain.stop()
        return 1
    except KeyboardInterrupt:
        chain.stop()
        return 130
    unwell = chain.stop()
    for complaint in unwell:
        console.print(f"demo: {complaint}", style="red")
    console.print(f"All stopped, after {time.monotonic() - begun_s:.0f} s.")
    return 1 if unwell else 0


def run_on_oss(console: Console) -> int:
    try:
        with OssServer() as server:
            config = FOLDER / "run" / "oss.yml"
            config.parent.mkdir()
            config.write_text(server.configuration((FOLDER / "config.yml").read_text()))
            code = run(Chain(FOLDER, "run/oss.yml", server.read), console)
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
    bucket = parser.parse_args().bucket
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for leftover in ("run", "bucket"):
        shutil.rmtree(FOLDER / leftover, ignore_errors=True)
    if bucket == "oss":
        return run_on_oss(console)
    code = run(Chain(FOLDER), console)
    console.print(f"The objects stay in {FOLDER / 'bucket'}.")
    return code


if __name__ == "__main__":
    sys.exit(main())
