"""One honest session of a client that is a worker too: what it sends, from ``hello`` to its last response."""

from typing import Any

import msgpack

MESSAGES: list[list[Any]] = [
    [0, 1, "hello", [{"client": "fuzz", "credit": 9}]],
    [0, 2, "submit", [{"func": "f", "name": "a", "workload": b"hi", "retry": {"limit": 1, "backoff": "fixed"}}]],
    [0, 3, "submit", [[{"func": "f", "name": "b"}, {"func": "g", "name": "c", "delay_ms": 60_000, "keep": True}]]],
    [0, 4, "get", ["f", "a"]],
    [0, 5, "list", [{"func": "f", "limit": 9}]],
    [0, 6, "subscribe", ["f", 2]],
    [1, 1, None, {"outcome": "later", "delay_ms": 60_000, "submit": [{"func": "g", "name": "d"}]}],
    [1, 2, "disk full", None],
    [0, 7, "finish", ["1-1-1", None]],
    [0, 8, "extend", ["1-1-1", 60_000]],
    [0, 9, "status", []],
    [0, 10, "requeue", ["f", "a"]],
    [0, 11, "remove", ["f", "b"]],
    [2, "ping", []],
    [0, 12, "unsubscribe", []],
    [0, 13, "ping", []],
]
SESSION = b"".join(map(msgpack.packb, MESSAGES))
