"""Outcomes on their way to the daemon, each kept until it is known to have arrived.

A response to ``perform`` is not acknowledged, and what was written to a connection that breaks may never have arrived.
But the daemon takes the messages of a connection in order, and answers after it has stored: so the answer to a later
``ping`` shows that all outcomes sent before it are safe. Those it does not show are sent with ``finish`` over the next
connection. Finishing twice is harmless, a handle counts once.

What is kept is bounded: the daemon gives no more jobs than the worker's credit, and 1,000 runs of broadcasts, while it
does not read the outcomes, and a ping follows every CONFIRM_REPORTS of them. This module decides no outcome, opens no
connection and waits for no time.
"""

from functools import partial
from typing import Any, NamedTuple

import trio

from periodic_client.lines import Lines
from periodic_client.outcomes import Failed, WireOutcome
from periodic_client.session import ConnectionLost, Session
from periodic_client.wire import Invalid, LeaseLost, PeriodicError, TooLarge

log = Lines(__name__)

CONFIRM_REPORTS = 100
CONFIRM_BYTES = 1024 * 1024


class Report(NamedTuple):
    handle: str
    func: str
    name: str
    outcome: WireOutcome
    was_sent: bool = False
    """It went over a connection that was lost, and may have arrived."""


class Reports:
    def __init__(self) -> None:
        self._sent: dict[int, Report] = {}
        """By number: answered on the connection that is open now, and not known to have arrived."""
        self._responses = 0
        """How many were ever sent so; the number of the next one."""
        self._unasked = 0
        self._unasked_bytes = 0
        """Sent since the last ping that asked about them."""
        self._unsent: dict[str, Report] = {}
        """By handle: to be sent, or sent but not answered, with ``finish``."""
        self._session: Session | None = None
        """The connection that is open now."""
        self._settled = trio.Event()

    def __len__(self) -> int:
        return len(self._sent) + len(self._unsent)

    def respond(self, session: Session, msgid: int, report: Report) -> None:
        """Answer ``perform`` on the connection that it came from, which must be open."""
        try:
            size = session.respond(msgid, report.outcome)
        except PeriodicError as error:
            report = _refused(report, error)
            size = session.respond(msgid, report.outcome)
        self._sent[self._responses] = report
        self._responses += 1
        self._unasked += 1
        self._unasked_bytes += size
        if self._unasked >= CONFIRM_REPORTS or self._unasked_bytes >= CONFIRM_BYTES:
            session.call("ping", (), partial(self._on_pong, self.mark()))

    def mark(self) -> int:
        """The place in the row of reports up to which the answer to a ping, sent now, speaks."""
        self._unasked = self._unasked_bytes = 0
        return self._responses

    def confirm(self, mark: int) -> None:
        """All reports before the mark have arrived."""
        self._sent = {number: report for number, report in self._sent.items() if number >= mark}
        self._check_settled()

    def _on_pong(self, mark: int, error: Exception | None, _: Any) -> None:
        if error is None:
            self.confirm(mark)

    def forget(self, handle: str) -> Report | None:
        """Send this one no more: the daemon has said what became of it. None if it is not among those sent."""
        number = next((number for number, report in self._sent.items() if report.handle == handle), None)
        if number is None:
            return None
        report = self._sent.pop(number)
        self._check_settled()
        return report

    def connection_lost(self) -> None:
        """What is not known to have arrived must be sent again."""
        self._session = None
        self._unsent.update((report.handle, report._replace(was_sent=True)) for report in self._sent.values())
        self.confirm(self.mark())

    async def deliver(self, session: Session) -> None:
        """Send everything that is kept over a new connection; return when all is answered or the connection lost."""
        self._session = session
        async with trio.open_nursery() as nursery:
            for report in list(self._unsent.values()):
                nursery.start_soon(self._finish, session, report)

    async def finish(self, report: Report) -> None:
        """Report a run whose own connection is gone: over another one, or, if there is none now, over the next."""
        self._unsent[report.handle] = report
        if self._session is not None:
            await self._finish(self._session, report)

    async def _finish(self, session: Session, report: Report) -> None:
        try:
            try:
                await session.request("finish", report.handle, report.outcome)
            except LeaseLost as error:
                _log_lease_lost(report, error)
            except PeriodicError as error:
                await session.request("finish", report.handle, _refused(report, error).outcome)
        except ConnectionLost:
            return
        except PeriodicError as error:
            log.warning("%s %s: its outcome is dropped: %s", report.func, report.name, error.to_wire())
        del self._unsent[report.handle]
        self._check_settled()

    async def settle(self) -> None:
        """Wait until every report is known to have arrived."""
        while self._sent or self._unsent:
            self._settled = trio.Event()
            await self._settled.wait()

    def _check_settled(self) -> None:
        if not self._sent and not self._unsent:
            self._settled.set()


def _refused(report: Report, error: PeriodicError) -> Report:
    """The outcome cannot be sent or was refused, so the run failed; its lease must not run out unreported.

    What is wrong with the outcome itself would be so again: then the job is dead.
    """
    final = isinstance(error, Invalid | TooLarge)
    log.warning("%s %s: its outcome was refused: %s", report.func, report.name, error.to_wire())
    return report._replace(outcome=Failed(f"the outcome was refused: {error.to_wire()}", final).to_wire())


def _log_lease_lost(report: Report, error: LeaseLost) -> None:
    if report.was_sent:
        log.info("%s %s: its outcome had arrived before, or came too late: %s", report.func, report.name, error)
    else:
        log.warning("%s %s: its outcome came too late and does not count: %s", report.func, report.name, error)
