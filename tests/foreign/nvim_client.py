"""A client and a worker on the MessagePack-RPC session of Neovim's Python client, which is used as it is.

``nvim_client.py HOST:PORT calls|many|work|outcomes|asks`` prints what it saw as one JSON object, which test_foreign.py
judges. It must import nothing of this project and judge nothing itself: it is what somebody writes who has protocol.md
and pynvim.
"""

import base64
import json
import sys
from typing import Any

from pynvim.msgpack_rpc import ErrorResponse, Session, tcp_session

MINUTE_MS = 60_000
BINARY = b"\x00\xff\x80"


def connect(address: str) -> Session:
    host, _, port = address.rpartition(":")
    session = tcp_session(host, int(port))
    # An error of Neovim is [code, text], and pynvim would raise the second element; here an error is the text.
    session.error_wrapper = Exception
    return session


def refusal(session: Session, method: str, *params: object) -> str:
    try:
        return f"not refused, but answered {session.request(method, *params)!r}"
    except Exception as error:
        return str(error)


def calls(session: Session) -> dict[str, Any]:
    """A request of each kind that a client has, one after the other; refused ones among them."""
    job = {"func": "resize", "name": "a.jpg", "workload": BINARY, "delay_ms": MINUTE_MS}
    other = {"func": "resize", "name": "b.jpg", "delay_ms": MINUTE_MS}
    return {
        "hello": session.request("hello", {"client": "pynvim"}),
        "submit": session.request("submit", other),
        "invalid": refusal(session, "submit", {"func": "resize", "name": ""}),
        "batch": session.request("submit_batch", [job | {"retry": {"limit": 3, "backoff": "fixed"}}, other]),
        "unknown": refusal(session, "sumbit", job),
        "get": session.request("get", "resize", "a.jpg", {"workload": True}),
        "list": session.request("list", {"func": "resize"}),
        "remove": session.request("remove", "resize", "a.jpg"),
        "absent": session.request("get", "resize", "a.jpg"),
        "status": session.request("status"),
    }


def many(session: Session) -> dict[str, Any]:
    """1,000 jobs in one request."""
    jobs = [{"func": "many", "name": str(number), "delay_ms": MINUTE_MS} for number in range(1000)]
    return {"results": session.request("submit_batch", jobs)["results"], "status": session.request("status")}


def work(session: Session) -> dict[str, Any]:
    """1,000 jobs run."""
    session.request("submit_batch", [{"func": "work", "name": str(number)} for number in range(1000)])
    requests: list[tuple[str, str]] = []

    def on_request(method: str, params: list[Any]) -> None:
        requests.append((method, params[0]["name"]))
        if len(requests) == 1000:
            session.stop()

    session.request("subscribe", "work", {"limit": 100})
    session.run(on_request, None)
    session.request("unsubscribe_all")
    return {"requests": requests, "status": session.request("status")}


FOLLOW_ON = {"func": "upload", "name": "small.jpg", "workload": BINARY, "delay_ms": MINUTE_MS}
ENDS = ("nil", "bytes", "raised", "refused", "hopeless", "chained", "later", "finished", "removed")


def end(session: Session, job: dict[str, Any]) -> object:
    """End the run in the way that the job's name says."""
    match job["name"]:
        case "bytes":
            return BINARY
        case "raised":
            raise ValueError("disk full")
        case "refused":
            raise ErrorResponse("not today")
        case "hopeless":
            return {"outcome": "failed", "reason": "not a picture", "final": True}
        case "chained":
            return {"outcome": "done", "submit": [FOLLOW_ON]}
        case "later":
            return {"outcome": "later", "delay_ms": MINUTE_MS}
        case "finished":
            session.request("finish", job["handle"], None)
        case "removed":
            session.request("remove", job["func"], job["name"])
    return None


def outcomes(session: Session) -> dict[str, Any]:
    """A run of each end, and what became of its job."""
    retry = {"limit": 1, "delay_ms": MINUTE_MS}
    session.request("submit_batch", [{"func": "ends", "name": name, "retry": retry} for name in ENDS])
    handles: dict[str, str] = {}
    notifications: list[tuple[str, list[Any]]] = []

    def stop_at_the_end() -> None:
        if len(handles) == len(ENDS) and notifications:
            session.stop()

    def on_request(_method: str, params: list[Any]) -> object:
        (job,) = params
        try:
            return end(session, job)
        finally:
            handles[job["name"]] = job["handle"]
            stop_at_the_end()

    def on_notification(method: str, params: list[Any]) -> None:
        notifications.append((method, params))
        stop_at_the_end()

    session.request("subscribe", "ends", {"limit": 4})
    session.run(on_request, on_notification)
    session.request("unsubscribe_all")
    jobs = {name: session.request("get", "ends", name)["job"] for name in ENDS}
    follow_on = session.request("get", "upload", "small.jpg", {"workload": True})["job"]
    return {"jobs": jobs, "handles": handles, "notifications": notifications, "follow_on": follow_on}


def asks(session: Session) -> dict[str, Any]:
    """A worker of requests and responses alone: jobs are asked for, and reported."""
    session.request("submit_batch", [{"func": "ask", "name": name, "result_ms": MINUTE_MS} for name in "abc"])
    taken: list[str] = []
    while jobs := session.request("take", {"funcs": ["ask"], "max": 2, "wait_ms": 0, "lease_ms": 5000})["jobs"]:
        for job in jobs:
            taken.append(job["name"])
            session.request("extend", job["handle"])
            session.request("finish", job["handle"], {"outcome": "done", "data": BINARY})
    watched = session.request("watch", "ask", "a", {"only_end": True})
    return {"taken": taken, "late": refusal(session, "finish", job["handle"], None), "watched": watched}


def main() -> None:
    address, scenario = sys.argv[1:]
    session = connect(address)
    seen = {"calls": calls, "many": many, "work": work, "outcomes": outcomes, "asks": asks}[scenario](session)
    session.close()
    json.dump(seen, sys.stdout, default=lambda data: base64.b64encode(data).decode())


if __name__ == "__main__":
    main()
