"""``periodicd`` and ``python -m periodicd``."""

import os
import signal
import sys
from types import FrameType

from periodic_client.streams import standard_streams


def main() -> None:
    # As process 1 of a container a signal without a handler is ignored, and trio's stand only once the store is open.
    # Nothing was acknowledged by then, so nothing needs to be put in order.
    signal.signal(signal.SIGTERM, _leave)
    with standard_streams("periodicd"):
        _main()


def _main() -> None:
    try:
        from periodicd.cli import periodicd
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("periodicd", "periodic_client")):
            raise
        sys.exit(_missing(error))
    periodicd()


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _missing(error: ModuleNotFoundError) -> int:
    sys.stderr.write(f"periodicd: {error.name} is not installed; pip install periodicd\n")
    return 2


if __name__ == "__main__":
    main()
