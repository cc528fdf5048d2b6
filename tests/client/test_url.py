"""Urls: what is meant, or a message that quotes it."""

import pytest

from periodic_client.url import DEFAULT_URL, TcpAddress, UnixAddress, default_url, parse_address, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://localhost:5001", TcpAddress("localhost", 5001)),
        ("tcp://localhost", TcpAddress("localhost", 5000)),
        ("tcp://[::1]:7/", TcpAddress("::1", 7)),
        ("unix:///run/p.sock", UnixAddress("/run/p.sock")),
        ("unix:///run/a?b#c%20d", UnixAddress("/run/a?b#c%20d")),
    ],
)
def test_good(url: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost:5000", "http://localhost", "tcp://", "tcp://:5000", "tcp://h:port", "tcp://h:0", "tcp://h:65536",
        "tcp://u@h:1", "tcp://h:1/path", "tcp://h:1?q", "tcp://h:1#f", "tcp://[::1", "unix://", "unix://relative",
        "unix:///a\0b",
    ],
)  # fmt: skip
def test_bad(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert repr(url) in str(caught.value)


def test_who_listens_names_a_port_which_may_be_any_that_is_free() -> None:
    assert parse_address("tcp://localhost:0") == TcpAddress("localhost", 0)
    assert parse_address("unix:///run/p.sock") == UnixAddress("/run/p.sock")
    with pytest.raises(ValueError, match=r"^'tcp://localhost/' has no port, as in tcp://localhost:5000$"):
        parse_address("tcp://localhost/")


@pytest.mark.parametrize(("value", "expected"), [("tcp://h:1", "tcp://h:1"), ("", DEFAULT_URL), (None, DEFAULT_URL)])
def test_default(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str) -> None:
    if value is None:
        monkeypatch.delenv("PERIODIC_URL", raising=False)
    else:
        monkeypatch.setenv("PERIODIC_URL", value)
    assert default_url() == expected
