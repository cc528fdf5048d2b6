"""The errors of the protocol: one class for each symbol of protocol.md, section 2.

On the wire an error is one text, ``SYMBOL: message`` or ``SYMBOL key=value ...: message``. This module knows nothing of
connections; it only turns that text into an exception and back. tests/test_protocol_md.py holds the classes to the
table in protocol.md.
"""

import re
from typing import ClassVar

_ERROR = re.compile(r"([A-Z0-9_]+)((?: [a-z_]+=[^\s:]*)*):? ?(.*)", re.DOTALL)


class PeriodicError(Exception):
    """Base of all errors that travel over the wire. ``str(error)`` is the message without its symbol.

    ``details``: what stands between the symbol and the message, text by text, as ``retry_after_ms`` or ``path``; their
    values hold neither blank nor colon.
    """

    symbol: ClassVar[str] = "ERROR"

    def __init__(self, message: str = "", /, **details: object) -> None:
        super().__init__(message)
        self.details = {key: str(value) for key, value in details.items()}

    def to_wire(self) -> str:
        """The text that stands for this error in a response."""
        details = "".join(f" {key}={value}" for key, value in self.details.items())
        return f"{self.symbol}{details}: {self}"


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


class Silent(ClosingError):
    """A subscribed connection said nothing for too long."""

    symbol = "SILENT"


class UnknownMethod(PeriodicError):
    """There is no such method."""

    symbol = "UNKNOWN_METHOD"


class Invalid(PeriodicError):
    """A parameter is missing, unknown, of the wrong type or out of range; message and ``path`` name it."""

    symbol = "INVALID"


class LeaseLost(PeriodicError):
    """The handle is not the job's latest."""

    symbol = "LEASE_LOST"


class Full(PeriodicError):
    """The function has as many jobs as were allowed it."""

    symbol = "FULL"


class Draining(PeriodicError):
    """The daemon is stopping."""

    symbol = "DRAINING"


class Busy(PeriodicError):
    """The daemon is at a limit of its own; ask again later, after ``retry_after_ms`` if that is given."""

    symbol = "BUSY"


class UnknownError(PeriodicError):
    """A symbol that this version does not know. ``str(error)`` is the whole text."""

    symbol = "ERROR"

    def to_wire(self) -> str:
        return str(self)


ERRORS: dict[str, type[PeriodicError]] = {
    cls.symbol: cls
    for cls in (BadMessage, TooLarge, DuplicateMsgid, Silent, UnknownMethod, Invalid, LeaseLost, Full, Draining, Busy)
}


def error_from_wire(text: object) -> PeriodicError:
    """The exception for the ``error`` of a response. What is not understood becomes an UnknownError; never raises."""
    if not isinstance(text, str):
        return UnknownError(repr(text))
    found = _ERROR.fullmatch(text)
    cls = ERRORS.get(found[1]) if found is not None else None
    if found is None or cls is None:
        return UnknownError(text)
    return cls(found[3], **dict(detail.split("=", 1) for detail in found[2].split()))
