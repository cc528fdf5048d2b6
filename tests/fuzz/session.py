"""One honest session of a client that is a worker too: what it sends, from ``hello`` to its last response."""

from typing import Any

import msgpack

MESSAGES: list[list[Any]] = [
    [0, 1, "hello", [{"client": "fuzz", "credit": 9}]],
    [0, 2, "submit", [{"func": "f", "name": "a", "workload": b"hi", "retry": {"limit": 1, "backoff": "fixed"}}]],
    [0, 3, "submit_batch", [[{"func": "f", "name": "b"}, {"func": "g", "name": "c", "existing": "keep_live"}]]],
    [0, 4, "get", ["f", "a", {"workload": True, "id": 1}]],
    [0, 5, "list", [{"func": "f", "limit": 9}]],
    [0, 6, "subscribe", ["f", {"limit": 2}]],
    [1, 1, None, {"outcome": "later", "delay_ms": 60_000, "submit": [{"func": "g", "name": "d"}]}],
    [1, 2, "disk full", None],
    [0, 7, "finish", ["1-1-1-0", None]],
    [0, 8, "extend", ["1-1-1-0", {"lease_ms": 60_000, "own": True}]],
    [0, 9, "status", [{"prefix": "f", "limit": 3}]],
    [0, 10, "requeue", ["f", "a"]],
    [0, 11, "remove", ["f", "b", {"id": 2}]],
    [0, 14, "list", [{"func": "f", "prefix": "a", "reason": "disk", "due_from_at_ms": 1}]],
    [0, 15, "remove_matching", [{"prefix": "a", "state": "waiting"}, {"dry_run": True}]],
    [0, 16, "requeue_matching", [{"all": True}, {"after": "j1.ff"}]],
    [2, "ping", []],
    [0, 12, "unsubscribe_all", []],
    [0, 13, "ping", []],
]
SESSION = b"".join(map(msgpack.packb, MESSAGES))
