"""``make mutants``: plants one bug after the other in a scratch copy, and reports how soon the simulation finds it.

``python -m tests.mutants WORDS...``: only those whose name has one of these words.
Exit code 1 if one is not found, or if a mutant no longer fits the source.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SEEDS_AT_ONCE = 800
STEPS = 600


def find(scratch: Path) -> str | None:
    """How the simulation found the bug, or None."""
    command = [sys.executable, "-m", "tests.sim", "--from", "0", "--seeds", str(SEEDS_AT_ONCE), "--steps", str(STEPS)]
    ended = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if not ended.returncode:
        return None
    broken = re.findall(r"^(?:tests\.sim\.book\.)?(\w+(?:: .*)?)$", ended.stderr, re.MULTILINE)
    steps = re.search(r"SEED=(\d+) STEPS=(\d+)", ended.stdout)
    where = f"seed {steps[1]}, {steps[2]} steps" if steps else "?"
    return f"{where}: {broken[-1][:110] if broken else ended.stderr.strip().splitlines()[-1][:110]}"


def main() -> int:
    mutants = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]
    words = sys.argv[1:] or [""]
    mutants = [mutant for mutant in mutants if any(word in mutant["name"] for word in words)]
    missed = 0
    for mutant in mutants:
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            for folder in ("periodicd", "periodic_client", "tests/sim"):
                shutil.copytree(ROOT / folder, scratch / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            path = scratch / mutant["file"]
            text = path.read_text()
            if text.count(mutant["old"]) != 1:
                print(f"{mutant['name']}: its old text occurs {text.count(mutant['old'])} times in {mutant['file']}")
                missed += 1
                continue
            path.write_text(text.replace(mutant["old"], mutant["new"]))
            found = find(scratch)
            missed += found is None
            print(f"{mutant['name']:70} {found or 'NOT FOUND'}", flush=True)
    print(f"{len(mutants) - missed} of {len(mutants)} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
