"""The model keeps the promises of every store."""

import pytest

from periodicd.store import Store
from periodicd.store.memory import MemoryStore
from tests.store.conformance import Conformance


class TestMemory(Conformance):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()
