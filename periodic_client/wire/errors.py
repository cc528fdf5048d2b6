"""The errors of the protocol: one class for each symbol of protocol.md, section 2.

On the wire an error is one text, ``SYMBOL: message``. This module knows nothing of connections; it only turns that text
into an exception and back. tests/test_protocol_md.py holds the classes to the table in protocol.md.
"""

from typing import ClassVar


class PeriodicError(Exception):
    """Base of all errors that travel over the wire. ``str(error)`` is the message without its symbol."""

    symbol: ClassVar[str] = "ERROR"

    def to_wire(self) -> str:
        """The text that stands for this error in a response."""
        return f"{self.symbol}: {self}"


class ClosingError(PeriodicError):
    """Base of the errors after which the connection closes."""


class BadMessage(ClosingError):
    """The bytes are not MessagePack, not one of the three shapes, or break a limit of form."""

    symbol = "BAD_MESSAGE"


class TooLarge(ClosingError):
    """The message is larger than the receiver accepts."""

    symbol = "TOO_LARGE"


class DuplicateMsgid(ClosingError):
    """A request used the number of one that is still unanswered."""

    symbol = "DUPLICATE_MSGID"


class UnknownMethod(PeriodicError):
    """There is no such method."""

    symbol = "UNKNOWN_METHOD"


class Invalid(PeriodicError):
    """A parameter is missing, unknown, of the wrong type or out of range; the message names it."""

    symbol = "INVALID"


class LeaseLost(PeriodicError):
    """The handle is not the job's latest."""

    symbol = "LEASE_LOST"


class Draining(PeriodicError):
    """The daemon is stopping."""

    symbol = "DRAINING"


class Busy(PeriodicError):
    """The daemon is at a limit of its own; ask again later."""

    symbol = "BUSY"


class UnknownError(PeriodicError):
    """A symbol that this version does not know. ``str(error)`` is the whole text."""

    symbol = "ERROR"

    def to_wire(self) -> str:
        return str(self)


ERRORS: dict[str, type[PeriodicError]] = {
    cls.symbol: cls for cls in (BadMessage, TooLarge, DuplicateMsgid, UnknownMethod, Invalid, LeaseLost, Draining, Busy)
}


def error_from_wire(text: object) -> PeriodicError:
    """The exception for the ``error`` of a response. What is not understood becomes an UnknownError; never raises."""
    if not isinstance(text, str):
        return UnknownError(repr(text))
    symbol, colon, message = text.partition(": ")
    cls = ERRORS.get(symbol)
    return cls(message) if cls is not None and colon else UnknownError(text)
