import os
import subprocess
import sys
from pathlib import Path

from bench.yardsticks.periodicd import ROOT, of_tree


def test_the_daemon_of_another_checkout_is_that_of_the_other_checkout(tmp_path: Path) -> None:
    (tmp_path / "periodicd").mkdir()
    (tmp_path / "periodicd" / "__init__.py").touch()
    (tmp_path / "periodicd" / "__main__.py").write_text("print('the other')")
    for tree in (tmp_path, ROOT):
        process = subprocess.run(
            [sys.executable, "-m", "periodicd", "--version"],
            env=os.environ | of_tree(tree), cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ("the other" in process.stdout) == (tree == tmp_path)
