"""Which build of the core runs: ``pure`` Python, or ``compiled`` from the same files. Nothing but speed differs.

Python takes what is compiled before what is written, so in a tree where people edit the files an old build would hide
what they wrote. There the import fails instead. What an installation has was built at once, and is not looked at.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Literal

_FOLDER = Path(__file__).parent


def _compiled() -> list[Path]:
    return [path for path in _FOLDER.rglob("*.so") if any(path.name.endswith(suffix) for suffix in EXTENSION_SUFFIXES)]


def stale(compiled: list[Path]) -> list[Path]:
    """The files that were written after they were compiled."""
    sources = [(path, path.with_name(path.name.partition(".")[0] + ".py")) for path in compiled]
    # One is the code of all, which has no source of its own.
    return [
        source for path, source in sources if source.exists() and source.stat().st_mtime_ns > path.stat().st_mtime_ns
    ]


def _look() -> Literal["compiled", "pure"]:
    compiled = _compiled()
    if _FOLDER.with_name("setup.py").exists() and (old := stale(compiled)):
        names = ", ".join(str(path.relative_to(_FOLDER.parent)) for path in sorted(old)[:3])
        raise ImportError(
            f"the compiled core is older than {names}: `make compiled` builds it anew, `make pure` removes it"
        )
    return "compiled" if compiled else "pure"


BUILD = _look()
