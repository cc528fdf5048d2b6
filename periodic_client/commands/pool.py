"""Commands that live on: so many of them, each given a line for a job, one job at a time, and replaced when it ends.

What the lines say is framing.py's; this module decides which command does a job, and when one is no good any more.
"""

import signal
from collections.abc import Callable

import trio

from periodic_client.commands.children import CannotStart, Child, Keeper
from periodic_client.commands.framing import FRAMINGS, BadAnswer, Chunk
from periodic_client.commands.rules import Rules
from periodic_client.commands.runs import Messages
from periodic_client.job import Job
from periodic_client.lines import Lines
from periodic_client.outcomes import Failed, Later, Outcome, WrongValue
from periodic_client.session import TimedOut
from periodic_client.wire import PeriodicError

log = Lines(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Before a command that ended by itself is started again; twice as long each time, until one has done a job."""
EXIT_S = 1.0
ANSWER_FACTOR, ANSWER_MORE = 2, 2**16
"""A line may be so many times as long as a result, and so much more: base64 and escapes take room."""


class Living:
    """A command that lives on, and what has been said to it."""

    def __init__(self, child: Child, line_bytes_max: Callable[[], int]) -> None:
        self.child = child
        self.messages = Messages(child.stderr)
        self.last = 0
        """The number of its last line."""
        self.has_answered = False
        self.was_given_up = False
        self.first_signal = signal.SIGTERM
        self.over = trio.Event()
        """It is to be ended."""
        self.closed = trio.Event()
        """It has been, and all is read that it said."""
        self._line_bytes_max = line_bytes_max
        self._unread = bytearray()

    async def line(self) -> bytes:
        """The next line that it prints, without its end. Raises BadAnswer for one too long, EOFError at the end."""
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if searched > self._line_bytes_max():
                raise BadAnswer(f"it printed a line of more than {self._line_bytes_max():,} bytes")
            data = await self.child.stdout.read()
            if not data:
                raise EOFError
            self._unread += data
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def is_good(self) -> bool:
        """It can be given a job: it lives, and has printed nothing that it was not asked for."""
        return not (self.over.is_set() or self.child.exited.is_set() or self._unread or self.child.stdout.is_readable())

    async def end_when_it_exits(self) -> None:
        await self.child.exited.wait()
        self.over.set()


class Pool:
    """``run`` keeps the commands, ``perform`` does a job with one of them."""

    def __init__(self, keeper: Keeper, rules: Rules, result_bytes_max: Callable[[], int]) -> None:
        self._keeper = keeper
        self._rules = rules
        self._framing = FRAMINGS[rules.framing]
        self._result_bytes_max = result_bytes_max
        self._free: list[Living] = []
        """Those that wait for a job."""
        self._waiting = trio.lowlevel.ParkingLot()
        """Jobs that wait for one of those."""

    async def run(self) -> None:
        """Keep as many commands as may run at once, until cancelled; then they are ended."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._rules.limit):
                nursery.start_soon(self._keep)

    async def perform(self, job: Job) -> Outcome:
        living: Living | None = None
        with trio.move_on_after(job.lease_ms / 2000):
            living = await self._take()
        if living is None:
            log.warning("%s %s comes later: no command was free for it in half its lease", job.func, job.name)
            return Later(self._rules.later_ms)
        living.last += 1
        try:
            line = self._framing.request(living.last, job, self._rules.gives_name)
        except WrongValue as error:
            self._give_back(living)
            return Failed(str(error), final=True)
        return await self._ask(living, line, job)

    async def _take(self) -> Living:
        while True:
            while self._free:
                living = self._free.pop(0)
                if living.is_good():
                    return living
                living.over.set()
            await self._waiting.park()

    def _give_back(self, living: Living) -> None:
        self._free.append(living)
        self._waiting.unpark()

    async def _ask(self, living: Living, line: bytes, job: Job) -> Outcome:
        """One that does not answer as it should is ended, before the job's run is."""
        living.messages.begin(job if self._rules.streams else None)
        outcome: Outcome = None
        why = ""
        try:
            with trio.move_on_after(self._rules.timeout_s):
                try:
                    await living.child.stdin.send_all(line)
                    outcome = await self._answer(living, job)
                    await living.messages.settle()
                except BadAnswer as error:
                    why = str(error)
                except (EOFError, trio.BrokenResourceError):
                    why = await _how_it_ended(living.child)
        finally:
            if outcome is None:
                living.was_given_up = not living.child.exited.is_set()
                living.first_signal = self._rules.first_signal(job)
                living.over.set()
                with trio.CancelScope(shield=True):
                    await living.closed.wait()
        if outcome is None:
            why = why or f"it was ended after {self._rules.timeout_s:g} s (--timeout)"
            return Failed(living.messages.after(why))
        living.messages.begin(None)
        living.has_answered = True
        self._give_back(living)
        return outcome

    async def _answer(self, living: Living, job: Job) -> Outcome:
        while True:
            said = self._framing.answer(await living.line(), living.last, self._rules.later_ms)
            if not isinstance(said, Chunk):
                return self._checked(said)
            try:
                await job.send(said.data)
            except (PeriodicError, TimedOut) as error:
                log.info("%s %s: a part of its result could not be told: %s", job.func, job.name, error)

    def _checked(self, outcome: Outcome) -> Outcome:
        data = getattr(outcome, "data", b"")
        if len(data) > self._result_bytes_max():
            return Failed(
                f"it answered {len(data):,} bytes, and a result has no more than {self._result_bytes_max():,} (the "
                "daemon's workload_bytes)"
            )
        return outcome

    # -- their lives ---------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                child = await self._keeper.start([], {}, self._rules.memory)
            except CannotStart as error:
                why = str(error)
            else:
                living = Living(child, lambda: ANSWER_FACTOR * self._result_bytes_max() + ANSWER_MORE)
                why = await self._live(living)
                if living.was_given_up:
                    continue
                if living.has_answered:
                    wait_s = FIRST_WAIT_S
            log.warning("a command that lives on: %s; another one is started in %g s", why, wait_s)
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _live(self, living: Living) -> str:
        """From its first line on it is given jobs, until it is over. Returns why it is."""
        child = living.child
        why = "it was no good any more"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(living.messages.read)
                nursery.start_soon(living.end_when_it_exits)
                try:
                    with trio.fail_after(self._rules.ready_s):
                        await living.line()
                except trio.TooSlowError:
                    why = f"it printed no line in {self._rules.ready_s:g} s, by which it says that it is ready"
                except BadAnswer as error:
                    why = str(error)
                except EOFError:
                    why = await _how_it_ended(child)
                else:
                    self._give_back(living)
                    await living.over.wait()
                    if child.exited.is_set():
                        why = await _how_it_ended(child)
                await child.end(living.first_signal, self._rules.grace_s)
        finally:
            if living in self._free:
                self._free.remove(living)
            await child.end_and_close(living.first_signal, self._rules.grace_s)
            living.closed.set()
        return living.messages.after(why)


async def _how_it_ended(child: Child) -> str:
    """Why it says no more. The end of its output may be seen before its own."""
    with trio.move_on_after(EXIT_S):
        await child.exited.wait()
    return f"it ended: {child.ending}" if child.exited.is_set() else "it closed its standard output, or input"
