"""What pyproject.toml cannot say: the description for PyPI, and what is compiled.

The description is README.md without its links to files: they lead nowhere from there, as there is no address yet under
which the pages can be read. The names stay.

With PERIODICD_COMPILE=1 mypyc compiles the synchronous core; without, nothing is built. The same .py files are
installed either way, and nothing but speed differs: docs/decisions/0015-a-compiled-core.md.
"""

import os
import re
from pathlib import Path

from setuptools import Extension, setup

NOTE = """
The pages named here are in the source distribution: `pip download --no-deps --no-binary periodicd periodicd`.
"""
CORE = [
    *sorted(map(str, Path("periodicd/scheduler").glob("*.py"))),
    "periodicd/job.py",
    "periodicd/engine.py",
    "periodicd/protocol/order.py",
    "periodicd/protocol/requests.py",
    "periodicd/protocol/answers.py",
    "periodicd/protocol/order_answers.py",
    "periodicd/store/statements.py",
    "periodicd/store/counts.py",
    "periodicd/store/dead.py",
    "periodicd/store/leaving.py",
    "periodicd/store/bulk.py",
    "periodicd/store/lines.py",
    "periodicd/store/members.py",
    "periodicd/store/tables.py",
]


def extensions() -> list[Extension]:
    if os.environ.get("PERIODICD_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(CORE, opt_level="3", group_name="periodicd.core")


readme = Path(__file__).with_name("README.md").read_text()
setup(
    ext_modules=extensions(),
    long_description=re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]+\)", r"\1", readme) + NOTE,
    long_description_content_type="text/markdown",
)
