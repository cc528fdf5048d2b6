"""``periodicd`` and ``python -m periodicd``."""

import sys


def main() -> None:
    try:
        from periodicd.cli import periodicd
    except ModuleNotFoundError as error:
        sys.exit(_missing(error))
    periodicd()


def _missing(error: ModuleNotFoundError) -> int:
    sys.stderr.write(f"periodicd: {error.name} is not installed; pip install 'periodicd[server]'\n")
    return 2


if __name__ == "__main__":
    main()
