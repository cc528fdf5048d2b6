"""Log lines that stay one line each, whatever is in the names, reasons and errors that they quote.

Who chooses a job's name, or an error's text, is not who reads the log: he must not write lines of his own into it, nor
steer the terminal that shows it. What a line says and where it goes is not decided here.
"""

import logging
from typing import Any


class Lines(logging.LoggerAdapter[logging.Logger]):
    """A logger that escapes what cannot be printed in the texts and errors that it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        # Whoever asks where a line comes from is not meant to see this module.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *map(_one_line, args), **kwargs)


def _one_line(value: object) -> object:
    if not isinstance(value, str | BaseException):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
