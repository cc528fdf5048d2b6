"""Lines to a file descriptor, by a thread of their own: whoever writes never waits for whoever reads.

A pipe that nobody empties must not stop the daemon. There is room for so many lines; those beyond are refused, and the
caller counts them. Knows nothing of what the lines say.
"""

import os
import threading
from queue import Full, Queue

ROOM_LINES = 1_000
FLUSH_S = 1.0
"""At the end of the process so long is waited for the reader."""


class LineWriter:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: Queue[bytes] = Queue(ROOM_LINES)
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: str) -> bool:
        """False if there is no room: then the line is lost."""
        try:
            self._lines.put_nowait(line.encode("utf-8", "backslashreplace"))
        except Full:
            return False
        return True

    def flush(self) -> None:
        """Wait until all lines are written, or FLUSH_S have passed."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_S)

    def _run(self) -> None:
        while True:
            self._write(self._lines.get())
            self._lines.task_done()

    def _write(self, line: bytes) -> None:
        # Not through sys.stderr: its lock, held here, would bring the end of the process to a stop.
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            pass  # a closed descriptor or a full disk; there is no other place to say so
