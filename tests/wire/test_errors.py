"""Errors on the wire are one text; what comes back is the class that its symbol names."""

import pytest

from periodic_client.wire import ERRORS, Busy, Invalid, UnknownError, error_from_wire


@pytest.mark.parametrize("cls", ERRORS.values())
def test_there_and_back(cls: type[Exception]) -> None:
    error = error_from_wire(cls("job.name: is empty").to_wire())  # type: ignore[attr-defined]
    assert type(error) is cls
    assert str(error) == "job.name: is empty"


@pytest.mark.parametrize("text", ["NEW_SYMBOL: later versions", "no symbol", "", None, 7, {"a": 1}])
def test_what_is_not_understood_is_kept_whole(text: object) -> None:
    error = error_from_wire(text)
    assert type(error) is UnknownError
    assert error.to_wire() == (text if isinstance(text, str) else repr(text))


def test_details_stand_between_symbol_and_message() -> None:
    error = error_from_wire("BUSY retry_after_ms=200 place=a=b: ask again: later")
    assert type(error) is Busy
    assert (str(error), error.details) == ("ask again: later", {"retry_after_ms": "200", "place": "a=b"})
    assert error.to_wire() == "BUSY retry_after_ms=200 place=a=b: ask again: later"


@pytest.mark.parametrize("text", ["INVALID", "INVALID: ", "INVALID path=job.name:"])
def test_the_symbol_ends_where_its_letters_end(text: str) -> None:
    error = error_from_wire(text)
    assert type(error) is Invalid
    assert str(error) == ""
