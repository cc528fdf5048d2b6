"""For all tests: they say which build they ran on."""

import pytest

from periodicd import BUILD


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"the core was {BUILD}")
