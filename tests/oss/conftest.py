from collections.abc import Iterator

import pytest

from demo.oss import CannotStart, OssServer


@pytest.fixture
def server() -> Iterator[OssServer]:
    server = OssServer()
    try:
        server.__enter__()
    except CannotStart as error:
        pytest.fail(str(error), pytrace=False)
    yield server
    server.__exit__()
