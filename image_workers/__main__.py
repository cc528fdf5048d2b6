"""The command `image-workers`. Says what to install if the packages it needs are missing; all else is in `cli`."""

import sys

from periodic_client.streams import standard_streams


def main() -> None:
    with standard_streams("image-workers"):
        _main()


def _main() -> None:
    try:
        from image_workers.cli import command
    except ModuleNotFoundError as error:
        if error.name not in ("click", "PIL", "yaml"):
            raise
        sys.stderr.write(f"image-workers: {error.name} is not installed; pip install 'periodicd[images]'\n")
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
