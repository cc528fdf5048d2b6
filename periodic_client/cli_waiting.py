"""Commands of ``periodic`` that wait: for a job's end and what it tells, for what happens; and who takes jobs.

What a job makes goes to standard output as it comes, byte by byte; how it stands goes to standard error.
"""

import sys
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import click
import trio

from periodic_client.cli_many import as_json, only_id
from periodic_client.cli_options import job_options, new_job
from periodic_client.cli_output import (
    EVENT_COLUMNS,
    WORKER_COLUMNS,
    Bar,
    bytes_as_json,
    show,
    show_json,
    show_line,
    show_table,
    visible,
)
from periodic_client.cli_target import ABSENT, FAILED, REFUSED, UNANSWERED, Target, stop
from periodic_client.cli_values import Duration
from periodic_client.client import Client
from periodic_client.endings import JobRefused, News, NotDone, ResultLost, result_of


@click.command()
@job_options
@click.option("--timeout", "timeout_ms", type=Duration(), help="How long to wait for its end.  [default: no limit]")
@as_json
@click.pass_obj
def call(
    target: Target,
    /,
    func: str,
    name: str,
    as_json: bool,
    timeout_ms: int | None,
    **options: Any,
) -> None:
    """Put a job, wait for its end, and print its result.

    What its run sends meanwhile is printed as it comes, byte by byte, then the result. A lost connection is made
    again, and the job is not put twice. If nobody has subscribed to the function, standard error says so at once.
    With --json there is one object at the end. Exit code 7 if the job failed; 6 after --timeout: then it goes on.
    """
    job = new_job(func, name, options)
    limit_s = inf if timeout_ms is None else timeout_ms / 1000

    async def follow(client: Client) -> News | None:
        with trio.move_on_after(limit_s):
            return await _follow(client, client.submit_and_watch(job), func, None if as_json else _show_piece)
        return None

    try:
        end = target.ask(follow)
    except JobRefused as error:
        stop(REFUSED, str(error))
    except ResultLost as error:
        stop(UNANSWERED, str(error))
    if end is None:
        stop(UNANSWERED, f"{func} {name} has not ended in {limit_s:g} s, as far as is known; if it was put it goes on")
    _show_end(func, name, end, UNANSWERED, as_json)


@click.command()
@click.argument("func")
@click.argument("name")
@only_id
@as_json
@click.pass_obj
def watch(target: Target, func: str, name: str, id_: int | None, as_json: bool) -> None:
    """Watch a job to its end: what its run sends, as it comes, then its result. Exit code 7 if it failed.

    With --json a line for each piece of news.
    """

    async def follow(client: Client) -> News:
        return await _follow(client, client.watch(func, name, id=id_), None, _show_news if as_json else _show_piece)

    try:
        end = target.ask(follow)
    except ResultLost:
        stop(ABSENT, f"{func} {name} does not exist, and nothing is known of its end")
    _show_end(func, name, end, ABSENT, as_json=False if not as_json else None)


async def _follow(
    client: Client, all_news: AsyncIterator[News], asked_func: str | None, show_piece: Callable[[News], None] | None
) -> News:
    """To the last of the news. ``asked_func``: say if nobody takes its jobs."""
    with Bar() as bar:
        async for news in all_news:
            if asked_func is not None and news.state == "waiting":
                await _warn_without_worker(client, asked_func)
            asked_func = None
            if news.missed != 0 and news.attempt:
                count = "some" if news.missed is None else str(news.missed)
                bar.say(f"periodic: {count} of what the run sent may have been missed")
            if show_piece is not None:
                with bar.aside(bool(news.chunks)):
                    show_piece(news)
            if news.progress is not None:
                bar.show(news.progress.done, news.progress.total, visible(news.progress.note))
    return news


async def _warn_without_worker(client: Client, func: str) -> None:
    functions = (await client.status(func, limit=1))["functions"]
    if not any(each["workers"] for each in functions if each["func"] == func):
        click.echo(f"periodic: nobody has subscribed to {visible(func)}; waiting for a worker", err=True)


def _show_piece(news: News) -> None:
    for chunk in news.chunks:
        show(chunk, nl=False)


def _show_news(news: News) -> None:
    show_json(_as_json(news))
    sys.stdout.flush()


def _as_json(news: News) -> dict[str, Any]:
    shown = news._asdict() | {"progress": news.progress and news.progress._asdict()}
    chunks = [next(iter(bytes_as_json({"chunk": chunk}, "chunk").items())) for chunk in news.chunks]
    return bytes_as_json(shown, "data") | {"chunks": [{key: text} for key, text in chunks]}


def _show_end(func: str, name: str, end: News, lost: int, as_json: bool | None) -> None:
    """``as_json`` None: it was shown already."""
    if as_json:
        keys = ("id", "ending", "reason", "attempt", "data_bytes")
        show_json(bytes_as_json({key: getattr(end, key) for key in keys} | {"data": end.data}, "data"))
    try:
        data = result_of(func, name, end)
    except ResultLost:
        stop(lost, f"{func} {name} is done, but its result of {end.data_bytes} bytes is not kept any more")
    except NotDone as error:
        stop(FAILED, str(error))
    if as_json is False:
        show(data, nl=False)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on, and show what happens from now on as it happens.")
@click.option(
    "--kind", "kinds", multiple=True, help="Only of this kind, as done or failed; may be given several times."
)
@click.option("--func", help="Only of this function.")
@as_json
@click.pass_obj
def events(target: Target, follow: bool, kinds: tuple[str, ...], func: str | None, as_json: bool) -> None:
    """Show what happened: submitted, started, done, failed, later, lost, dead, removed, and so on, a line for each.

    The daemon keeps events, 10,000 at the most, only while somebody has asked for them within the last minute.
    """

    async def show_all(client: Client) -> None:
        after = None
        while not follow:
            page = await client.events_page(after, kinds=kinds or None, func=func)
            for event in page.events:
                show_event(event)
            if not page.events:
                return
            after = page.next
        async for event in client.events(kinds=kinds or None, func=func):
            show_event(event)

    def show_event(event: dict[str, Any]) -> None:
        if as_json:
            show_json(event)
        else:
            show_line(EVENT_COLUMNS, event)
        sys.stdout.flush()

    target.ask(show_all)


@click.command()
@click.option("--func", help="Only those of this function.")
@as_json
@click.pass_obj
def workers(target: Target, func: str | None, as_json: bool) -> None:
    """Show who takes jobs: connections that have subscribed. Who asks with take is not among them."""

    async def all_of_them(client: Client) -> list[dict[str, Any]]:
        return [worker async for worker in client.workers(func)]

    found = target.ask(all_of_them)
    if as_json:
        show_json(found)
        return
    for worker in found:
        named = [f"{each['func']} {each['running']}/{each['limit']}" for each in worker["functions"]]
        more = worker["function_count"] - len(named)
        worker["functions"] = ", ".join(named) + (f" and {more} more" if more else "")
    show_table(WORKER_COLUMNS, found)
