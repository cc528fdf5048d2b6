import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image_workers.decoder import Decoder, Limits

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


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """Two children for all tests that have nothing to say about them."""
    with Decoder(2, Limits()) as decoder:
        yield decoder
