"""What the commands of ``periodic`` share: the daemon that is asked, what its results mean, and the exit codes.

Errors become a message and an exit code here, and nowhere else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click
import trio

from periodic_client.cli_output import show, show_json, show_map, visible
from periodic_client.client import Client
from periodic_client.session import CannotConnect, ConnectionLost, TimedOut
from periodic_client.streams import telling
from periodic_client.wire import PeriodicError

AGAIN_S = 0.2

REFUSED, ABSENT, UNREACHABLE, UNANSWERED, FAILED, INTERRUPTED = 1, 3, 5, 6, 7, 130

FAILURES = {
    "refused": (REFUSED, "exists already; nothing was changed"),
    "absent": (ABSENT, "does not exist"),
    "changed": (REFUSED, "has another id by now; nothing was changed"),
    "not_dead": (REFUSED, "is not dead"),
    "not_live": (REFUSED, "is dead already"),
    "not_waiting": (REFUSED, "does not wait"),
    "not_running": (REFUSED, "does not run"),
    "left_out": (REFUSED, "did not fire: its last job waits or runs, or its function has as many jobs as it may"),
}
"""Results that are not what was asked for. One that is not known here is shown, and no failure."""

EXIT_CODES = """\b
Exit codes:
  0    it was done
  1    refused: by the daemon, or because the job exists already
       (submit --existing refuse), is not dead (requeue), not live
       (cancel), does not wait (move) or run (end-run), has another
       id by now (--id), is left out (schedule run), or you said no
  2    the command is not used as it should be
  3    there is no such job, function, lock or schedule, or none
       to take
  5    there is no daemon, or no way to it: nothing happened
  6    no answer: the daemon gave none in time, the connection was
       lost before it came, or the job did not end in time (call)
  7    the job failed (call, watch): it is dead, or was removed,
       replaced or cancelled
  8    the answer could not be written to standard output; what
       was done is done, and said on standard error
  130  interrupted
After 6 and 130 it may or may not have happened; submitting the same name again is safe.
With several names the first that failed decides. At one that is refused or not answered the command ends,
and standard error names it.

\b
Durations are written 500ms, 5m, 1h30m, 2d.
"""

Answer = TypeVar("Answer")


def stop(exit_code: int, message: str) -> NoReturn:
    click.echo(f"periodic: {visible(message)}", err=True)
    raise click.exceptions.Exit(exit_code)


@dataclass(frozen=True, slots=True)
class Target:
    """The daemon that is to be asked, and for how long."""

    url: str
    timeout_ms: int

    def ask_again(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """``ask`` what may be asked twice, for as long as the daemon is away, but no longer than an answer may take."""

        async def main(client: Client) -> Answer:
            with trio.move_on_after(self.timeout_ms / 1000):
                while True:
                    try:
                        return await question(client)
                    except (CannotConnect, ConnectionLost):
                        await trio.sleep(AGAIN_S)
            return await question(client)

        return self.ask(main)

    def ask(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        async def main() -> Answer:
            async with Client(self.url, timeout_s=self.timeout_ms / 1000) as client:
                return await question(client)

        try:
            # At checkpoints only: in the midst of the client's own tasks it would come out in an exception group.
            return trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)
        except PeriodicError as error:
            stop(REFUSED, error.to_wire())
        except CannotConnect as error:
            stop(UNREACHABLE, f"{error}; nothing happened")
        except ConnectionLost as error:
            stop(UNANSWERED, str(error))
        except TimedOut as error:
            stop(UNANSWERED, str(error))
        except KeyboardInterrupt:
            stop(INTERRUPTED, "interrupted")


def for_each_name(
    target: Target,
    request: Callable[..., Awaitable[str]],
    func: str | None,
    names: tuple[str, ...],
    id_: int | None,
    as_json: bool,
) -> None:
    if func is None or not names:
        raise click.UsageError("say which jobs: FUNC NAME..., or --where for many")
    if id_ is not None and len(names) > 1:
        raise click.UsageError("an id is that of one job; give one name with --id")
    results: list[dict[str, str]] = []

    async def ask_all(client: Client) -> None:
        for name in names:
            result = await request(client, func, name, id=id_)
            results.append({"func": func, "name": name, "result": result})

    try:
        target.ask(ask_all)
    except click.exceptions.Exit:
        if len(results) < len(names) > 1:
            unknown = visible(f"{func} {names[len(results)]}")
            click.echo(f"periodic: that was {unknown}; what comes after it was not asked for", err=True)
        raise
    finally:
        # What was done before an error is done, and is told.
        lines = [visible(f"{each['name']}: {each['result']}") for each in results]
        with telling(", ".join(lines) or "none"):
            if as_json:
                show_json(results)
            elif lines:
                show("\n".join(lines))
    for each in results:
        stop_if_failed(func, each["name"], each["result"])


async def one_named(client: Client, listing: str, rows: str, key: str, name: str) -> dict[str, Any] | None:
    """The row of a listing whose ``key`` is this name, if there is one."""
    # All that begin so come after it.
    page = (await client.request(listing, {"prefix": name, "limit": 1}))[rows]
    return next((each for each in page if each[key] == name), None)


def show_before(name: str, before: dict[str, Any], as_json: bool) -> None:
    """What was set of this before it was set anew."""
    with telling(visible(f"{name} is set")):
        if as_json:
            show_json({"before": before})
        else:
            show_map({"before": before or "nothing"})


def stop_if_failed(func: str, name: str, result: str) -> None:
    if result in FAILURES:
        exit_code, why = FAILURES[result]
        stop(exit_code, f"{func} {name} {why}")
