"""What is planted fits the source; whether it is found says ``make mutants``."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MUTANTS = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_a_planted_bug_fits_its_file_once(mutant: dict[str, str]) -> None:
    assert (ROOT / mutant["file"]).read_text().count(mutant["old"]) == 1
    assert mutant["old"] != mutant["new"]
