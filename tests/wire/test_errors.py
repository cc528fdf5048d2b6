"""Errors on the wire are one text; what comes back is the class that its symbol names."""

import pytest

from periodic_client.wire import ERRORS, UnknownError, error_from_wire


@pytest.mark.parametrize("cls", ERRORS.values())
def test_there_and_back(cls: type[Exception]) -> None:
    error = error_from_wire(cls("job.name: is empty").to_wire())  # type: ignore[attr-defined]
    assert type(error) is cls
    assert str(error) == "job.name: is empty"


@pytest.mark.parametrize("text", ["NEW_SYMBOL: later versions", "no symbol", "INVALID", "", None, 7, {"a": 1}])
def test_what_is_not_understood_is_kept_whole(text: object) -> None:
    error = error_from_wire(text)
    assert type(error) is UnknownError
    assert error.to_wire() == (text if isinstance(text, str) else repr(text))
