"""A log record as the daemon makes them, at a time that can be told."""

import logging

NOON_S = 1_767_268_800.25


def record(template: str = "closed: %s", *values: object, at_s: float = NOON_S, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("periodicd.connection", logging.WARNING, "", 0, template, values or ("why",), None)
    made.created = at_s
    made.__dict__.update(fields)
    return made
