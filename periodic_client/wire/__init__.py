"""The wire: protocol.md in code. Shared by the client library and the daemon.

This package imports nothing else of the project, does no I/O, reads no clock and does not know which side it is on.
"""

from periodic_client.wire.codec import (
    MSGID_MAX,
    Decoder,
    Limits,
    Message,
    Notification,
    Request,
    Response,
    encode,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
    shaped,
)
from periodic_client.wire.errors import (
    ERRORS,
    BadMessage,
    Busy,
    ClosingError,
    Draining,
    DuplicateMsgid,
    Full,
    Invalid,
    LeaseLost,
    PeriodicError,
    Silent,
    TooLarge,
    UnknownError,
    UnknownMethod,
    error_from_wire,
)

PROTOCOL_VERSION = 1

__all__ = [
    "ERRORS",
    "MSGID_MAX",
    "PROTOCOL_VERSION",
    "BadMessage",
    "Busy",
    "ClosingError",
    "Decoder",
    "Draining",
    "DuplicateMsgid",
    "Full",
    "Invalid",
    "LeaseLost",
    "Limits",
    "Message",
    "Notification",
    "PeriodicError",
    "Request",
    "Response",
    "Silent",
    "TooLarge",
    "UnknownError",
    "UnknownMethod",
    "encode",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_response",
    "error_from_wire",
    "shaped",
]
