"""The command `periodic`, as a person runs it against a daemon."""

import subprocess
import sys
from typing import TypeAlias

from rig.daemon import Daemon

Ended: TypeAlias = "subprocess.CompletedProcess[str]"


def periodic(daemon: Daemon, *arguments: str, stdin: str = "") -> Ended:
    command = [sys.executable, "-m", "periodic_client", "--url", daemon.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, input=stdin)
