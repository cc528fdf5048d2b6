"""The standard streams of a command, made so that what cannot be written is noticed, said, and an exit code of its own.

Every command of the house begins with ``standard_streams``. It knows nothing of what they do and needs Python alone, so
that the daemon, which knows nothing of clients, may use it too.

Python by itself ends with a traceback and exit code 1 when standard output is full, with nothing when it is closed, and
with 120 when the last bytes fail at exit; and a socket or a file that is opened while number 1 or 2 is free takes that
number, where any stray message would go into it.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

EXIT_UNWRITTEN = 8
"""The answer could not be written. What was done is done, and said on standard error."""


class CannotWrite(Exception):
    """Standard output did not take the answer. The text says why."""


class _File(io.FileIO):
    """Waits where another program has made the descriptor non-blocking."""

    def write(self, data: object, /) -> int:
        while (written := super().write(data)) is None:  # type: ignore[arg-type]
            select.select((), (self,), ())
        return written


class _OutputFile(_File):
    def write(self, data: object, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is left in the buffers is written again by the next flush, at exit at the latest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            # click would end the command by itself at an OSError, as if the daemon had refused.
            raise CannotWrite("it is closed" if error.errno == errno.EBADF else error.strerror) from None


class _Output(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except UnicodeEncodeError as error:
            raise CannotWrite(
                f"its encoding is {self.encoding}, which has no {error.object[error.start]!a}; --json prints ASCII, "
                "PYTHONIOENCODING=utf-8 takes every text"
            ) from None


class _MessageFile(_File):
    """A message that cannot be written can be told nowhere, and changes nothing of what was done."""

    def write(self, data: object, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return len(data)  # type: ignore[arg-type]


@contextmanager
def standard_streams(program: str) -> Iterator[None]:
    """Around all that ``program`` does: exits with 8 and a message if standard output does not take what it is given.

    Standard input that is closed cannot be read, and is not another file by chance.
    """
    _occupy()
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_MessageFile(2, "w", closefd=False)),
        encoding=_encoding(sys.stderr),
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.stdout = _Output(
        io.BufferedWriter(_OutputFile(1, "w", closefd=False)),
        encoding=_encoding(sys.stdout),
        errors=sys.stdout.errors if sys.stdout else None,
        line_buffering=bool(sys.stdout) and sys.stdout.isatty(),
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except CannotWrite as error:
        sys.stderr.write(f"{program}: standard output cannot be written: {error}\n")
        sys.exit(EXIT_UNWRITTEN)


@contextmanager
def telling(answer: str) -> Iterator[None]:
    """Around the printing of what a request has done: if it cannot be printed, the message says ``answer``."""
    try:
        yield
        sys.stdout.flush()
    except CannotWrite as error:
        raise CannotWrite(f"{error}; the answer was: {answer}") from None


def _occupy() -> None:
    """Numbers 0 to 2 that are closed stay useless, each for what it is there for, but are no longer free."""
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)


def _encoding(stream: TextIO | None) -> str:
    return stream.encoding if stream else "utf-8"
