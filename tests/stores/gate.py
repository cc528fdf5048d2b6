"""A proxy that can hold one request: it has all of it, and passes it on when it is told to, though nobody waits."""

import socket
import threading
from typing import Self

ANSWER_S = 30


class Gate:
    """Listens at `url` and passes HTTP requests on to `target`, one a connection."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._held: str | None = None
        self._cut_off = False
        self.is_held, self._goes_on, self.done = threading.Event(), threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def hold(self, what: str, *, cut_off: bool = False) -> None:
        """The next request of this method, or `COPY`, is held; `is_held` is set when it is.

        `cut_off`: nothing passes any more after it, as if whoever asked had been killed.
        """
        self._held = what
        self._cut_off = cut_off

    def release(self) -> None:
        """Pass the held one on, and return when the server has done it."""
        self._goes_on.set()
        assert self.done.wait(ANSWER_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            request = _message(client)
            if not request or (self._cut_off and self.is_held.is_set()):
                return
            held = _is(request) == self._held
            if held:
                self._held = None
                self.is_held.set()
                self._goes_on.wait()
            with socket.create_connection(self._target, timeout=ANSWER_S) as server:
                server.sendall(_one_only(request))
                answer = b""
                while part := server.recv(65536):
                    answer += part
            if held:
                self.done.set()
            try:
                client.sendall(answer)
            except OSError:  # nobody waits any more
                return


def _is(request: bytes) -> str:
    head, _, _ = request.partition(b"\r\n\r\n")
    return "COPY" if b"x-amz-copy-source" in head.lower() else head.split(b" ", 1)[0].decode()


def _message(connection: socket.socket) -> bytes:
    """A whole request: its head, and as many bytes as that says."""
    content = b""
    while b"\r\n\r\n" not in content:
        if not (part := connection.recv(65536)):
            return b""
        content += part
    head, _, rest = content.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields.get(b"content-length", 0)) - len(rest)
    while missing > 0:
        part = connection.recv(65536)
        if not part:
            return b""
        content += part
        missing -= len(part)
    return content


def _one_only(request: bytes) -> bytes:
    """Have the server close the connection after its answer, so that the answer's end can be seen."""
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + rest
