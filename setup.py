"""Compiles the synchronous core with mypyc where PERIODICD_COMPILE=1 asks for it; without, nothing is built.

The same .py files are installed either way, and nothing but speed differs: docs/decisions/0015-a-compiled-core.md.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

CORE = [
    *sorted(map(str, Path("periodicd/scheduler").glob("*.py"))),
    "periodicd/engine.py",
    "periodicd/protocol/requests.py",
    "periodicd/protocol/answers.py",
    "periodicd/store/statements.py",
    "periodicd/store/counts.py",
    "periodicd/store/groups.py",
    "periodicd/store/tables.py",
]


def extensions() -> list[Extension]:
    if os.environ.get("PERIODICD_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(CORE, opt_level="3", group_name="periodicd.core")


setup(ext_modules=extensions())
