"""The codec: whatever arrives, in whatever pieces, is a message or a documented refusal, and costs only its bytes."""

import gc
import tracemalloc
import weakref
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from periodic_client.wire import BadMessage, Decoder, Limits, Message, Notification, Request, Response, TooLarge, codec

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
msgids = st.integers(0, 2**32 - 1)
messages = (
    st.builds(Request, msgids, st.text(max_size=12), st.lists(values, max_size=3))
    | st.builds(Response, msgids, st.none() | st.text(max_size=12), values)
    | st.builds(Notification, st.text(max_size=12), st.lists(values, max_size=3))
)
KINDS = {Request: 0, Response: 1, Notification: 2}


def pack(message: Message) -> bytes:
    return bytes(msgpack.packb([KINDS[type(message)], *message]))


@given(st.lists(messages, max_size=5), st.data())
def test_messages_come_out_as_they_went_in_whatever_the_pieces(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(pack, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder = Decoder()
    received: list[Message] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[begin:end])
    assert received == sent
    assert decoder.pending_bytes == 0


@given(st.lists(messages, min_size=1, max_size=3))
def test_byte_by_byte_and_with_a_tail(sent: list[Message]) -> None:
    stream = b"".join(map(pack, sent))
    tail = pack(sent[0])[:-1]
    decoder = Decoder()
    received = [message for byte in stream + tail for message in decoder.feed(bytes([byte]))]
    assert received == sent
    assert decoder.pending_bytes == len(tail)


@pytest.mark.parametrize("stream", [b"\xc1", b"\x91" * 100_000, pack(Notification("a" * 200, []))])
def test_a_refusal_holds_nothing_of_what_came(stream: bytes) -> None:
    """Not until a garbage collector looks, which it does seldom: each connection could leave megabytes behind."""
    decoder = Decoder(Limits(message_bytes=100))
    gone = weakref.ref(decoder)
    gc.disable()
    try:
        with pytest.raises((BadMessage, TooLarge)):
            list(decoder.feed(stream))
        del decoder
        assert gone() is None
    finally:
        gc.enable()


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_refusal(noise: bytes) -> None:
    decoder = Decoder(Limits(message_bytes=100))
    try:
        list(decoder.feed(noise))
    except (BadMessage, TooLarge) as refusal:
        with pytest.raises(type(refusal)):
            list(decoder.feed(b""))


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb({"a": 1}),
        msgpack.packb([]),
        msgpack.packb([0, 1, "ping"]),
        msgpack.packb([0, 1, "ping", {}]),
        msgpack.packb([0, -1, "ping", []]),
        msgpack.packb([0, 2**32, "ping", []]),
        msgpack.packb([0, 1.0, "ping", []]),
        msgpack.packb([0, None, "ping", []]),
        msgpack.packb([False, 1, "ping", []]),
        msgpack.packb([3, 1, "ping", []]),
        msgpack.packb([2, "note", None]),
        msgpack.packb([0, 1, "ping", [{1: 2}]]),
        b"\x94\x00\x01\xa4ping\x91\xa2\xff\xff",
        msgpack.packb([0, 1, "ping", [[0] * 100_001]]),
        msgpack.packb([0, 1, "ping", [{str(key): 0 for key in range(100_001)}]]),
        b"\x94\x00\x01\xa4ping\x91\xc7\x0c\xff" + b"\xff" * 12,
        b"\x91" * 5000,
    ],
)
def test_bad_messages(packed: bytes) -> None:
    good = pack(Request(1, "ping", []))
    decoder = Decoder()
    received = []
    with pytest.raises(BadMessage):
        for message in decoder.feed(good + packed + good):
            received.append(message)  # noqa: PERF402 - what came before the error is kept
    assert received == [Request(1, "ping", [])]


