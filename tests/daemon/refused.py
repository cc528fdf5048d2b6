"""A start that does not come about: the exit code, and what was said for people."""

from pathlib import Path

import pytest

from rig.daemon import Daemon, DidNotStart


def refused(folder: Path, *arguments: str, listen: str = "tcp://127.0.0.1:0") -> tuple[int, str]:
    with pytest.raises(DidNotStart) as refusal, Daemon(folder, *arguments, listen=listen):
        pass
    return refusal.value.code, str(refusal.value)
