"""The real daemon with a wall clock that can be stepped while it runs: libfaketime between it and the C library.

The monotonic clock stays the machine's own, as it does when an administrator or NTP steps the wall clock.
"""

from pathlib import Path

from rig.daemon import Daemon


class SteppedDaemon(Daemon):
    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert libraries, "libfaketime is missing: as root, apt-get install libfaketime"
        self._offset = folder / "offset"
        self.step_to(0)
        env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        super().__init__(folder, env=env)

    def step_to(self, offset_s: int) -> None:
        """From now on its wall clock is so far from the machine's."""
        new = self._offset.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._offset)
