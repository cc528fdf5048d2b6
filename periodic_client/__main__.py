"""The entry of the ``periodic`` command: it says what to install if a package that only it needs is missing."""

import sys

from periodic_client.streams import standard_streams

USAGE = 2


def main() -> None:
    with standard_streams("periodic"):
        _main()


def _main() -> None:
    try:
        from periodic_client.cli import run

        run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("click", "rich"):
            raise
        sys.stderr.write(f"periodic: {package} is not installed; pip install periodicd\n")
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
