"""The command: python -m tests.storm --pictures 2000 --seed 1."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.stores.servers import webdav_server
from tests.storm.storm import Storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description="Pictures, and workers that are killed.")
    parser.add_argument("--pictures", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="default: another one each time")
    parser.add_argument("--kill-every", type=float, default=4.0, help="seconds, on average; default: %(default)s")
    parser.add_argument("--webdav", action="store_true", help="root and bucket are reached over WebDAV")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        servers = webdav_server(Path(folder), Path(folder) / "key") if options.webdav else iter([None])
        for server in servers:
            storm = Storm(Path(folder), options.pictures, options.seed, options.kill_every, server)
            faults = storm.run()
    for line in [*faults[:20], storm.summary(), f"seed {options.seed}: {len(faults) or 'no'} faults"]:
        logging.info(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
