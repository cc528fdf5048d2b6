"""What the client's tests share."""

import pytest

from tests.client.peer import Daemon


@pytest.fixture
async def daemon() -> Daemon:
    return Daemon()