def test_form_has_no_opinion_on_a_batch_or_on_headers() -> None:
    params: list[Any] = [[0] * 1_001, {str(key): "" for key in range(65)}]
    assert list(Decoder().feed(pack(Request(1, "ping", params)))) == [Request(1, "ping", params)]


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (msgpack.packb([0, 1, "ping", [{1: 2}]]), "the keys of a map are text"),
        (msgpack.packb([0, 1, "ping", [{None: 2}]]), "the keys of a map are text"),
        (b"\x94\x00\x01\xa4ping\x91\x81\x90\x01", "the keys of a map are text"),
        (msgpack.packb([0, 1, "ping", [[0] * 100_001]]), "an array or a map may have 100000 entries at the most"),
        (b"\x94\x00\x01\xa4ping\x91\xc7\x0c\xff" + b"\xff" * 12, "an extension value that cannot be read"),
    ],
)
def test_a_refusal_speaks_of_the_protocol_not_of_python(packed: bytes, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        list(Decoder().feed(packed))


def test_text_of_a_response_that_is_not_utf_8_is_repaired() -> None:
    good = msgpack.packb([1, 7, "no file GOOD", None])
    (response,) = Decoder().feed(good.replace(b"GOOD", b"a\xffb\xe4"))
    assert response == Response(7, "no file a\ufffdb\ufffd", None)
    good = msgpack.packb([1, 7, None, {"outcome": "failed", "reason": "GOOD"}])
    (response,) = Decoder().feed(good.replace(b"GOOD", b"a\xffbc"))
    assert response == Response(7, None, {"outcome": "failed", "reason": "a\ufffdbc"})


def test_the_name_of_a_follow_on_job_is_never_repaired() -> None:
    good = msgpack.packb([1, 7, None, {"outcome": "done", "submit": [{"func": "f", "name": "GOOD"}]}])
    (response,) = Decoder().feed(good.replace(b"GOOD", b"a\xffbc"))
    assert isinstance(response, Response)
    assert response.error == "its outcome has follow-on jobs and text that is not valid UTF-8"


@pytest.mark.parametrize(
    ("error", "text"), [(b"a\xff", "a\ufffd"), ({"code": 7, "at": None}, '{"code": 7, "at": null}')]
)
def test_an_error_that_is_no_text_is_told_without_python(error: Any, text: str) -> None:
    assert list(Decoder().feed(msgpack.packb([1, 7, error, None]))) == [Response(7, text, None)]


def test_a_method_as_bytes_is_taken_as_text() -> None:
    packed = msgpack.packb([0, 1, b"ping", []]) + msgpack.packb([2, b"note", []])
    assert list(Decoder().feed(packed)) == [Request(1, "ping", []), Notification("note", [])]


def test_a_message_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    limit = 3_000_000
    for extra, passes in ((0, True), (1, False)):
        head = len(pack(Request(1, "f", [b"x" * 100_000]))) - 100_000
        packed = pack(Request(1, "f", [b"x" * (limit - head + extra)]))
        assert len(packed) == limit + extra
        decoder = Decoder(Limits(message_bytes=limit))
        if passes:
            assert len(list(decoder.feed(packed))) == 1
        else:
            with pytest.raises(TooLarge, match="3000000 bytes"):
                list(decoder.feed(packed))


def test_a_message_that_never_ends_is_refused_at_the_limit() -> None:
    decoder = Decoder(Limits(message_bytes=100_000))
    chunk = b"\xc4\xff" + b"x" * 255
    list(decoder.feed(b"\xdc\xff\xff"))
    with pytest.raises(TooLarge):
        for _ in range(1000):
            assert decoder.pending_bytes <= 100_000 + len(chunk)
            list(decoder.feed(chunk))


@pytest.mark.parametrize(
    "header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
)
def test_a_header_that_claims_billions_costs_nothing(header: bytes) -> None:
    decoder = Decoder()
    tracemalloc.start()
    list(decoder.feed(b"\x94\x00\x01\xa4ping\x91" + header))
    list(decoder.feed((b"\xdc\xff\xff") * 300))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("header", [b"\xdc\x00\xff", b"\xdc\x00\x40", b"\xde\x00\xff"])
def test_headers_within_headers_that_claim_hundreds_cost_little(header: bytes) -> None:
    decoder = Decoder()
    tracemalloc.start()
    list(decoder.feed(header * 400))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400_000


def test_what_follows_a_message_that_is_unusual_is_read_as_ever() -> None:
    many = Request(1, "f", list(range(1_000)))
    sent: list[Message] = [Request(0, "f", []), many, Request(2, "f", []), Response(3, None, {}), many]
    stream = b"".join(map(pack, sent))
    decoder = Decoder()
    assert [*decoder.feed(stream[:-7]), *decoder.feed(stream[-7:] + stream)] == sent * 2
    assert decoder.pending_bytes == 0


def test_a_large_message_of_tiny_values_is_refused_before_it_is_built() -> None:
    row: list[dict[str, int]] = [{} for _ in range(1000)]
    bomb = msgpack.packb([0, 1, "x", [[row] * 1000 for _ in range(2)]])
    assert len(bomb) > Limits().counted_bytes
    decoder = Decoder()
    tracemalloc.start()
    with pytest.raises(BadMessage, match="100000 values"):
        list(decoder.feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(bomb)


def count_by_unpacking(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count_by_unpacking, value))
    if isinstance(value, dict):
        return 1 + sum(count_by_unpacking(key) + count_by_unpacking(inner) for key, inner in value.items())
    return 1


@given(values | st.floats() | st.lists(st.integers(), min_size=16, max_size=20) | st.binary(min_size=250, max_size=300))
def test_values_are_counted_right(value: Any) -> None:
    try:
        packed = msgpack.packb(value)
    except OverflowError:
        return
    assert codec.count_values(packed, 10**6) == count_by_unpacking(value)
    for extension in (b"\xd4\x01x", b"\xd8\x01" + b"x" * 16, b"\xc7\x03\x01xxx", b"\xc8\x00\x03\x01xxx"):
        assert codec.count_values(b"\x92" + extension + packed, 10**6) == 2 + count_by_unpacking(value)
