import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

PICTURES = Path(__file__).parent.parent / "pictures"


@pytest.fixture(scope="session")
def picture() -> Callable[[str], bytes]:
    """The content of a sample picture; what each is for stands in LICENCES.md beside them."""

    def read(name: str) -> bytes:
        return (PICTURES / name).read_bytes()

    return read


@pytest.fixture(scope="session")
def guetzli_program() -> str:
    program = shutil.which("guetzli")
    if program is None:
        pytest.fail("there is no guetzli: apt-get install guetzli", pytrace=False)
    return program
