"""A few examples with every test run; ``python -m tests.model`` for as many as one likes."""

from pathlib import Path

from rig.daemon import Daemon
from tests.model.machine import run


def test_the_daemon_does_what_the_rules_say(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--drain", "0") as daemon:
        run(daemon, examples=40, steps=40)
