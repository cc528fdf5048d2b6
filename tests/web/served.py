"""Daemon, page and workers below one folder, and requests to the page over real sockets."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rig import machine
from rig.daemon import Daemon

CONFIG = """
thread: 2
root: images
enable-remove: true
max-megabytes: 4
resizes:
  - {width: 500}
  - {width: 64, format: webp}
"""
_START_S = 20.0
_LIMIT_S = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """`serve`: the keys below `serve:` beside the address."""

    def __init__(self, folder: Path, serve: str = "", config: str = CONFIG, impatient: str = "") -> None:
        """`impatient`: what to do at the start of the page, so that a test need not wait as long as users may."""
        self.folder = folder
        self.daemon = Daemon(folder)
        self.config = folder / "config.yml"
        self.config.write_text(f"{config}\nserve: {{listen: '127.0.0.1:0'{serve and ', '}{serve}}}\n")
        (folder / "sitecustomize.py").write_text(impatient)
        self._environment = {"PYTHONPATH": str(folder)} if impatient else {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.page: subprocess.Popen[bytes]
        self.port = 0

    def __enter__(self) -> Self:
        self.daemon.start()
        self.page = self._start("serve")
        log = self.folder / "serve.log"
        until_s = time.monotonic() + _START_S
        while not (found := re.search(r"the page is at http://127.0.0.1:(\d+)/", log.read_text())):
            assert self.page.poll() is None, log.read_text()
            assert time.monotonic() < until_s, log.read_text()
            time.sleep(0.02)
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        codes = []
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(_LIMIT_S))
        assert set(codes) <= {0}, (codes, self.said)
        self.daemon.__exit__()
        assert "Traceback" not in self.said, self.said

    @property
    def said(self) -> str:
        return (self.folder / "serve.log").read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def work(self) -> None:
        """Start a worker."""
        self._start("run")

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "image_workers", command, self.config.name],
                cwd=self.folder,
                env=os.environ | {"PERIODIC_URL": self.daemon.url} | self._environment,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def rss_mb(self) -> float:
        """Resident memory of the page's server now."""
        status = Path(f"/proc/{self.page.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        return machine.cpu_s(self.page.pid)

    # -- requests ------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LIMIT_S)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def upload(self, content: bytes, **headers: str) -> Answer:
        return self.ask("POST", "/pictures", content, **{"Content_Type": "application/octet-stream"} | headers)

    def form(self, *files: tuple[str, bytes], ending: bytes = b"--\r\n") -> Answer:
        """As a browser's form, with files under these names."""
        parts = [
            b'--limit\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n'
            % (name.encode(), content)
            for name, content in files
        ]
        body = b'--limit\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n' + b"".join(parts)
        return self.ask(
            "POST", "/pictures", body + b"--limit" + ending, Content_Type="multipart/form-data; boundary=limit"
        )

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=_LIMIT_S)

    def ended(self, picture_id: str) -> Any:
        """The state of the picture when nothing more happens to it, by its news."""
        told = self.ask("GET", f"/events?picture={picture_id}")
        assert told.status == 200, told
        return events(told.body)[-2][1]

    def files(self, folder: str) -> list[str]:
        root = self.folder / folder
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def events(body: bytes) -> list[tuple[str, Any]]:
    """The events in a stream, with their data."""
    found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", body)
    return [(kind.decode(), json.loads(data)) for kind, data in found]


def head(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{key.replace('_', '-')}: {it}" for key, it in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def read_all(peer: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    try:
        while part := peer.recv(65_536):
            found += part
    except ConnectionError:
        pass
    return found
