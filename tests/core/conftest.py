"""Holds scripts to having looked at all that was said; ``script.py``."""

from collections.abc import Generator

import pytest

from tests.core.script import stage


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """The test, and then the end of each daemon; a test that failed has more to say than what it did not look at."""
    try:
        yield
        for daemon in stage:
            daemon.end()
    finally:
        stage.clear()
