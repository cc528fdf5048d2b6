"""The decoder and the checks of params under atheris: whatever comes is accepted or is a PeriodicError.

``pip install atheris``, then ``python -m tests.fuzz.fuzz_codec -max_total_time=120``; the options are libFuzzer's. One
input in two is taken as bytes of the stream, the others choose values for a message of the right shape, which chance
would hardly ever write as MessagePack.
"""

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import atheris
import msgpack

with atheris.instrument_imports(include=["periodic_client.wire", "periodicd.protocol"]):
    from periodic_client.wire import Decoder, Message, PeriodicError, Request, Response
    from periodicd.methods import METHODS
    from periodicd.protocol import requests

from tests.fuzz.session import MESSAGES, SESSION
from tests.fuzz.words import KEYS, WORDS

RULES = requests.Rules(1_700_000_000_000, 1_000)
DEPTH_MAX = 5


def value(data: Any, depth: int = 0) -> Any:
    kind = data.ConsumeIntInRange(0, 9 if depth < DEPTH_MAX else 6)
    if kind < 3:
        return (None, True, False)[kind]
    if kind == 3:
        return data.ConsumeIntInRange(-(2**63), 2**64 - 1)
    if kind == 4:
        return data.PickValueInList(WORDS)
    if kind == 5:
        return data.ConsumeBytes(data.ConsumeIntInRange(0, 300))
    if kind == 6:
        return data.ConsumeFloat()
    length = data.ConsumeIntInRange(0, 5)
    if kind == 7:
        return [value(data, depth + 1) for _ in range(length)]
    return {data.PickValueInList(KEYS): value(data, depth + 1) for _ in range(length)}


def message(data: Any) -> list[Any]:
    if data.ConsumeBool():
        return [1, data.ConsumeIntInRange(0, 2**32), None, value(data)]
    method = data.PickValueInList(sorted(METHODS))
    return [0, data.ConsumeIntInRange(0, 2**32), method, [value(data) for _ in range(data.ConsumeIntInRange(0, 3))]]


def check(received: Message) -> None:
    if isinstance(received, Request) and received.method in METHODS:
        METHODS[received.method].check(received.params, RULES)
    elif isinstance(received, Response):
        requests.outcome(received.result, RULES)


def target(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    piece = data.ConsumeIntInRange(1, 64)
    stream = msgpack.packb(message(data)) if data.ConsumeBool() else data.ConsumeBytes(data.remaining_bytes())
    decoder = Decoder()
    for at in range(0, len(stream), piece):
        try:
            for received in decoder.feed(stream[at : at + piece]):
                try:
                    check(received)
                except PeriodicError:
                    continue
        except PeriodicError:
            return


def main() -> None:
    with TemporaryDirectory() as corpus:
        # A FuzzedDataProvider takes numbers from the end: the last byte is the piece, the one before a no.
        seeds = [message + b"\x00\x3f" for message in (SESSION, *map(msgpack.packb, MESSAGES))]
        # Without a few long ones it takes libFuzzer minutes to choose a map with something in it.
        seeds += [random.Random(number).randbytes(1_000) + b"\x01\x3f" for number in range(50)]
        for number, seed in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
