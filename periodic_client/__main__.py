"""The entry of the ``periodic`` command: it says what to install if a package that only it needs is missing."""

import sys

USAGE = 2


def main() -> None:
    try:
        from periodic_client.cli import cli

        cli(prog_name="periodic")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("click", "rich"):
            raise
        sys.stderr.write(f"periodic: the package {package} is missing; pip install 'periodicd[cli]'\n")
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
